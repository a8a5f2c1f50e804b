//! Why a profile was refused.

use std::fmt::Display;

use super::Arch;

/// Why a profile could not be read or compiled: always the profile's fault, never the host's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no JSON, misses a key, or has one that the format does not know. The cause
    /// names it, with line and column.
    #[error("seccomp profile: {0}")]
    Json(#[from] serde_json::Error),
    /// A key holds a value that cannot be honoured.
    #[error("seccomp profile: {key}: {value}: {problem}")]
    Refused {
        /// Path of the key, such as `syscalls[3].args[0].index`.
        key: String,
        /// The value, as the profile writes it.
        value: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The filter is longer than the kernel takes.
    #[error(
        "seccomp profile: the filter needs {length} instructions, the kernel takes {}",
        super::Program::MAX_LEN
    )]
    TooLong {
        /// Instructions that the filter would have.
        length: usize,
    },
    /// The profile does not let the sandbox's own last steps pass.
    #[error(
        "seccomp profile: {call} is not allowed unconditionally on {arch}, so no program could {}",
        if *call == "execve" { "start" } else { "end" }
    )]
    CannotRun {
        /// The system call that is missing.
        call: &'static str,
        /// The architecture that was asked about.
        arch: Arch,
    },
    /// The host's architecture or kernel version is one that no filter can be made for.
    #[error("seccomp: no filter can be made for this host: {0}")]
    Host(String),
}

impl Error {
    pub(super) fn refused(
        key: impl Into<String>,
        value: impl Display,
        problem: impl Into<String>,
    ) -> Self {
        Self::Refused { key: key.into(), value: format!("{value}"), problem: problem.into() }
    }
}
