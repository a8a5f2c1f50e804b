//! How a program ended: a pure function of its wait status and of what was done to it.

use super::{Outcome, Stream, TimeLimit};

/// Why a supervisor stopped a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A clock ran out.
    Time(TimeLimit),
    /// A stream exceeded its limit.
    Output(Stream),
    /// The caller asked.
    Cancelled,
}

const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;
const SIGSYS: i32 = 31;

/// The outcome. What the supervisor did decides before how the program took it: a program that ends
/// with 0 on `SIGTERM` has timed out all the same.
pub(crate) fn verdict(status: i32, stop: Option<Stop>, cpu_limited: bool) -> Outcome {
    match stop {
        Some(Stop::Time(limit)) => return Outcome::TimedOut { limit },
        Some(Stop::Output(stream)) => return Outcome::OutputLimit { stream },
        Some(Stop::Cancelled) => return Outcome::Cancelled,
        None => {}
    }
    // A wait status: the signal in the low 7 bits, or 0 there and the exit status above.
    match status & 0x7f {
        0 => Outcome::Exited { code: u8::try_from((status >> 8) & 0xff).unwrap_or(u8::MAX) },
        SIGXCPU if cpu_limited => Outcome::TimedOut { limit: TimeLimit::Cpu },
        SIGXFSZ => Outcome::DiskLimit,
        SIGSYS => Outcome::Denied { syscall: None },
        signal => Outcome::Signaled { signal },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_supervisor_did_decides_first() {
        let stopped = verdict(0, Some(Stop::Time(TimeLimit::Wall)), true);
        assert_eq!(stopped, Outcome::TimedOut { limit: TimeLimit::Wall });
        let flooded = verdict(9, Some(Stop::Output(Stream::Stderr)), true);
        assert_eq!(flooded, Outcome::OutputLimit { stream: Stream::Stderr });
        assert_eq!(verdict(15, Some(Stop::Cancelled), true), Outcome::Cancelled);
    }

    #[test]
    fn a_program_that_ended_by_itself_is_judged_by_its_status() {
        assert_eq!(verdict(7 << 8, None, true), Outcome::Exited { code: 7 });
        assert_eq!(verdict(255 << 8, None, true), Outcome::Exited { code: 255 });
        assert_eq!(verdict(11 | 0x80, None, true), Outcome::Signaled { signal: 11 });
        assert_eq!(verdict(24, None, true), Outcome::TimedOut { limit: TimeLimit::Cpu });
        assert_eq!(verdict(24, None, false), Outcome::Signaled { signal: 24 });
        assert_eq!(verdict(25, None, true), Outcome::DiskLimit);
        assert_eq!(verdict(31, None, true), Outcome::Denied { syscall: None });
    }
}
