//! How a program ended: a pure function of its wait status and of what was done to it.

use fumehood_child::wire::Ended;

use super::{Outcome, Stream, TimeLimit};
use crate::policy::seccomp::Arch;

/// Why a supervisor stopped a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A clock ran out.
    Time(TimeLimit),
    /// The kernel killed a process at the group's limit of memory.
    Memory,
    /// A stream exceeded its limit.
    Output(Stream),
    /// The caller asked.
    Cancelled,
}

/// A system call that the filter kills for; everything in the cell was killed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// Number and calling convention, where they are known.
    pub(crate) call: Option<(i32, u32)>,
}

impl Denial {
    pub(crate) fn of(ended: &Ended) -> Option<Self> {
        let call = ended.call_known.then_some((ended.call, ended.convention));
        ended.denied.then_some(Self { call })
    }

    /// The name of the call, or its number where it has no name.
    fn name(self) -> Option<String> {
        let (number, convention) = self.call?;
        let Some(arch) = Arch::ALL.into_iter().find(|arch| arch.audit() == convention) else {
            return Some(format!("{number} (convention {convention:#x})"));
        };
        let name = u32::try_from(number).ok().and_then(|number| arch.name(number));
        Some(name.map_or_else(|| format!("{number} ({arch})"), str::to_owned))
    }
}

const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;
const SIGSYS: i32 = 31;

/// Of which signals the kernel can have been the sender. A program can raise them all, and would else have
/// ended by whatever it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Senders {
    /// `SIGXCPU`, for a limit of CPU time that was used up.
    pub(crate) cpu_limit: bool,
    /// `SIGXFSZ`, for a limit of file sizes.
    pub(crate) file_limit: bool,
    /// `SIGSYS`, for a system call that the filter kills for.
    pub(crate) filter: bool,
}

/// What the control group counted while a program ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// The kernel killed a process at the group's own memory limit.
    pub(crate) out_of_memory: bool,
    /// A process was refused at the group's limit of processes.
    pub(crate) pids_denied: bool,
}

/// The outcome. What was done to the program decides before how the program took it: one that ends
/// with 0 on `SIGTERM` has timed out all the same, and one that lost a process to the limit of
/// memory is out of memory, because with version 2 nothing of it is left, and with version 1 it
/// would be a matter of luck whether its end came before ours. A refused process, which kills
/// nobody, only explains an end that was not a success.
pub(crate) fn verdict(
    status: i32,
    stop: Option<Stop>,
    senders: Senders,
    counted: Counted,
    denial: Option<Denial>,
) -> Outcome {
    if counted.out_of_memory {
        return Outcome::OutOfMemory;
    }
    match stop {
        Some(Stop::Memory) => return Outcome::OutOfMemory,
        Some(Stop::Time(limit)) => return Outcome::TimedOut { limit },
        Some(Stop::Output(stream)) => return Outcome::OutputLimit { stream },
        Some(Stop::Cancelled) => return Outcome::Cancelled,
        None => {}
    }
    if let Some(denial) = denial {
        return Outcome::Denied { syscall: denial.name() };
    }
    if counted.pids_denied && status != 0 {
        return Outcome::PidsLimit;
    }
    // A wait status: the signal in the low 7 bits, or 0 there and the exit status above.
    match status & 0x7f {
        0 => Outcome::Exited { code: u8::try_from((status >> 8) & 0xff).unwrap_or(u8::MAX) },
        SIGXCPU if senders.cpu_limit => Outcome::TimedOut { limit: TimeLimit::Cpu },
        SIGXFSZ if senders.file_limit => Outcome::DiskLimit,
        SIGSYS if senders.filter => Outcome::Denied { syscall: None },
        signal => Outcome::Signaled { signal },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Counted = Counted { out_of_memory: false, pids_denied: false };
    const ALL: Senders = Senders { cpu_limit: true, file_limit: true, filter: true };
    const NONE: Senders = Senders { cpu_limit: false, file_limit: false, filter: false };

    #[test]
    fn what_the_supervisor_did_decides_first() {
        let stopped = verdict(0, Some(Stop::Time(TimeLimit::Wall)), ALL, NOTHING, None);
        assert_eq!(stopped, Outcome::TimedOut { limit: TimeLimit::Wall });
        let flooded = verdict(9, Some(Stop::Output(Stream::Stderr)), ALL, NOTHING, None);
        assert_eq!(flooded, Outcome::OutputLimit { stream: Stream::Stderr });
        assert_eq!(verdict(15, Some(Stop::Cancelled), ALL, NOTHING, None), Outcome::Cancelled);
    }

    #[test]
    fn a_program_that_ended_by_itself_is_judged_by_its_status() {
        assert_eq!(verdict(7 << 8, None, ALL, NOTHING, None), Outcome::Exited { code: 7 });
        assert_eq!(verdict(255 << 8, None, ALL, NOTHING, None), Outcome::Exited { code: 255 });
        assert_eq!(verdict(11 | 0x80, None, ALL, NOTHING, None), Outcome::Signaled { signal: 11 });
    }

    #[test]
    fn a_signal_tells_of_a_limit_only_where_the_kernel_can_have_sent_it() {
        let sent = |signal| verdict(signal, None, ALL, NOTHING, None);
        assert_eq!(sent(24), Outcome::TimedOut { limit: TimeLimit::Cpu });
        assert_eq!(sent(25), Outcome::DiskLimit);
        assert_eq!(sent(31), Outcome::Denied { syscall: None });
        for signal in [24, 25, 31] {
            let raised = verdict(signal, None, NONE, NOTHING, None);
            assert_eq!(raised, Outcome::Signaled { signal });
        }
    }

    #[test]
    fn a_kill_for_memory_decides_and_a_refused_process_explains_a_failure() {
        let starved = Counted { out_of_memory: true, ..NOTHING };
        assert_eq!(verdict(9, None, ALL, starved, None), Outcome::OutOfMemory);
        assert_eq!(verdict(137 << 8, None, ALL, starved, None), Outcome::OutOfMemory);
        assert_eq!(verdict(0, None, ALL, starved, None), Outcome::OutOfMemory);
        assert_eq!(verdict(9, Some(Stop::Memory), ALL, NOTHING, None), Outcome::OutOfMemory);
        let crowded = Counted { pids_denied: true, ..NOTHING };
        assert_eq!(verdict(1 << 8, None, ALL, crowded, None), Outcome::PidsLimit);
        assert_eq!(verdict(0, None, ALL, crowded, None), Outcome::Exited { code: 0 });
        let late = Some(Stop::Time(TimeLimit::Wall));
        let timed_out = Outcome::TimedOut { limit: TimeLimit::Wall };
        assert_eq!(verdict(9, late, ALL, crowded, None), timed_out);
    }

    #[test]
    fn a_denied_call_is_named_unless_the_supervisor_had_stopped_the_program() {
        let denied = |call| verdict(9, None, ALL, NOTHING, Some(Denial { call }));
        let named = |name: &str| Outcome::Denied { syscall: Some(name.into()) };
        let x86_64 = Arch::X86_64.audit();
        assert_eq!(denied(Some((101, x86_64))), named("ptrace"));
        assert_eq!(denied(Some((117, Arch::Aarch64.audit()))), named("ptrace"));
        assert_eq!(denied(Some((9999, x86_64))), named("9999 (x86_64)"));
        assert_eq!(denied(Some((-1, x86_64))), named("-1 (x86_64)"));
        assert_eq!(denied(Some((26, 0x4000_0003))), named("26 (convention 0x40000003)"));
        assert_eq!(denied(None), Outcome::Denied { syscall: None });
        let late = Some(Stop::Time(TimeLimit::Wall));
        let timed_out = Outcome::TimedOut { limit: TimeLimit::Wall };
        assert_eq!(verdict(9, late, ALL, NOTHING, Some(Denial { call: None })), timed_out);
        let crowded = Counted { pids_denied: true, ..NOTHING };
        let both = verdict(9, None, ALL, crowded, Some(Denial { call: Some((101, x86_64)) }));
        assert_eq!(both, named("ptrace"));
    }
}
