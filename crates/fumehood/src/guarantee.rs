//! What a run can promise about its confinement.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One promise about the confinement of a run.
///
/// A guarantee is held by a mechanism, or the run is refused, or the caller waived it by name:
/// there is no fourth case, and the report says which of the three it was.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Guarantee {
    /// Nothing of the host's file system is visible but what the job lists.
    Filesystem,
    /// What is visible of the host cannot be written, nested mounts included.
    ReadOnlyRoot,
    /// The program cannot see, signal or outlive anything outside its own process tree.
    Processes,
    /// No network but a loopback interface of its own.
    Network,
    /// No System V or POSIX message queues, semaphores or shared memory of the host.
    Ipc,
    /// `no_new_privs`, empty capability sets, and not root on the host.
    NoPrivileges,
    /// System calls are filtered by an allow-list.
    SyscallFilter,
    /// Landlock holds file access as a second fence.
    Landlock,
    /// Memory of the whole process tree is limited.
    Memory,
    /// The number of processes and threads of the whole tree is limited.
    Pids,
    /// CPU time of the whole tree is limited.
    CpuTime,
    /// Wall-clock time is limited.
    WallTime,
    /// The amount of output per stream is limited.
    Output,
    /// The bytes and inodes that the program can write to disk or memory file systems are limited.
    Disk,
    /// System calls are answered by an application kernel or a virtual machine, not by the host.
    KernelBoundary,
}

impl Guarantee {
    /// Every guarantee, in the order in which reports list them.
    pub const ALL: [Self; 15] = [
        Self::Filesystem,
        Self::ReadOnlyRoot,
        Self::Processes,
        Self::Network,
        Self::Ipc,
        Self::NoPrivileges,
        Self::SyscallFilter,
        Self::Landlock,
        Self::Memory,
        Self::Pids,
        Self::CpuTime,
        Self::WallTime,
        Self::Output,
        Self::Disk,
        Self::KernelBoundary,
    ];

    /// The name used on the command line and in JSON, such as `read-only-root`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filesystem => "filesystem",
            Self::ReadOnlyRoot => "read-only-root",
            Self::Processes => "processes",
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::NoPrivileges => "no-privileges",
            Self::SyscallFilter => "syscall-filter",
            Self::Landlock => "landlock",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::CpuTime => "cpu-time",
            Self::WallTime => "wall-time",
            Self::Output => "output",
            Self::Disk => "disk",
            Self::KernelBoundary => "kernel-boundary",
        }
    }

    /// The guarantee of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|guarantee| guarantee.name() == name)
    }
}

impl std::fmt::Display for Guarantee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Guarantee;

    #[test]
    fn names_are_those_of_json() {
        for guarantee in Guarantee::ALL {
            let json = serde_json::to_string(&guarantee).unwrap();
            assert_eq!(json, format!("\"{guarantee}\""));
            assert_eq!(Guarantee::from_name(guarantee.name()), Some(guarantee));
        }
    }
}
