//! Runs a filter as the kernel would, without a kernel.

use super::program::{Insn, Program, offset, op};
use super::{Action, Arch};

/// What a filter sees of a system call: the kernel's `struct seccomp_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeccompData {
    /// The number of the system call.
    pub nr: u32,
    /// The calling convention, `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The address of the calling instruction.
    pub ip: u64,
    /// The arguments, as the registers hold them.
    pub args: [u64; 6],
}

impl SeccompData {
    /// A native call.
    #[must_use]
    pub fn new(arch: Arch, nr: u32, args: [u64; 6]) -> Self {
        Self { nr, arch: arch.audit(), ip: 0, args }
    }

    fn word(&self, at: u32) -> Option<u32> {
        match at {
            offset::NUMBER => Some(self.nr),
            offset::ARCH => Some(self.arch),
            _ => {
                let at = usize::try_from(at.checked_sub(offset::INSTRUCTION)?).ok()?;
                let word = match at / 8 {
                    0 => self.ip,
                    argument => *self.args.get(argument - 1)?,
                };
                let shifted = if at % 8 == 0 { word } else { word >> 32 };
                u32::try_from(shifted & u64::from(u32::MAX)).ok()
            }
        }
    }
}

impl Program {
    /// What the filter answers.
    #[must_use]
    pub fn evaluate(&self, data: &SeccompData) -> Action {
        // The kernel would not have taken a filter that reads beyond the data or runs off its own
        // end, and compile() makes none.
        self.run(|at| data.word(at)).unwrap_or(Action::KillProcess)
    }

    /// What the filter answers to a native call whatever its arguments, if it does not look at
    /// them. The kernel asks the same of a filter when it is installed.
    #[must_use]
    pub fn constant(&self, arch: Arch, nr: u32) -> Option<Action> {
        self.run(|at| match at {
            offset::NUMBER => Some(nr),
            offset::ARCH => Some(arch.audit()),
            _ => None,
        })
    }

    /// Follows the filter until it answers, or loads a word that is not there.
    fn run(&self, load: impl Fn(u32) -> Option<u32>) -> Option<Action> {
        let (mut at, mut word) = (0, 0);
        loop {
            let insn = *self.insns.get(at)?;
            at += 1;
            match insn.code {
                op::LOAD => word = load(insn.k)?,
                op::AND => word &= insn.k,
                op::RETURN => return Some(Action::from_return(insn.k)),
                _ => at += skip(insn, word)?,
            }
        }
    }
}

/// Instructions that a jump skips.
fn skip(insn: Insn, word: u32) -> Option<usize> {
    let holds = match insn.code {
        op::JUMP => return usize::try_from(insn.k).ok(),
        op::EQUAL => word == insn.k,
        op::GREATER => word > insn.k,
        op::AT_LEAST => word >= insn.k,
        op::ANY_BIT => word & insn.k != 0,
        _ => return None,
    };
    Some(usize::from(if holds { insn.jt } else { insn.jf }))
}
