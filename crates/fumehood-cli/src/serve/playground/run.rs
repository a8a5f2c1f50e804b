//! One program, from its job to its answer.

use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime};

use fumehood::{Error, ErrorKind, Job, Outcome, Report, Streams};
use tokio::time::{Instant, timeout_at};

use super::answer::Answer;
use super::{SURFACE, log_line};
use crate::serve::execute::{self, NotStarted, Run};
use crate::serve::line::Place;
use crate::serve::problem::Problem;
use crate::serve::service::{Shared, heavy};

/// How long a program runs before it is asked to end.
const RUN: Duration = Duration::from_millis(4500);
/// How long it then has before it is killed.
const GRACE: Duration = Duration::from_millis(250);
/// The client waits 5 s from its first byte to our last, so everything, the wait for a place
/// included, has to be over a little earlier.
const WHOLE: Duration = Duration::from_millis(4900);
/// What the kill and a large answer take on a busy machine.
const REPLY: Duration = Duration::from_millis(100);
/// How long a request may wait for its place and for its body. What is left must do for a program
/// that is not slow, even on a busy machine: else the wait would be told as the program's time limit.
pub(super) const WAIT: Duration = Duration::from_millis(3000);

const SIGINT: i32 = 2;
const TIMEOUT: &str = "timeout running program";
/// What the helper of the original exits with when its program was ended by a signal: -1.
const BY_SIGNAL: u8 = 255;

/// Why there is no answer at all. The core has noted what exactly happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// No cell could be had.
    NoCell,
    /// The cell was lost while the program ran, or the service stops.
    Lost,
}

/// What a run takes of the service.
#[derive(Debug)]
pub(super) struct Places {
    /// Given back as soon as the program is in its cell.
    pub(super) upload: Option<Place>,
    pub(super) run: Place,
}

/// Runs a program whose request came in at `arrived`. The answer comes with the run's place if the
/// program had one to the end.
pub(super) async fn run(
    service: &Shared,
    job: Job,
    places: Places,
    arrived: Instant,
) -> Result<(Answer, Option<Place>), Failed> {
    let deadline = arrived + WHOLE;
    let spawned = execute::spawn(service, SURFACE, &job, Streams::captured(), places.run);
    let run = match timeout_at(deadline, spawned).await {
        Ok(Ok(run)) => run,
        Ok(Err(NotStarted::Failed(error))) => {
            return not_started(&error).map(|answer| (answer, None));
        }
        Ok(Err(NotStarted::Stopping)) | Err(_) => return Err(Failed::NoCell),
    };
    drop((job, places.upload));
    let interrupt = (Instant::now() + RUN).min(deadline - REPLY - GRACE);
    let Ok((ended, interrupted)) = timeout_at(deadline, watch(run, interrupt)).await else {
        return Ok((Answer::error(TIMEOUT), None));
    };
    let (report, place) = ended.map_err(|_| Failed::Lost)?;
    if report.outcome == Outcome::Cancelled && !interrupted {
        return Err(Failed::Lost);
    }
    Ok((answer(report, interrupted), Some(place)))
}

/// Waits for the end of a program, interrupts it if that does not come, and kills it if it still
/// does not. Says whether it was interrupted.
async fn watch(run: Run, interrupt: Instant) -> (Result<(Report, Place), Problem>, bool) {
    let handle = run.handle();
    let mut end = pin!(run.finish_in_place());
    if let Some(ended) = until(interrupt, end.as_mut()).await {
        return (ended, false);
    }
    handle.signal(SIGINT).await;
    if let Some(ended) = until(Instant::now() + GRACE, end.as_mut()).await {
        return (ended, true);
    }
    handle.kill().await;
    (end.await, true)
}

async fn until<T>(deadline: Instant, future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    timeout_at(deadline, future).await.ok()
}

/// What the protocol says of a program that ended.
fn answer(report: Report, interrupted: bool) -> Answer {
    if matches!(report.outcome, Outcome::OutputLimit { .. }) {
        // Never a part of the output: nobody could tell that something is missing. As much as there is
        // takes milliseconds to give back.
        let bytes = report.stdout.data.len() + report.stderr.data.len();
        heavy(bytes, || drop(report));
        return Answer::error("Output too large");
    }
    let (mut stderr, mut exit_code) = (report.stderr.data, exit_code(&report.outcome));
    if interrupted {
        stderr.extend_from_slice(TIMEOUT.as_bytes());
        stderr.push(b'\n');
        exit_code = 1;
    }
    let stdout = Some(report.stdout.data).filter(|stdout| !stdout.is_empty());
    Answer { error: None, exit_code, stdout, stderr: Some(stderr) }
}

fn exit_code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Exited { code } => *code,
        // The engine of the original says this of a container that it killed.
        Outcome::OutOfMemory | Outcome::PidsLimit => outcome.exit_code(),
        _ => BY_SIGNAL,
    }
}

/// The kernel's refusal to execute a file is the program's end, and not ours.
fn not_started(error: &Error) -> Result<Answer, Failed> {
    let reason = match error.kind() {
        ErrorKind::ProgramNotExecutable { detail, .. } if detail.contains("too long") => {
            "argument list too long"
        }
        ErrorKind::ProgramNotExecutable { .. } => "exec format error",
        // There is a file, so what is not found is its interpreter.
        ErrorKind::ProgramNotFound { .. } => "no such file or directory",
        _ => return Err(Failed::NoCell),
    };
    let stderr = log_line::not_started(reason, SystemTime::now());
    Ok(Answer { exit_code: 1, stderr: Some(stderr), ..Answer::default() })
}

#[cfg(test)]
mod tests {
    use fumehood::{Stream, TimeLimit};

    use super::*;

    #[test]
    fn outcomes_have_the_exit_codes_of_the_original() {
        for (outcome, wanted) in [
            (Outcome::Exited { code: 7 }, 7),
            (Outcome::Signaled { signal: 11 }, 255),
            (Outcome::Denied { syscall: None }, 255),
            (Outcome::DiskLimit, 255),
            (Outcome::TimedOut { limit: TimeLimit::Cpu }, 255),
            (Outcome::OutputLimit { stream: Stream::Stdout }, 255),
            (Outcome::OutOfMemory, 137),
            (Outcome::PidsLimit, 137),
        ] {
            assert_eq!(exit_code(&outcome), wanted, "{outcome:?}");
        }
    }

    #[test]
    fn whatever_waits_leaves_time_for_the_program_and_the_answer() {
        assert!(WAIT + GRACE + REPLY < WHOLE);
        assert!(WHOLE < Duration::from_secs(5));
        assert!(RUN + GRACE + REPLY <= WHOLE);
    }

    #[test]
    fn what_is_not_the_programs_fault_is_no_answer() {
        let detail = String::new();
        let not_found = ErrorKind::ProgramNotFound { program: "a".into(), detail };
        let answer = not_started(&not_found.into()).unwrap();
        assert_eq!((answer.exit_code, answer.stdout), (1, None));
        let stderr = String::from_utf8(answer.stderr.unwrap()).unwrap();
        assert!(stderr.ends_with("/tmpfs/play: no such file or directory\n"), "{stderr}");
        assert_eq!(not_started(&ErrorKind::NoLauncher.into()), Err(Failed::NoCell));
    }
}
