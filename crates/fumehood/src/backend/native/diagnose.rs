//! From a refused step to the layer that refused it and what would fix that.

use std::fs;

use fumehood_child::Errno;
use fumehood_child::launch::LaunchStep;

use crate::Layer;
use crate::plan::Without;

/// A layer of the host that keeps cells from being built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    /// What a plan would have to do without.
    pub(crate) without: Without,
    pub(crate) layer: Layer,
    pub(crate) reason: String,
    pub(crate) fix: Option<String>,
}

/// Why an init could not be cloned, if that is the host's doing.
pub(crate) fn launch(step: LaunchStep, errno: Errno) -> Option<Blocked> {
    let (layer, reason, fix) = match (step, errno.0) {
        (LaunchStep::Clone, ENOSPC | EUSERS) => (
            Layer::Sysctl,
            format!("user namespaces are used up or disabled (user.max_user_namespaces = {})", sysctl("user/max_user_namespaces")),
            Some("sysctl -w user.max_user_namespaces=15000"),
        ),
        (LaunchStep::Clone, EPERM) if sysctl("kernel/unprivileged_userns_clone") == "0" => (
            Layer::Sysctl,
            "user namespaces are closed to ordinary users (kernel.unprivileged_userns_clone = 0)"
                .to_owned(),
            Some("sysctl -w kernel.unprivileged_userns_clone=1"),
        ),
        (LaunchStep::Clone, EPERM) if under_filter() => (
            Layer::OuterSeccomp,
            "the seccomp filter of an outer container forbids new user namespaces".to_owned(),
            Some("start the outer container with --security-opt seccomp=unconfined --security-opt unmask=ALL"),
        ),
        (LaunchStep::Clone, EPERM) => {
            (Layer::Unknown, "the kernel denies new user namespaces".to_owned(), None)
        }
        (LaunchStep::Clone, EINVAL | ENOSYS) => {
            (Layer::Kernel, "the kernel lacks a namespace or clone3".to_owned(), None)
        }
        (LaunchStep::Setgroups | LaunchStep::UidMap | LaunchStep::GidMap, EPERM | EACCES) => (
            Layer::Apparmor,
            "the ids of a new user namespace cannot be set".to_owned(),
            Some("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        ),
        _ => return None,
    };
    let without = Without { namespaces: true, own_proc: true };
    Some(Blocked { without, layer, reason, fix: fix.map(str::to_owned) })
}

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;
const ENOSYS: i32 = 38;
const EUSERS: i32 = 87;

/// Why a step of the cell failed, if that is the host's doing.
pub(crate) fn cell(step: &str, errno: Errno) -> Option<Blocked> {
    let (layer, reason, fix, namespaces) = match (step, errno.0) {
        ("proc", EPERM) => (
            Layer::MaskedProc,
            "an outer container masks /proc, so that a fresh one cannot be mounted",
            "start the outer container with --security-opt unmask=ALL (Kubernetes: procMount: Unmasked)",
            false,
        ),
        ("private-mounts" | "loopback" | "hostname" | "new-root", EPERM | EACCES) => (
            Layer::Apparmor,
            "a security module takes the capabilities away in a new user namespace",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            true,
        ),
        _ => return None,
    };
    let without = Without { namespaces, own_proc: true };
    Some(Blocked { without, layer, reason: reason.to_owned(), fix: Some(fix.to_owned()) })
}

fn sysctl(name: &str) -> String {
    let value = fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    value.trim().to_owned()
}

/// Whether this process itself is under a seccomp filter.
fn under_filter() -> bool {
    fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line == "Seccomp:\t2"))
}
