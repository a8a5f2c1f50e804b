//! What nsjail says in its log.
//!
//! Lines look like `[I][TIME] pid=7 (…) exited with status: 3, (PIDs left: 0)`; what was fatal has an
//! `F` in front, and what went before it says why.

use std::io;

use crate::{Error, ErrorKind};

/// What the last line says if there is an option that it does not know.
const NOT_UNDERSTOOD: &str = "Couldn't parse cmdline options";

/// Why no program ran, if none did.
pub(super) fn failure(log: &str, program: &str) -> Option<Error> {
    let fatal = log.lines().any(|line| line.starts_with("[F]"));
    if !fatal && !log.lines().any(|line| line.contains("Couldn't launch the child process")) {
        return None;
    }
    if log.lines().any(|line| line.starts_with("[F]") && line.ends_with(NOT_UNDERSTOOD)) {
        return Some(super::too_old());
    }
    if let Some(why) = log.lines().find_map(not_executed) {
        let program = program.to_owned();
        return Some(
            match why {
                "No such file or directory" => {
                    let detail = "it, its interpreter (the #! line) or its loader is not in the \
                                  sandbox";
                    ErrorKind::ProgramNotFound { program, detail: detail.to_owned() }
                }
                why => ErrorKind::ProgramNotExecutable { program, detail: why.to_owned() },
            }
            .into(),
        );
    }
    let source = io::Error::other(complaint(log));
    Some(ErrorKind::Start { step: "nsjail".to_owned(), source }.into())
}

/// `[E][…] newProc():232 execve('/x') failed: REASON`.
fn not_executed(line: &str) -> Option<&str> {
    let after = line.starts_with("[E]").then_some(line)?.split_once("execve('")?.1;
    Some(after.rsplit_once("') failed: ")?.1.trim())
}

/// The first line that is no mere information.
fn complaint(log: &str) -> String {
    let line = log.lines().find(|line| line.starts_with("[E]") || line.starts_with("[F]"));
    let text = line.and_then(|line| line.split_once("():")).map_or("", |(_, text)| text);
    let text = text.split_once(' ').map_or(text, |(_, text)| text);
    if text.is_empty() { "it failed, and did not say why".to_owned() } else { text.to_owned() }
}

/// The signal that ended the program. The exit status says 128 and more for that, and a program can
/// say that itself.
pub(super) fn signal(log: &str) -> Option<i32> {
    let line = log.lines().rev().find(|line| line.starts_with("[I]") && line.contains("] pid="))?;
    let after = line.split_once(" terminated with signal: ")?.1;
    after.split_once('(')?.1.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAN: &str = "[I][2026-11-22T11:54:13+0000] Executing '/bin/sh' for '[STANDALONE MODE]'\n\
        [I][2026-11-22T11:54:13+0000] pid=7 ([STANDALONE MODE]) ";

    #[test]
    fn an_nsjail_that_is_too_old_is_none() {
        let log = "[F][2026-11-22T18:18:42+0000][7] main():333 Couldn't parse cmdline options\n";
        assert!(matches!(failure(log, "sh").unwrap().kind(), ErrorKind::NoBackend { .. }));
    }

    #[test]
    fn a_program_s_own_255_is_no_failure() {
        let log = format!("{RAN}exited with status: 255, (PIDs left: 0)\n");
        assert!(failure(&log, "sh").is_none());
        assert_eq!(signal(&log), None);
    }

    #[test]
    fn a_signal_is_told_from_an_exit_status_above_128() {
        let log = format!("{RAN}terminated with signal: SIGSEGV (11), (PIDs left: 0)\n");
        assert_eq!(signal(&log), Some(11));
        let log = format!("{RAN}exited with status: 139, (PIDs left: 0)\n");
        assert_eq!(signal(&log), None);
    }

    #[test]
    fn what_could_not_be_executed_is_told_from_what_could_not_be_built() {
        let tail = "[F][t][1] runChild():506 Launching child process failed\n\
            [E][t][7] standaloneMode():274 Couldn't launch the child process\n";
        let kind = |line: &str| failure(&format!("{line}\n{tail}"), "x").unwrap();
        let missing =
            kind("[E][t][1] newProc():232 execve('/x') failed: No such file or directory");
        assert!(matches!(missing.kind(), ErrorKind::ProgramNotFound { .. }), "{missing}");
        let denied = kind("[E][t][1] newProc():232 execve('/x') failed: Permission denied");
        assert!(matches!(denied.kind(), ErrorKind::ProgramNotExecutable { .. }), "{denied}");
        let mount = kind("[E][t][1] buildMountTree():328 Failed to mount mandatory point: '/nope'");
        let ErrorKind::Start { source, .. } = mount.kind() else { panic!("{mount}") };
        assert_eq!(source.to_string(), "Failed to mount mandatory point: '/nope'");
    }
}
