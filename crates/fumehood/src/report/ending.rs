//! An outcome as an exit status and as a line for people.

use super::{Outcome, Stream, TimeLimit};

impl Outcome {
    /// The exit status by which a command line passes the outcome on.
    ///
    /// | outcome | status | why |
    /// | --- | --- | --- |
    /// | exited | its own | |
    /// | signaled | 128 + the signal's number | as shells do |
    /// | timed out | 124 | as `timeout(1)` does |
    /// | out of memory | 137 | 128 + `SIGKILL`, as the kernel's killer makes it |
    /// | pids limit | 137 | the other limit of the whole tree; 125 would say that it never ran |
    /// | output or disk limit | 153 | 128 + `SIGXFSZ` |
    /// | denied | 159 | 128 + `SIGSYS` |
    /// | cancelled | 143 | 128 + `SIGTERM` |
    ///
    /// A program can exit with any of these itself: only the report tells them apart.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exited { code } => *code,
            Self::Signaled { signal } => after_signal(*signal),
            Self::TimedOut { .. } => 124,
            Self::OutOfMemory | Self::PidsLimit => after_signal(9),
            Self::OutputLimit { .. } | Self::DiskLimit => after_signal(25),
            Self::Denied { .. } => after_signal(31),
            Self::Cancelled => after_signal(15),
        }
    }

    /// One line for people about how the program ended, unless it ended by itself.
    ///
    /// ```
    /// use fumehood::Outcome;
    /// let crash = Outcome::Signaled { signal: 11 };
    /// assert_eq!(crash.describe().unwrap(), "killed by signal 11 (SIGSEGV)");
    /// assert_eq!(Outcome::Exited { code: 1 }.describe(), None);
    /// ```
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let line = match self {
            Self::Exited { .. } => return None,
            Self::Signaled { signal } => return Some(killed_by(*signal)),
            Self::TimedOut { limit: TimeLimit::Wall } => "stopped: wall-clock limit",
            Self::TimedOut { limit: TimeLimit::Cpu } => "stopped: CPU-time limit",
            Self::OutOfMemory => "killed: memory limit",
            Self::OutputLimit { stream: Stream::Stdout } => {
                "stopped: more output on stdout than its limit"
            }
            Self::OutputLimit { stream: Stream::Stderr } => {
                "stopped: more output on stderr than its limit"
            }
            Self::DiskLimit => "killed: limit of bytes written (SIGXFSZ)",
            Self::PidsLimit => "refused a process: limit of processes",
            Self::Denied { syscall: Some(name) } => {
                return Some(format!("killed: system call {name} is denied"));
            }
            Self::Denied { syscall: None } => "killed: a system call is denied",
            Self::Cancelled => "stopped: cancelled",
        };
        Some(line.to_owned())
    }
}

/// 128 and a signal's number, which is 64 at most.
fn after_signal(signal: i32) -> u8 {
    u8::try_from(signal).unwrap_or(u8::MAX).saturating_add(128)
}

fn killed_by(signal: i32) -> String {
    signal_name(signal).map_or_else(
        || format!("killed by signal {signal}"),
        |name| format!("killed by signal {signal} ({name})"),
    )
}

/// The names of signals 1 to 31 on Linux for x86-64 and `AArch64` (`signal(7)`).
const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// The name of a signal: `SIGSEGV`, or `SIGRTMIN+2` for a real-time one.
///
/// `SIGRTMIN` is 34, as C libraries count it: they keep 32 and 33, which have no name, for
/// themselves.
#[must_use]
pub fn signal_name(signal: i32) -> Option<String> {
    match signal {
        34 => Some("SIGRTMIN".to_owned()),
        35..=64 => Some(format!("SIGRTMIN+{}", signal - 34)),
        _ => {
            let index = usize::try_from(signal).ok()?.checked_sub(1)?;
            NAMES.get(index).map(|name| (*name).to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_the_documented_exit_status_and_line() {
        let denied = |name: Option<&str>| Outcome::Denied { syscall: name.map(str::to_owned) };
        for (outcome, code, line) in [
            (Outcome::Exited { code: 0 }, 0, None),
            (Outcome::Exited { code: 255 }, 255, None),
            (Outcome::Signaled { signal: 11 }, 139, Some("killed by signal 11 (SIGSEGV)")),
            (Outcome::Signaled { signal: 64 }, 192, Some("killed by signal 64 (SIGRTMIN+30)")),
            (Outcome::Signaled { signal: 32 }, 160, Some("killed by signal 32")),
            (Outcome::Signaled { signal: -1 }, 255, Some("killed by signal -1")),
            (Outcome::TimedOut { limit: TimeLimit::Wall }, 124, Some("stopped: wall-clock limit")),
            (Outcome::TimedOut { limit: TimeLimit::Cpu }, 124, Some("stopped: CPU-time limit")),
            (Outcome::OutOfMemory, 137, Some("killed: memory limit")),
            (
                Outcome::OutputLimit { stream: Stream::Stdout },
                153,
                Some("stopped: more output on stdout than its limit"),
            ),
            (
                Outcome::OutputLimit { stream: Stream::Stderr },
                153,
                Some("stopped: more output on stderr than its limit"),
            ),
            (Outcome::DiskLimit, 153, Some("killed: limit of bytes written (SIGXFSZ)")),
            (Outcome::PidsLimit, 137, Some("refused a process: limit of processes")),
            (denied(Some("ptrace")), 159, Some("killed: system call ptrace is denied")),
            (denied(None), 159, Some("killed: a system call is denied")),
            (Outcome::Cancelled, 143, Some("stopped: cancelled")),
        ] {
            assert_eq!(outcome.exit_code(), code, "{outcome:?}");
            assert_eq!(outcome.describe().as_deref(), line);
        }
    }

    #[test]
    fn names_have_the_kernel_s_numbers() {
        use rustix::process::Signal;
        for (signal, name) in [
            (Signal::HUP, "SIGHUP"),
            (Signal::ABORT, "SIGABRT"),
            (Signal::KILL, "SIGKILL"),
            (Signal::SEGV, "SIGSEGV"),
            (Signal::TERM, "SIGTERM"),
            (Signal::STKFLT, "SIGSTKFLT"),
            (Signal::CHILD, "SIGCHLD"),
            (Signal::TTOU, "SIGTTOU"),
            (Signal::XFSZ, "SIGXFSZ"),
            (Signal::WINCH, "SIGWINCH"),
            (Signal::SYS, "SIGSYS"),
        ] {
            assert_eq!(signal_name(signal.as_raw()).as_deref(), Some(name));
        }
        for nameless in [i32::MIN, -1, 0, 32, 33, 65] {
            assert_eq!(signal_name(nameless), None);
        }
    }
}
