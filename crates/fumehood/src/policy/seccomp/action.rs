//! What the kernel does with a system call.

use std::fmt;

use serde::{Serialize, Serializer};

/// What the kernel does with a system call.
///
/// The order is that of permissiveness, and says nothing about precedence between filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The call is made.
    Allow,
    /// The call is made, and the kernel may log it (`kernel.seccomp.actions_logged`).
    Log,
    /// The call is not made and fails with this error; 0 makes it look like a success.
    Errno(u16),
    /// The call is not made, and the thread gets `SIGSYS`.
    Trap,
    /// The thread dies as if by `SIGSYS`.
    KillThread,
    /// The process dies by `SIGSYS`.
    KillProcess,
}

impl Action {
    /// What the kernel itself does with a call that it does not have.
    pub(super) const ENOSYS: Self = Self::Errno(38);

    /// The kernel takes no larger error number (`MAX_ERRNO`).
    pub(super) const MAX_ERRNO: u16 = 4095;

    /// Whether the call is made.
    #[must_use]
    pub const fn allows(self) -> bool {
        matches!(self, Self::Allow | Self::Log)
    }

    /// The filter's return value, `SECCOMP_RET_*`; see seccomp(2).
    pub(super) const fn to_return(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Log => 0x7ffc_0000,
            Self::Errno(errno) => 0x0005_0000 | errno as u32,
            Self::Trap => 0x0003_0000,
            Self::KillThread => 0,
            Self::KillProcess => 0x8000_0000,
        }
    }

    /// Reads a filter's return value. The kernel kills the process on one that it does not know.
    pub(super) const fn from_return(value: u32) -> Self {
        match value >> 16 {
            0x7fff => Self::Allow,
            0x7ffc => Self::Log,
            0x0005 => Self::Errno((value & 0xffff) as u16),
            0x0003 => Self::Trap,
            0x0000 => Self::KillThread,
            _ => Self::KillProcess,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allow"),
            Self::Log => f.write_str("log"),
            Self::Errno(errno) => match syscalls::Errno::new(i32::from(*errno)).name() {
                Some(name) => f.write_str(name),
                None => write!(f, "errno {errno}"),
            },
            Self::Trap => f.write_str("trap"),
            Self::KillThread => f.write_str("kill-thread"),
            Self::KillProcess => f.write_str("kill-process"),
        }
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
