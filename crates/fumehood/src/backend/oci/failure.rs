//! What a runtime says about a program that it could not start.

use std::io;

use serde::Deserialize;

use super::{Kind, tenant};
use crate::{Error, ErrorKind};

/// A line of a runtime's log.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// The last error in a log; none if there is none. What is no JSON is a message itself.
pub(super) fn complaint(log: &str) -> Option<String> {
    let lines = log.lines().filter(|line| !line.trim().is_empty());
    let mut complaints = lines.filter_map(|line| match serde_json::from_str::<Line>(line) {
        Ok(Line { level, msg }) => {
            matches!(level.as_str(), "error" | "fatal" | "panic").then_some(msg)
        }
        Err(_) => Some(line.to_owned()),
    });
    complaints.next_back()
}

/// The line by which a process of Go's runtime says why it ends itself; none if it does not.
pub(super) fn crash(log: &str) -> Option<String> {
    let is_last = |line: &&str| line.starts_with("panic: ") || line.starts_with("fatal error: ");
    log.lines().find(is_last).map(str::to_owned)
}

/// The error for a program that never ran, or whose runtime broke down, from the runtime's own words.
pub(super) fn error(kind: Kind, program: &str, complaint: &str, has_run: bool) -> Error {
    let said = complaint.to_lowercase();
    let about_program = said.contains(&program.to_lowercase()) || said.contains("exec");
    let program = program.to_owned();
    let detail = format!("{}: {complaint}", kind.name());
    if about_program && (said.contains("no such file") || said.contains("not found")) {
        return ErrorKind::ProgramNotFound { program, detail }.into();
    }
    if about_program && (said.contains("permission denied") || said.contains("exec format")) {
        return ErrorKind::ProgramNotExecutable { program, detail }.into();
    }
    if has_run {
        return tenant::failed(detail);
    }
    let step = format!("{} run", kind.name());
    ErrorKind::Start { step, source: io::Error::other(complaint.to_owned()) }.into()
}

/// Whether the runtime lacks the platform that it was told to use, so that another may do.
pub(super) fn is_about_platform(complaint: &str) -> bool {
    complaint.to_lowercase().contains("platform")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_counts() {
        let log = "{\"msg\":\"old\",\"level\":\"error\"}\n{\"msg\":\"odd\",\"level\":\"warning\"}\n\
                   {\"msg\":\"new\",\"level\":\"error\"}\n";
        assert_eq!(complaint(log).as_deref(), Some("new"));
        assert_eq!(complaint("{\"msg\":\"odd\",\"level\":\"warning\"}\n"), None);
        assert_eq!(complaint("plain words\n").as_deref(), Some("plain words"));
        assert_eq!(complaint(""), None);
    }

    #[test]
    fn a_crash_is_told_from_words_about_panics() {
        let log = "I1122 Config.PanicLog (--panic-log): (empty)\npanic: running on goroutine 7\n";
        assert_eq!(crash(log).as_deref(), Some("panic: running on goroutine 7"));
        assert_eq!(crash("W1122 the program printed panic: or so\n"), None);
    }

    #[test]
    fn runtimes_words_become_errors_of_ours() {
        let kind = |words: &str| match error(Kind::Crun, "foo", words, false).kind() {
            ErrorKind::ProgramNotFound { .. } => "not found",
            ErrorKind::ProgramNotExecutable { .. } => "not executable",
            ErrorKind::Start { .. } => "start",
            _ => "other",
        };
        let not_found = "executable file `foo` not found in $PATH: No such file or directory";
        assert_eq!(kind(not_found), "not found");
        assert_eq!(kind("exec container process `/foo`: Exec format error"), "not executable");
        assert_eq!(kind("open `/foo`: Permission denied"), "not executable");
        let broken = error(Kind::Runsc, "foo", "urpc method failed: EOF", true);
        assert!(matches!(broken.kind(), ErrorKind::Internal { .. }), "{broken}");
        assert_eq!(kind("mount `proc` to `/proc`: Operation not permitted"), "start");
    }
}
