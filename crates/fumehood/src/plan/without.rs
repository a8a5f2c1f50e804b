//! What a plan does without, because the host was seen to refuse it.

use crate::{Guarantee, Layer, Missing};

/// What a plan leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Without {
    /// All namespaces.
    pub(crate) namespaces: bool,
    /// The process namespace, or a fresh /proc, which only make sense together.
    pub(crate) own_proc: bool,
    /// The network namespace.
    pub(crate) net: bool,
    /// The IPC namespace.
    pub(crate) ipc: bool,
    /// The Landlock fence.
    pub(crate) fence: bool,
    /// The filter of system calls.
    pub(crate) filter: bool,
}

impl Without {
    /// Nothing is left out.
    pub(crate) const NOTHING: Self = Self {
        namespaces: false,
        own_proc: false,
        net: false,
        ipc: false,
        fence: false,
        filter: false,
    };

    /// Everything that needs a user namespace.
    pub(crate) const NAMESPACES: Self =
        Self { namespaces: true, own_proc: true, net: true, ipc: true, ..Self::NOTHING };

    /// Both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            namespaces: self.namespaces || other.namespaces,
            own_proc: self.own_proc || other.own_proc,
            net: self.net || other.net,
            ipc: self.ipc || other.ipc,
            fence: self.fence || other.fence,
            filter: self.filter || other.filter,
        }
    }

    /// Whether leaving this out is what a guarantee breaks by.
    pub(crate) const fn costs(self, guarantee: Guarantee) -> bool {
        match guarantee {
            Guarantee::Filesystem | Guarantee::ReadOnlyRoot | Guarantee::Disk => self.namespaces,
            Guarantee::Processes => self.own_proc,
            Guarantee::Network => self.net,
            Guarantee::Ipc => self.ipc,
            Guarantee::Landlock => self.fence,
            Guarantee::SyscallFilter => self.filter,
            _ => false,
        }
    }
}

/// A layer of the host that keeps something from being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    /// What a plan would have to do without; nothing where no plan would do.
    pub(crate) without: Without,
    pub(crate) layer: Layer,
    /// One sentence without a full stop.
    pub(crate) reason: String,
    /// A command or setting.
    pub(crate) fix: Option<String>,
}

impl Blocked {
    /// The refusal of a guarantee that breaks by this.
    pub(crate) fn missing(&self, guarantee: Guarantee) -> Missing {
        Missing { guarantee, layer: self.layer, reason: self.reason.clone(), fix: self.fix.clone() }
    }
}

/// What all of them leave out together.
pub(crate) fn together(blocked: &[Blocked]) -> Without {
    blocked.iter().fold(Without::NOTHING, |without, blocked| without.and(blocked.without))
}

/// The first of them that a guarantee breaks by.
pub(crate) fn cause(blocked: &[Blocked], guarantee: Guarantee) -> Option<&Blocked> {
    blocked.iter().find(|blocked| blocked.without.costs(guarantee))
}
