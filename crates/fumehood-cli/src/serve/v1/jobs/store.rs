//! Jobs that are kept, and for how long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use fumehood::{Handle, Report};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::serve::config::JobsConfig;
use crate::serve::log::since_1970;
use crate::serve::problem::Problem;
use crate::serve::stream::{Event, Numbered};

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It waits for its turn.
    Waiting,
    /// Its program runs.
    Running,
    /// It is over: there is a report, or a problem.
    Ended,
}

/// A job as it is told of.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct View {
    /// Its name.
    pub(crate) id: String,
    /// How far it has come.
    pub(crate) state: State,
    /// When it came in, in seconds since 1970.
    pub(crate) created: f64,
    /// The number of its last event.
    pub(crate) events: u64,
    /// How it ended; without the output, which is in the events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) report: Option<Box<Report>>,
    /// Why it was not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<Problem>,
}

/// A job and all that happened to it.
#[derive(Debug)]
pub(crate) struct Record {
    id: String,
    owner: Arc<str>,
    created: f64,
    kept: Mutex<Kept>,
    /// How many events there are.
    pub(super) changed: watch::Sender<u64>,
    give_up: Notify,
}

/// What an event takes in memory beside its text, of which programs can make as little as a byte: its
/// place in the list, what the allocator needs, and what counts its readers.
const BESIDE: usize = size_of::<Bytes>() + 48;

#[derive(Debug)]
struct Kept {
    lines: Vec<Bytes>,
    size: usize,
    last: Option<Event>,
    ended: Option<Instant>,
    program: Option<Handle>,
}

impl Record {
    pub(super) fn new(id: String, owner: Arc<str>) -> Arc<Self> {
        let kept = Kept { lines: Vec::new(), size: 0, last: None, ended: None, program: None };
        Arc::new(Self {
            id,
            owner,
            created: since_1970().as_secs_f64(),
            kept: Mutex::new(kept),
            changed: watch::Sender::new(0),
            give_up: Notify::new(),
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn belongs_to(&self, caller: &Arc<str>) -> bool {
        self.owner == *caller
    }

    /// The program runs, and can be told to stop.
    pub(super) fn started(&self, program: Handle) {
        self.kept().program = Some(program);
    }

    /// Notes an event.
    pub(super) fn push(&self, event: Event) {
        let mut kept = self.kept();
        if kept.ended.is_some() {
            return;
        }
        let seq = kept.lines.len() as u64 + 1;
        let line = Bytes::from(Numbered { seq: Some(seq), event: &event }.line());
        kept.size += line.len() + BESIDE;
        kept.lines.push(line);
        if matches!(event, Event::End { .. } | Event::Error { .. }) {
            kept.ended = Some(Instant::now());
            kept.program = None;
            kept.last = Some(event);
        }
        drop(kept);
        self.changed.send_replace(seq);
    }

    /// At most so many events behind the first `after`, and whether there will be none after them.
    pub(super) fn since(&self, after: u64, most: usize) -> (Vec<Bytes>, bool) {
        let kept = self.kept();
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        let behind = kept.lines.get(after..).unwrap_or(&[]);
        let lines: Vec<_> = behind.iter().take(most).cloned().collect();
        let is_over = kept.ended.is_some() && lines.len() == behind.len();
        (lines, is_over)
    }

    pub(super) fn state(&self) -> State {
        let kept = self.kept();
        match (&kept.ended, kept.lines.is_empty()) {
            (Some(_), _) => State::Ended,
            (None, true) => State::Waiting,
            (None, false) => State::Running,
        }
    }

    pub(super) fn view(&self) -> View {
        let state = self.state();
        let kept = self.kept();
        let (report, problem) = match &kept.last {
            Some(Event::End { report }) => (Some(report.clone()), None),
            Some(Event::Error { problem }) => (None, Some(problem.clone())),
            _ => (None, None),
        };
        let events = kept.lines.len() as u64;
        View { id: self.id.clone(), state, created: self.created, events, report, problem }
    }

    /// Stops the program, or keeps it from being started.
    pub(super) async fn cancel(&self) {
        let program = self.kept().program.clone();
        match program {
            Some(program) => program.cancel().await,
            None => self.give_up.notify_one(),
        }
    }

    /// Waits until somebody cancels what has not started.
    pub(super) async fn given_up(&self) {
        self.give_up.notified().await;
    }

    fn ended(&self) -> Option<Instant> {
        self.kept().ended
    }
}

/// All jobs that are kept.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<BTreeMap<String, Arc<Record>>>);

impl Jobs {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Record>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a job. Old ones that have ended make room.
    ///
    /// # Errors
    /// 429 if there are as many as are kept, and none has ended.
    pub(super) fn add(&self, record: &Arc<Record>, config: &JobsConfig) -> Result<(), Problem> {
        let mut all = self.all();
        tidy(&mut all, config);
        if all.len() >= config.kept && !forget_oldest(&mut all) {
            let later = std::time::Duration::from_secs(5);
            return Err(Problem::queue_full("as many jobs are kept as can be", later));
        }
        all.insert(record.id.clone(), Arc::clone(record));
        Ok(())
    }

    pub(super) fn find(&self, id: &str, config: &JobsConfig) -> Option<Arc<Record>> {
        let mut all = self.all();
        tidy(&mut all, config);
        all.get(id).cloned()
    }

    pub(super) fn forget(&self, id: &str) {
        self.all().remove(id);
    }

    /// Whether a job waits or runs.
    pub(crate) fn is_busy(&self) -> bool {
        self.all().values().any(|record| record.ended().is_none())
    }
}

/// Forgets what is too old or, from the oldest on, too much.
fn tidy(all: &mut BTreeMap<String, Arc<Record>>, config: &JobsConfig) {
    all.retain(|_, record| record.ended().is_none_or(|at| at.elapsed() < config.kept_time.0));
    let size = |all: &BTreeMap<String, Arc<Record>>| -> u64 {
        let kept = all.values().map(|record| record.kept());
        kept.filter(|kept| kept.ended.is_some()).map(|kept| kept.size as u64).sum()
    };
    while size(all) > config.kept_size.0 && forget_oldest(all) {}
}

fn forget_oldest(all: &mut BTreeMap<String, Arc<Record>>) -> bool {
    let ended = all.iter().filter_map(|(id, record)| Some((record.ended()?, id.clone())));
    ended.min().is_some_and(|(_, id)| all.remove(&id).is_some())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::serve::config::Time;

    fn record(id: &str) -> Arc<Record> {
        Record::new(id.into(), "a".into())
    }

    fn end(record: &Record) {
        record.push(Event::Error { problem: Problem::stopping() });
    }

    #[test]
    fn events_are_numbered_and_told_from_any_point_on() {
        let record = record("1");
        assert_eq!(record.state(), State::Waiting);
        record.push(Event::Start { id: "1".into() });
        assert_eq!(record.state(), State::Running);
        assert!(!record.since(0, 9).1);
        end(&record);
        assert_eq!(record.state(), State::Ended);
        record.push(Event::Start { id: "2".into() });
        let (lines, is_over) = record.since(1, 9);
        assert!(is_over);
        assert_eq!(lines.len(), 1, "nothing comes after the end");
        assert!(lines[0].starts_with(br#"{"seq":2,"event":"error""#));
        assert!(record.since(u64::MAX, 9).0.is_empty());
    }

    #[test]
    fn no_more_events_are_taken_than_asked_for() {
        let record = record("1");
        record.push(Event::Start { id: "1".into() });
        end(&record);
        let (lines, is_over) = record.since(0, 1);
        assert_eq!((lines.len(), is_over), (1, false));
        let (lines, is_over) = record.since(1, 1);
        assert_eq!((lines.len(), is_over), (1, true));
    }

    #[test]
    fn what_runs_takes_no_room_from_what_has_ended() {
        let jobs = Jobs::default();
        let [runs, ended] = ["1", "2"].map(record);
        end(&ended);
        let size = ended.kept().size;
        assert!(size > ended.since(0, 9).0[0].len(), "there is more to an event than its text");
        let config =
            JobsConfig { kept_size: fumehood::ByteSize(size as u64), ..JobsConfig::default() };
        runs.push(Event::Start { id: "x".repeat(10_000) });
        jobs.add(&runs, &config).unwrap();
        jobs.add(&ended, &config).unwrap();
        assert!(jobs.find("2", &config).is_some());
    }

    #[test]
    fn the_oldest_that_has_ended_makes_room() {
        let (jobs, config) = (Jobs::default(), JobsConfig { kept: 2, ..JobsConfig::default() });
        let [one, two, three] = ["1", "2", "3"].map(record);
        jobs.add(&one, &config).unwrap();
        jobs.add(&two, &config).unwrap();
        assert_eq!(jobs.add(&three, &config).unwrap_err().status, 429);
        end(&two);
        jobs.add(&three, &config).unwrap();
        assert!(jobs.find("2", &config).is_none());
        assert!(jobs.find("1", &config).is_some());
        assert!(jobs.is_busy());
    }

    #[test]
    fn what_has_ended_is_kept_for_a_time_and_within_a_size() {
        let (jobs, config) = (Jobs::default(), JobsConfig::default());
        let one = record("1");
        jobs.add(&one, &config).unwrap();
        end(&one);
        assert!(!jobs.is_busy());
        assert!(jobs.find("1", &config).is_some());
        let small = JobsConfig { kept_size: fumehood::ByteSize(1), ..config.clone() };
        assert!(jobs.find("1", &small).is_none());
        jobs.add(&one, &config).unwrap();
        let brief = JobsConfig { kept_time: Time(Duration::ZERO), ..config };
        assert!(jobs.find("1", &brief).is_none());
    }
}
