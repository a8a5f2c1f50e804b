//! Kinds of namespaces.

use linux_raw_sys::general as nr;

use crate::plan::without::Without;

/// A kind of namespace that cells use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    User,
    Mount,
    Pid,
    Net,
    Ipc,
    Uts,
    Cgroup,
}

impl Namespace {
    /// The user namespace first: the others are made inside it.
    pub(crate) const ALL: [Self; 7] =
        [Self::User, Self::Mount, Self::Pid, Self::Net, Self::Ipc, Self::Uts, Self::Cgroup];

    /// The kind that an init makes in that step.
    pub(crate) fn made_by(step: &str) -> Option<Self> {
        Some(match step {
            "mount-namespace" => Self::Mount,
            "uts-namespace" => Self::Uts,
            "ipc-namespace" => Self::Ipc,
            "network-namespace" => Self::Net,
            "cgroup-namespace" => Self::Cgroup,
            _ => return None,
        })
    }

    /// The name that `/proc/self/ns` and the settings `user.max_*_namespaces` have for it.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mnt",
            Self::Pid => "pid",
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
        }
    }

    /// The name for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mount",
            Self::Pid => "process",
            Self::Net => "network",
            Self::Ipc => "IPC",
            Self::Uts => "host name",
            Self::Cgroup => "control group",
        }
    }

    /// The setting that limits how many of them there may be.
    pub(crate) fn sysctl(self) -> String {
        format!("user.max_{}_namespaces", self.key())
    }

    /// The flag of `clone(2)`.
    pub(crate) fn flag(self) -> u64 {
        u64::from(match self {
            Self::User => nr::CLONE_NEWUSER,
            Self::Mount => nr::CLONE_NEWNS,
            Self::Pid => nr::CLONE_NEWPID,
            Self::Net => nr::CLONE_NEWNET,
            Self::Ipc => nr::CLONE_NEWIPC,
            Self::Uts => nr::CLONE_NEWUTS,
            Self::Cgroup => nr::CLONE_NEWCGROUP,
        })
    }

    /// The option of the kernel's build that brings it.
    pub(crate) const fn config(self) -> &'static str {
        match self {
            Self::User => "CONFIG_USER_NS",
            Self::Mount => "CONFIG_NAMESPACES",
            Self::Pid => "CONFIG_PID_NS",
            Self::Net => "CONFIG_NET_NS",
            Self::Ipc => "CONFIG_IPC_NS",
            Self::Uts => "CONFIG_UTS_NS",
            Self::Cgroup => "CONFIG_CGROUPS",
        }
    }

    /// What a plan does without when it does without this. A root of its own needs user and mount
    /// namespaces; without the host's name and control groups hidden it would show the host.
    pub(crate) const fn without(self) -> Without {
        match self {
            Self::User | Self::Mount | Self::Uts | Self::Cgroup => Without::NAMESPACES,
            Self::Pid => Without { own_proc: true, ..Without::NOTHING },
            Self::Net => Without { net: true, ..Without::NOTHING },
            Self::Ipc => Without { ipc: true, ..Without::NOTHING },
        }
    }
}
