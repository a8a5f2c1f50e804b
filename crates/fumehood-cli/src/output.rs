//! What is printed about a run.

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use clap::error::ErrorKind as UsageErrorKind;
use fumehood::{
    Error, ErrorKind, Missing, Outcome, Report, Result, Skipped, Standing, Undelivered,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::internal;
use crate::exit;
use crate::signals::Stopped;
use crate::table::{STRONG, styled};

/// Prints help, a version, or what is wrong with the command line; returns the exit status.
pub(crate) fn usage(error: &clap::Error) -> u8 {
    match error.kind() {
        UsageErrorKind::DisplayHelp | UsageErrorKind::DisplayVersion => {
            return match error.print() {
                // Who has read enough has read what was asked for.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    failed(&internal("print to standard output")(error))
                }
                _ => exit::OK,
            };
        }
        UsageErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => {
            let text = error.render().to_string();
            say(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
        }
    }
    exit::FAILED
}

/// The lines that say how a run ended, unless the program ended by itself.
pub(crate) fn ended(result: &Result<Report>) -> Vec<String> {
    let report = match result {
        Ok(report) => report,
        Err(failure) => return explain(failure),
    };
    let outcome = report.outcome.describe().filter(|_| !reader_had_enough(report));
    let undelivered = report.undelivered.iter().map(Undelivered::describe);
    outcome.into_iter().chain(undelivered).chain(not_collected(&report.skipped)).collect()
}

/// Whether a program was ended by its output's reader going away, as in `yes | head`: whoever does that knows.
fn reader_had_enough(report: &Report) -> bool {
    const SIGPIPE: i32 = 13;
    let cut_off = report.stdout.truncated || report.stderr.truncated;
    cut_off && report.outcome == (Outcome::Signaled { signal: SIGPIPE })
}

/// What was asked for and is not there. Names are escaped: the program chose them.
fn not_collected(skipped: &[Skipped]) -> impl Iterator<Item = String> {
    const SAID: usize = 10;
    let said = skipped.iter().take(SAID);
    let more = skipped.len().checked_sub(SAID).filter(|more| *more > 0);
    said.map(|one| format!("not collected: {:?}: {}", one.path, one.detail))
        .chain(more.map(|more| format!("not collected: {more} more; the report lists them")))
}

/// Says why something could not be done, and returns the exit status.
pub(crate) fn failed(failure: &Error) -> u8 {
    explain(failure).iter().for_each(|line| say(line));
    exit::of_error(failure)
}

/// Prints a notice to standard error. Nobody to tell it to is no reason to fail, and nobody who listens none
/// to wait for ever: what a full pipe or a stopped terminal does not take is left out.
pub(crate) fn say(line: &str) {
    /// What a pipe that has room takes at once (`pipe(7)`).
    const PIPE_BUF: usize = 4096;
    // Causes of errors, and command lines, hold what others wrote.
    let lines: Vec<_> = line.split('\n').map(fumehood::printable).collect();
    let text = format!("{} {}\n", styled(STRONG, "fumehood:"), lines.join("\n"));
    let mut stderr = anstream::stderr();
    for piece in text.as_bytes().chunks(PIPE_BUF) {
        if !takes_notices() || stderr.write_all(piece).is_err() {
            return;
        }
    }
}

/// Waits until there is room on standard error: once for a second, and later notices not at all.
fn takes_notices() -> bool {
    static WAITED: AtomicBool = AtomicBool::new(false);
    let patience = Timespec { tv_sec: (!WAITED.load(Relaxed)).into(), tv_nsec: 0 };
    let stderr = io::stderr();
    let mut watched = [PollFd::new(&stderr, PollFlags::OUT)];
    match poll(&mut watched, Some(&patience)) {
        Ok(0) => WAITED.store(true, Relaxed),
        Ok(_) => return true,
        // A signal came in between, which is rare enough to leave a notice out.
        Err(_) => {}
    }
    false
}

/// An error in lines.
fn explain(error: &Error) -> Vec<String> {
    match error.kind() {
        ErrorKind::Unsupported { missing } => unsupported(missing),
        _ => {
            let causes = std::iter::successors(std::error::Error::source(error), |e| e.source());
            let causes = causes.map(|cause| format!(": {cause}"));
            vec![std::iter::once(error.to_string()).chain(causes).collect()]
        }
    }
}

fn unsupported(missing: &[Missing]) -> Vec<String> {
    let mut lines = vec!["this host cannot hold what is required; nothing was run".to_owned()];
    for one in missing {
        lines.push(format!("  {} ({}): {}", one.guarantee, name(one.layer), one.reason));
    }
    let mut fixes = Vec::new();
    for fix in missing.iter().filter_map(|one| one.fix.as_deref()) {
        if !fixes.contains(&fix) {
            lines.extend(format!("to fix it: {fix}").lines().map(|line| format!("  {line}")));
            fixes.push(fix);
        }
    }
    let names: Vec<_> = missing.iter().map(|one| one.guarantee.name()).collect();
    lines.push(format!("  to run without: --waive {}", names.join(",")));
    lines
}

/// The name that something has in JSON.
pub(crate) fn name(value: impl Serialize) -> String {
    let name = serde_json::to_value(value).unwrap_or_default();
    name.as_str().unwrap_or("unknown").to_owned()
}

/// Where a guarantee stands, in a line.
pub(crate) fn standing(standing: &Standing) -> String {
    match standing {
        Standing::Held { by } => by.join("; "),
        Standing::NotHeld { reason, stand_in: None } => reason.clone(),
        Standing::NotHeld { reason, stand_in: Some(stand_in) } => {
            format!("{reason}; instead: {stand_in}")
        }
        other => format!("{other:?}"),
    }
}

/// A report, or an error in its place, as JSON text.
pub(crate) fn document(result: &Result<Report>) -> Result<String> {
    match result {
        Ok(report) => pretty(report),
        Err(error) => pretty(&json!({ "error": describe(error) })),
    }
}

fn pretty(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| internal("write JSON")(error.into()))?;
    Ok(text + "\n")
}

/// An error as JSON: `kind` and `message`, and the parts that the kind has.
fn describe(error: &Error) -> Value {
    let (kind, mut value) = match error.kind() {
        ErrorKind::InvalidJob { field, value, problem } => {
            ("invalid-job", json!({ "field": field, "value": value, "problem": problem }))
        }
        ErrorKind::Unsupported { missing } => ("unsupported", json!({ "missing": missing })),
        ErrorKind::ProgramNotFound { program, detail } => {
            ("program-not-found", json!({ "program": program, "detail": detail }))
        }
        ErrorKind::ProgramNotExecutable { program, detail } => {
            ("program-not-executable", json!({ "program": program, "detail": detail }))
        }
        ErrorKind::Start { step, source } => {
            ("start", json!({ "step": step, "errno": source.raw_os_error() }))
        }
        ErrorKind::Export { path, problem } => {
            ("export", json!({ "path": path, "problem": problem }))
        }
        ErrorKind::Image { image, problem } => {
            ("image", json!({ "image": image, "problem": problem }))
        }
        ErrorKind::NoBackend { backend, reason, fix } => {
            ("no-backend", json!({ "backend": backend, "reason": reason, "fix": fix }))
        }
        ErrorKind::NoLauncher => ("no-launcher", json!({})),
        ErrorKind::Internal { source, .. } => match Stopped::of(source) {
            Some(stopped) => ("cancelled", json!({ "signal": stopped.signal() })),
            None => ("internal", json!({ "errno": source.raw_os_error() })),
        },
        _ => ("other", json!({})),
    };
    value["kind"] = kind.into();
    value["message"] = explain(error).join("\n").into();
    value
}

/// Prints JSON to standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    print(&pretty(value)?)
}

/// Prints to standard output, without styles unless that is a terminal. A reader that has seen
/// enough is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = anstream::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(internal("print")(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use fumehood::{BackendName, Guarantee, Layer};

    use super::*;

    fn missing() -> Error {
        let missing = |guarantee, fix: Option<&str>| Missing {
            guarantee,
            layer: Layer::OuterSeccomp,
            reason: "unshare is refused".to_owned(),
            fix: fix.map(str::to_owned),
        };
        let missing = vec![
            missing(Guarantee::Network, Some("run the container with another profile")),
            missing(Guarantee::Disk, Some("map more ids")),
            missing(Guarantee::Ipc, Some("run the container with another profile")),
        ];
        ErrorKind::Unsupported { missing }.into()
    }

    #[test]
    fn what_is_missing_has_a_line_each_and_a_fix_is_named_once() {
        assert_eq!(
            explain(&missing()),
            [
                "this host cannot hold what is required; nothing was run",
                "  network (outer-seccomp): unshare is refused",
                "  disk (outer-seccomp): unshare is refused",
                "  ipc (outer-seccomp): unshare is refused",
                "  to fix it: run the container with another profile",
                "  to fix it: map more ids",
                "  to run without: --waive network,disk,ipc",
            ]
        );
    }

    #[test]
    fn an_error_has_one_line_with_its_causes() {
        let source = io::Error::from_raw_os_error(28);
        let error = ErrorKind::Start { step: "mount /usr".into(), source }.into();
        assert_eq!(
            explain(&error),
            ["failed to start: mount /usr: No space left on device (os error 28)"]
        );
    }

    #[test]
    fn errors_are_told_apart_as_json() {
        let value = describe(&missing());
        assert_eq!(value["kind"], "unsupported");
        assert_eq!(value["missing"][0]["layer"], "outer-seccomp");
        let error = ErrorKind::NoBackend {
            backend: BackendName::Docker,
            reason: "is not installed".to_owned(),
            fix: None,
        };
        let value = describe(&error.into());
        assert_eq!(value["kind"], "no-backend");
        assert_eq!(value["backend"], "docker");
        assert_eq!(value["reason"], "is not installed");
        let value = describe(&Error::invalid("cwd", "x", "must be absolute"));
        assert_eq!(value["kind"], "invalid-job");
        assert_eq!(value["field"], "cwd");
        assert_eq!(value["message"], "invalid job: cwd: x: must be absolute");
    }
}
