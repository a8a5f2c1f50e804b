//! The mechanism that confines a job, by its name.

use schemars::JsonSchema;
use serde::Serialize;

/// The mechanism that confines a job. What each can hold is in `docs/backends.md`; a report says what
/// it did hold.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BackendName {
    /// Linux namespaces, seccomp, Landlock and control groups.
    #[default]
    Native,
    /// gVisor: an application kernel answers the program's system calls.
    Runsc,
    /// The OCI runtime crun.
    Crun,
    /// The OCI runtime runc.
    Runc,
    /// A container of Docker, through its engine's socket.
    Docker,
    /// A container of Podman, through its service's socket.
    Podman,
    /// Google's nsjail.
    Nsjail,
    /// The sandbox of macOS.
    Seatbelt,
    /// Nothing at all: only with every guarantee waived.
    Unconfined,
    /// The first that holds all that the job requires. Never weaker than asked: what the job waives
    /// is given up only where no backend holds it, and never all of it.
    Auto,
}

impl BackendName {
    /// Every backend that a job can name, [`Auto`](Self::Auto) last.
    pub const ALL: [Self; 10] = [
        Self::Native,
        Self::Runsc,
        Self::Crun,
        Self::Runc,
        Self::Docker,
        Self::Podman,
        Self::Nsjail,
        Self::Seatbelt,
        Self::Unconfined,
        Self::Auto,
    ];

    /// The name used on the command line and in JSON, such as `runsc`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Runsc => "runsc",
            Self::Crun => "crun",
            Self::Runc => "runc",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Nsjail => "nsjail",
            Self::Seatbelt => "seatbelt",
            Self::Unconfined => "unconfined",
            Self::Auto => "auto",
        }
    }
}

impl std::fmt::Display for BackendName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::BackendName;

    #[test]
    fn names_are_those_of_json() {
        for backend in BackendName::ALL {
            let json = serde_json::to_string(&backend).unwrap();
            assert_eq!(json, format!("\"{backend}\""));
        }
    }
}
