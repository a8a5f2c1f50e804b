//! Filters as the kernel takes them.

use super::{Arch, Error};

/// One instruction of classic BPF, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Insn {
    /// What to do: class, size and mode, `BPF_*` of `linux/bpf_common.h`.
    pub code: u16,
    /// Instructions to skip if the comparison holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// The instructions that filters are made of, from `linux/bpf_common.h`. They are those that the
/// kernel's `seccomp_is_const_allow` follows, so that it can answer a call that is always allowed
/// from a bitmap, without running the filter.
pub(super) mod op {
    /// Load the word at offset `k` of `struct seccomp_data`.
    pub(crate) const LOAD: u16 = 0x20;
    /// Keep the bits of `k`.
    pub(crate) const AND: u16 = 0x54;
    /// Skip `k` instructions.
    pub(crate) const JUMP: u16 = 0x05;
    /// Is the word `k`?
    pub(crate) const EQUAL: u16 = 0x15;
    /// Is the word greater than `k`?
    pub(crate) const GREATER: u16 = 0x25;
    /// Is the word `k` or greater?
    pub(crate) const AT_LEAST: u16 = 0x35;
    /// Has the word any bit of `k`?
    pub(crate) const ANY_BIT: u16 = 0x45;
    /// Answer `k`.
    pub(crate) const RETURN: u16 = 0x06;
}

/// Offsets in `struct seccomp_data`.
pub(super) mod offset {
    /// The number of the system call.
    pub(crate) const NUMBER: u32 = 0;
    /// The calling convention.
    pub(crate) const ARCH: u32 = 4;
    /// The instruction pointer, 64 bits.
    pub(crate) const INSTRUCTION: u32 = 8;
    const ARGS: u32 = 16;

    /// The low half of an argument. Both architectures are little-endian.
    pub(crate) const fn low(index: u8) -> u32 {
        ARGS + 8 * index as u32
    }

    /// The high half of an argument.
    pub(crate) const fn high(index: u8) -> u32 {
        low(index) + 4
    }
}

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    pub(super) insns: Vec<Insn>,
    pub(super) flags: u32,
}

impl Program {
    /// Instructions that the kernel takes at most (`BPF_MAXINSNS`).
    pub const MAX_LEN: usize = 4096;

    /// One of these instructions.
    #[cfg(feature = "engine")]
    pub(crate) const fn of(insns: Vec<Insn>) -> Self {
        Self { insns, flags: 0 }
    }

    /// The instructions, to be handed to seccomp(2) as a `struct sock_fprog`.
    #[must_use]
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }

    /// `SECCOMP_FILTER_FLAG_*` that the profile asks for, to be handed to seccomp(2).
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// How many instructions.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a filter always answers something")]
    pub fn len(&self) -> usize {
        self.insns.len()
    }

    /// The instructions as bytes in this machine's order, eight to each: what bubblewrap's
    /// `--seccomp` reads, and what the kernel reads where `insns` lie.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.insns.iter().flat_map(|insn| insn.to_bytes()).collect()
    }

    /// The same filter, but that it asks a supervisor where this one kills
    /// (`SECCOMP_RET_USER_NOTIF`); none if it never kills.
    ///
    /// A supervisor learns from the question which call it is, and kills instead of answering.
    /// [`Program::evaluate`] takes the question for the kill that it stands for.
    #[must_use]
    pub fn asking(&self) -> Option<Self> {
        let mut asking = self.clone();
        let kills = asking.insns.iter_mut().filter(|insn| insn.kills());
        let count = kills.map(|insn| insn.k = USER_NOTIF).count();
        (count > 0).then_some(asking)
    }

    /// Whether a process can get `SIGSYS` from it: it kills, or traps.
    pub(crate) fn signals(&self) -> bool {
        self.insns.iter().any(|insn| insn.kills() || insn.traps())
    }

    /// Whether a call is made whatever its arguments.
    #[must_use]
    pub fn always_allows(&self, arch: Arch, call: &str) -> bool {
        let always = arch.number(call).and_then(|number| self.constant(arch, number));
        always.is_some_and(super::Action::allows)
    }

    /// Makes sure that a program can be started under this filter, and can end: the last things
    /// that the sandbox's own child does, after it has installed the filter, are `execve`, and
    /// `exit_group` if that failed.
    ///
    /// # Errors
    ///
    /// One of the two is not allowed whatever its arguments.
    pub fn require_start(&self, arch: Arch) -> Result<(), Error> {
        for call in ["execve", "exit_group"] {
            if !self.always_allows(arch, call) {
                return Err(Error::CannotRun { call, arch });
            }
        }
        Ok(())
    }
}

/// `SECCOMP_RET_USER_NOTIF`.
const USER_NOTIF: u32 = 0x7fc0_0000;

impl Insn {
    fn kills(self) -> bool {
        use super::Action::{KillProcess, KillThread};
        let kills = [KillThread.to_return(), KillProcess.to_return()];
        self.code == op::RETURN && kills.contains(&self.k)
    }

    fn traps(self) -> bool {
        self.code == op::RETURN && self.k == super::Action::Trap.to_return()
    }

    fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&self.code.to_ne_bytes());
        bytes[2] = self.jt;
        bytes[3] = self.jf;
        bytes[4..].copy_from_slice(&self.k.to_ne_bytes());
        bytes
    }
}
