//! `GET /v1/languages`: what the host's languages are, and which job a program of each becomes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use fumehood::{ByteSize, Job, Limit, Limits};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use tokio::time::Instant;

use super::lookup::{self, Found};
use super::templates::{self, REFUSED};
use crate::serve::access::Caller;
use crate::serve::config::Config;
use crate::serve::problem::Problem;
use crate::serve::service::Shared;

/// The languages, as far as somebody has looked for them.
#[derive(Debug, Default)]
pub(crate) struct Languages(Mutex<Known>);

/// How long a language counts as missing: somebody may install it.
const MISSING_FOR: Duration = Duration::from_secs(600);

/// When one that was too slow is tried again: a host that was too busy to compile a greeting in time
/// will soon be less so. If not, the next time takes twice as long.
const SLOW_FOR: Duration = Duration::from_secs(15);

/// What was found out, in the order of the templates.
type FoundAll = [Option<Arc<Found>>; templates::ALL.len()];

#[derive(Debug, Default)]
struct Known {
    found: FoundAll,
    /// When the last one was found out.
    since: Option<Instant>,
    /// Whether somebody is looking.
    looking: bool,
    /// How often everything was forgotten: what was looked for before that does not count.
    age: u64,
}

impl Languages {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything: the settings are others, or so may be the host.
    pub(crate) fn forget(&self) {
        let mut known = self.known();
        known.found = Default::default();
        known.age += 1;
    }

    /// What was found out, and whether somebody should go and look for the rest: the caller, if so.
    fn look(&self, now: Instant) -> (FoundAll, bool) {
        let mut known = self.known();
        let missing = known.found.iter().any(|found| known.is_worth_a_look(found.as_ref(), now));
        let should = missing && !known.looking;
        known.looking |= missing;
        (known.found.clone(), should)
    }

    /// Looks for what is not known yet, one language after another. What could not be tried now,
    /// because the service is too busy, is left for whoever asks next.
    async fn find(service: Shared) {
        let began = Instant::now();
        for index in lookup::CHEAPEST_FIRST {
            let (age, times) = {
                let known = service.languages.known();
                let found = known.found[index].as_ref();
                if !known.is_worth_a_look(found, began) {
                    continue;
                }
                (known.age, found.map_or(0, |found| found.times_too_slow()))
            };
            let language = &templates::ALL[index];
            let Some(found) = lookup::find(&service, language, times).await else { break };
            let mut known = service.languages.known();
            if known.age == age {
                known.found[index] = Some(Arc::new(found));
            }
        }
        let mut known = service.languages.known();
        (known.since, known.looking) = (Some(Instant::now()), false);
    }
}

impl Known {
    fn is_worth_a_look(&self, found: Option<&Arc<Found>>, now: Instant) -> bool {
        let pause = match found.map(AsRef::as_ref) {
            None => return true,
            Some(Found::Available { .. }) => return false,
            Some(Found::Unavailable(_)) => MISSING_FOR,
            Some(Found::TooSlow { times, .. }) => slow_for(*times),
        };
        // While it is looked for the first time there is no such moment yet.
        self.since.is_some_and(|since| now.duration_since(since) >= pause)
    }
}

/// How long one waits that was too slow so many times.
fn slow_for(times: u32) -> Duration {
    let doubled = 2u32.saturating_pow(times.saturating_sub(1));
    SLOW_FOR.saturating_mul(doubled).min(MISSING_FOR)
}

impl Found {
    const fn times_too_slow(&self) -> u32 {
        if let Self::TooSlow { times, .. } = self { *times } else { 0 }
    }
}

/// The languages that this service knows.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LanguageList {
    languages: Vec<Entry>,
}

/// A language, and the job that a program of it becomes: the job of the entry with the program as a
/// further input at `path`, with the program's arguments behind `args`, and with its `stdin`.
#[derive(Debug, Serialize, JsonSchema)]
struct Entry {
    /// A short name, such as `cpp`.
    name: &'static str,
    /// The name as people write it, such as `C++`.
    title: &'static str,
    /// Whether the host has it: found out by running a program.
    state: EntryState,
    /// Why it is unavailable, or not known yet: the host was too busy to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What its compiler or interpreter says of its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Where the job expects the program.
    path: String,
    /// A program to begin with.
    hello: &'static str,
    /// The exit status by which the job says that the program did not compile.
    #[serde(skip_serializing_if = "Option::is_none")]
    compile_failed: Option<u8>,
    /// The profile to base the job on: `/v1/runs?profile=NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'static str>,
    /// What the program is added to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "job_schema")]
    job: Option<Job>,
    /// The limits of the job, those included that it does not spell out.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<InForce>,
}

/// The schema of jobs that the document has anyway.
fn job_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "$ref": "#/$defs/Job" })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum EntryState {
    /// Not known yet: ask again in a second.
    Looking,
    Available,
    Unavailable,
}

/// Limits in the units of a report's figures; null where there is none.
#[derive(Debug, Serialize, JsonSchema)]
struct InForce {
    /// Wall-clock time in microseconds.
    wall_us: Option<u64>,
    /// CPU time in microseconds.
    cpu_us: Option<u64>,
    /// Memory in bytes.
    memory: Option<u64>,
    /// Processes and threads.
    pids: Option<u64>,
    /// Bytes of each of the two streams.
    output: Option<u64>,
}

/// All languages. Who asks first has the service look for them; nobody waits for that.
pub(super) async fn list(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let (found, should_look) = service.languages.look(Instant::now());
    if should_look {
        tokio::spawn(Languages::find(Arc::clone(&service)));
    }
    let config = &service.settings().config;
    let both = templates::ALL.iter().zip(&found);
    let languages = both.map(|(one, found)| entry(one, found.as_deref(), &caller, config));
    let text = serde_json::to_vec(&LanguageList { languages: languages.collect() })
        .map_err(|error| Problem::internal(error.to_string()))?;
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}

fn entry(
    language: &templates::Language,
    found: Option<&Found>,
    caller: &Caller,
    config: &Config,
) -> Entry {
    let profile = lookup::profile(language, config);
    let mut entry = Entry {
        name: language.name,
        title: language.title,
        state: EntryState::Looking,
        reason: None,
        version: None,
        path: format!("{}/{}", Job::CWD, language.file),
        hello: language.hello,
        compile_failed: language.compiled.then_some(REFUSED),
        profile,
        job: None,
        limits: None,
    };
    match found {
        None => {}
        Some(_) if profile.is_some_and(|name| !caller.may_use(name)) => {
            entry.refuse("its profile is not for this caller");
        }
        Some(Found::Unavailable(reason)) => entry.refuse(reason),
        // Whoever asks again will hear what came of the next try.
        Some(Found::TooSlow { reason, times }) => {
            let pause = fumehood::format_duration(slow_for(*times));
            entry.reason = Some(format!("{reason}; tried again after {pause}"));
        }
        Some(Found::Available { version, way, limits }) => {
            entry.state = EntryState::Available;
            entry.version = Some(version.clone());
            entry.job = Some(lookup::job(way, &config.ceilings));
            entry.limits = Some(InForce::new(limits));
        }
    }
    entry
}

impl Entry {
    fn refuse(&mut self, reason: &str) {
        self.state = EntryState::Unavailable;
        self.reason = Some(reason.to_owned());
    }
}

impl InForce {
    fn new(limits: &Limits) -> Self {
        let time = |limit: Limit<Duration>| {
            limit.finite().map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
        };
        let size = |limit: Limit<ByteSize>| limit.finite().map(|size| size.0);
        Self {
            wall_us: time(limits.wall_time()),
            cpu_us: time(limits.cpu_time()),
            memory: size(limits.memory()),
            pids: limits.pids().finite(),
            output: size(limits.output()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(languages: &Languages, since: Instant) {
        let nothing = Arc::new(Found::Unavailable("test".into()));
        let mut known = languages.known();
        known.found = FoundAll::default().map(|_| Some(Arc::clone(&nothing)));
        (known.since, known.looking) = (Some(since), false);
    }

    #[test]
    fn only_one_looks_and_nobody_when_all_is_known() {
        let (languages, now) = (Languages::default(), Instant::now());
        assert!(languages.look(now).1, "nothing is known");
        assert!(!languages.look(now).1, "somebody is looking");
        settle(&languages, now);
        assert!(!languages.look(now).1, "all is known");
        languages.forget();
        assert!(languages.look(now).1);
    }

    #[test]
    fn what_was_missing_is_looked_for_again_after_a_while() {
        let (languages, now) = (Languages::default(), Instant::now());
        settle(&languages, now);
        assert!(!languages.look(now + MISSING_FOR / 2).1);
        let (found, should) = languages.look(now + MISSING_FOR);
        assert!(should && found.iter().all(Option::is_some), "what is known is told meanwhile");
    }

    #[test]
    fn what_was_too_slow_is_soon_looked_for_again() {
        let (languages, now) = (Languages::default(), Instant::now());
        for (times, pause) in [(1, 15), (2, 30), (6, 480), (7, 600), (100, 600)] {
            settle(&languages, now);
            let slow = Found::TooSlow { reason: "it took too long".into(), times };
            languages.known().found[0] = Some(Arc::new(slow));
            let pause = Duration::from_secs(pause);
            assert!(!languages.look(now + pause - Duration::from_secs(1)).1, "{times} times");
            let (found, should) = languages.look(now + pause);
            assert!(should, "{times} times");
            let caller = Caller::unlimited("test");
            let config = Config::default();
            let shown = entry(&templates::ALL[0], found[0].as_deref(), &caller, &config);
            assert_eq!(shown.state, EntryState::Looking, "it does not count as missing");
            assert!(shown.reason.is_some_and(|reason| reason.contains("tried again after")));
        }
    }

    #[test]
    fn limits_have_the_units_of_figures() {
        let limits = Limits { memory: Some(Limit::Unlimited), ..Limits::default() };
        let shown = serde_json::to_value(InForce::new(&limits)).unwrap();
        let expected = serde_json::json!({ "wall_us": 10_000_000, "cpu_us": 10_000_000,
            "memory": null, "pids": 64, "output": 16_777_216 });
        assert_eq!(shown, expected);
    }
}
