//! Exit statuses: the one place where results become numbers.

use fumehood::{Error, ErrorKind, Report, Result, StandardStream};

use crate::signals::Stopped;

/// Everything is well.
pub(crate) const OK: u8 = 0;
/// The host cannot hold a guarantee that is required.
pub(crate) const UNSUPPORTED: u8 = 99;
/// The program ended well, but not all of its changes were applied.
pub(crate) const NOT_APPLIED: u8 = 98;
/// Anything else that kept the program from running, or its output from arriving.
pub(crate) const FAILED: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// The status of a run: the program's own, or why there is none.
pub(crate) fn of(result: &Result<Report>) -> u8 {
    match result {
        Ok(report) if report.outcome.exit_code() == OK && loses_output(report) => FAILED,
        Ok(report) => report.outcome.exit_code(),
        Err(error) => of_error(error),
    }
}

/// Whether something was printed that somebody still wanted and did not get.
fn loses_output(report: &Report) -> bool {
    report.undelivered.iter().any(|one| one.stream != StandardStream::Stdin)
}

/// As a shell says it of a program that a signal ended.
fn by_signal(stopped: &Stopped) -> u8 {
    u8::try_from(128 + stopped.signal()).unwrap_or(FAILED)
}

pub(crate) fn of_error(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::ProgramNotFound { .. } => NOT_FOUND,
        ErrorKind::ProgramNotExecutable { .. } => NOT_EXECUTABLE,
        ErrorKind::Unsupported { .. } | ErrorKind::NoBackend { .. } => UNSUPPORTED,
        ErrorKind::Internal { source, .. } => Stopped::of(source).map_or(FAILED, by_signal),
        _ => FAILED,
    }
}
