//! What keeps process 1 of a container able to watch over the program, which is of its user.
//!
//! The filters of engines let a program change schedule, priority and limits of every process of its user,
//! and so take process 1 all time to look at the limit of CPU time in. So process 1 adds a filter of its own,
//! which the program inherits: `EPERM` for each such call that names process 1, or all processes of a group or a
//! user, which process 1 may be one of. Engines let programs of 32 bits run, so their calls count, too.

use crate::policy::seccomp::{Arch, Insn, Program};

/// One calling convention.
struct Convention {
    /// `AUDIT_ARCH_*`.
    audit: u32,
    /// Which bits of a call's number count: x32 has one more, and the numbers of x86-64.
    bits: u32,
    /// `sched_setparam`, `sched_setscheduler`, `sched_setaffinity`, `sched_setattr`, `prlimit64`: whose first
    /// argument is a process.
    of_process: [u32; 5],
    setpriority: u32,
    ioprio_set: u32,
}

/// Those of this machine.
const CONVENTIONS: [Convention; 2] = if cfg!(target_arch = "x86_64") {
    [
        Convention {
            audit: Arch::X86_64.audit(),
            bits: !0x4000_0000,
            of_process: [142, 144, 203, 314, 302],
            setpriority: 141,
            ioprio_set: 251,
        },
        Convention {
            audit: 0x4000_0003,
            bits: u32::MAX,
            of_process: [154, 156, 241, 351, 340],
            setpriority: 97,
            ioprio_set: 289,
        },
    ]
} else {
    [
        Convention {
            audit: Arch::Aarch64.audit(),
            bits: u32::MAX,
            of_process: [118, 119, 122, 274, 261],
            setpriority: 140,
            ioprio_set: 30,
        },
        Convention {
            audit: 0x4000_0028,
            bits: u32::MAX,
            of_process: [154, 156, 241, 380, 369],
            setpriority: 97,
            ioprio_set: 314,
        },
    ]
};

/// Adds the filter to this process and those that it starts; whether it is there.
pub(super) fn install() -> bool {
    fumehood_child::sys::set_filter(&filter().to_bytes(), 0).is_ok()
}

// Classic BPF: load the word at an offset, keep bits of it, compare it, answer.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`; of the arguments the half that the kernel reads.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST: u32 = 16;
const SECOND: u32 = 24;

/// Instructions of one convention.
const BLOCK: usize = 10;
/// Behind them: each kind of call is judged, and answered.
const OF_IOPRIO: usize = 1 + CONVENTIONS.len() * BLOCK;
const OF_PRIORITY: usize = OF_IOPRIO + 2;
const WHOSE: usize = OF_PRIORITY + 2;
const OF_PROCESS: usize = WHOSE + 2;
const REFUSE: usize = OF_PROCESS + 2;
const ALLOW: usize = REFUSE + 1;

fn filter() -> Program {
    const EPERM: u32 = 0x0005_0001;
    const ALLOWED: u32 = 0x7fff_0000;
    let mut code = Code(Vec::with_capacity(ALLOW + 1));
    code.then(LOAD, ARCH);
    for (index, one) in CONVENTIONS.iter().enumerate() {
        // The kernel has no convention beyond the last.
        let last = index + 1 == CONVENTIONS.len();
        let other = if last { REFUSE } else { code.next() + BLOCK };
        code.branch(one.audit, code.next() + 1, other);
        code.then(LOAD, NUMBER);
        code.then(AND, one.bits);
        one.of_process.iter().for_each(|number| code.call(*number, OF_PROCESS));
        code.call(one.setpriority, OF_PRIORITY);
        code.branch(one.ioprio_set, OF_IOPRIO, ALLOW);
    }
    // IOPRIO_WHO_PROCESS is 1, and PRIO_PROCESS 0.
    code.then(LOAD, FIRST);
    code.branch(1, WHOSE, REFUSE);
    code.then(LOAD, FIRST);
    code.branch(0, WHOSE, REFUSE);
    code.then(LOAD, SECOND);
    code.branch(1, REFUSE, ALLOW);
    code.then(LOAD, FIRST);
    code.branch(1, REFUSE, ALLOW);
    code.then(RETURN, EPERM);
    code.then(RETURN, ALLOWED);
    Program::of(code.0)
}

/// A filter that is being written.
struct Code(Vec<Insn>);

impl Code {
    const fn next(&self) -> usize {
        self.0.len()
    }

    fn then(&mut self, code: u16, k: u32) {
        self.0.push(Insn { code, jt: 0, jf: 0, k });
    }

    /// Goes on at one of two later places.
    fn branch(&mut self, k: u32, yes: usize, no: usize) {
        let after = self.next() + 1;
        // Everything here is within reach of everything before it.
        let skip = |place: usize| u8::try_from(place.saturating_sub(after)).unwrap_or(u8::MAX);
        self.0.push(Insn { code: EQUAL, jt: skip(yes), jf: skip(no), k });
    }

    /// Goes on at a place if it is this call.
    fn call(&mut self, number: u32, place: usize) {
        self.branch(number, place, self.next() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::seccomp::{Action, SeccompData};

    const EPERM: Action = Action::Errno(1);

    /// What is answered to a call, whatever the halves of its arguments are that the kernel does not read.
    fn answer(arch: u32, nr: u32, first: u64, second: u64) -> Action {
        let answers = [0, 1 << 32, 0xffff_ffff << 32].map(|high| {
            let args = [first | high, second | high, 0, 0, 0, 0];
            filter().evaluate(&SeccompData { nr, arch, ip: 0, args })
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        answers[0]
    }

    #[test]
    fn numbers_are_those_of_the_calls() {
        let arch = Arch::host().unwrap();
        let own = CONVENTIONS.iter().find(|one| one.audit == arch.audit()).unwrap();
        let names = [
            "sched_setparam",
            "sched_setscheduler",
            "sched_setaffinity",
            "sched_setattr",
            "prlimit64",
        ];
        assert_eq!(own.of_process.map(Some), names.map(|name| arch.number(name)));
        let others = ["setpriority", "ioprio_set"].map(|name| arch.number(name));
        assert_eq!(others, [Some(own.setpriority), Some(own.ioprio_set)]);
    }

    #[test]
    fn process_1_is_refused_by_every_convention_and_nobody_else() {
        const ANY: u64 = u32::MAX as u64;
        for one in CONVENTIONS {
            for number in one.of_process.iter().flat_map(|&number| [number, number | !one.bits]) {
                assert_eq!(answer(one.audit, number, 1, 7), EPERM);
                for pid in [0, 2, 300, ANY] {
                    assert_eq!(answer(one.audit, number, pid, 1), Action::Allow, "{number} {pid}");
                }
            }
            for (number, process) in [(one.setpriority, 0), (one.ioprio_set, 1)] {
                assert_eq!(answer(one.audit, number, process, 1), EPERM);
                for who in [0, 2, ANY] {
                    assert_eq!(answer(one.audit, number, process, who), Action::Allow);
                }
                // Of a group, or of a user.
                for which in [process + 1, process + 2] {
                    assert_eq!(answer(one.audit, number, which, 0), EPERM);
                }
            }
        }
        assert_eq!(answer(0, 0, 0, 0), EPERM, "an unknown convention");
    }

    #[test]
    fn other_calls_are_allowed_without_a_look_at_their_arguments() {
        let arch = Arch::host().unwrap();
        for name in ["read", "execve", "exit_group", "getpriority", "sched_yield", "kill"] {
            assert!(filter().always_allows(arch, name), "{name}");
        }
    }
}
