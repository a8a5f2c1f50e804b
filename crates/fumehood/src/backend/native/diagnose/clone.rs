//! Why the init of a cell cannot be cloned with its namespaces.

use super::{
    EACCES, EINVAL, ENOSPC, ENOSYS, EPERM, EUSERS, Namespace, Refusal, blocked, fix, steps,
};
use crate::Layer;
use crate::plan::without::Blocked;
use crate::support::Facts;

const CAP_SYS_ADMIN: u32 = 21;

pub(super) fn refused(refusal: &Refusal<'_>, facts: &Facts) -> Option<Blocked> {
    let kind = refusal.kind.unwrap_or(Namespace::User);
    match refusal.errno {
        ENOSPC | EUSERS => Some(used_up(refusal.kind, facts)),
        EPERM => Some(forbidden(kind, facts)),
        EACCES => Some(security_module(kind, facts)),
        EINVAL => Some(unknown_kind(kind, facts)),
        ENOSYS => Some(unknown_call(kind, facts)),
        _ => None,
    }
}

/// `ENOSPC` has the same meaning for every kind: the setting of it, in this or an outer user
/// namespace.
fn used_up(kind: Option<Namespace>, facts: &Facts) -> Blocked {
    let zero = || Namespace::ALL.into_iter().find(|kind| facts.is_set(&kind.sysctl(), "0"));
    let kind = kind.or_else(zero).unwrap_or(Namespace::User);
    let (sysctl, name) = (kind.sysctl(), kind.name());
    let limit = facts.sysctls.get(&sysctl).and_then(|value| value.parse::<u64>().ok());
    let reason = match limit {
        Some(0) => format!("{sysctl} = 0 allows no new {name} namespace"),
        Some(limit) => format!(
            "every {name} namespace is in use that {sysctl} = {limit}, or the limit of an outer user \
             namespace, allows"
        ),
        None => format!("the limit of {name} namespaces is reached ({sysctl})"),
    };
    let enough = limit.filter(|limit| *limit > 0).map_or(15_000, |limit| limit.saturating_mul(2));
    let enough = enough.min(i32::MAX.unsigned_abs().into());
    let place = if facts.container.is_some() { " (on the host of the container)" } else { "" };
    let fix = format!("sysctl -w {sysctl}={enough}{place}");
    blocked(Layer::Sysctl, kind.without(), reason, Some(fix))
}

fn forbidden(kind: Namespace, facts: &Facts) -> Blocked {
    let without = kind.without();
    if facts.is_set("kernel.unprivileged_userns_clone", "0") && !facts.can(CAP_SYS_ADMIN) {
        let reason = "user namespaces are closed to ordinary users \
                      (kernel.unprivileged_userns_clone = 0)";
        let fix = "sysctl -w kernel.unprivileged_userns_clone=1";
        return blocked(Layer::Sysctl, without, reason, Some(fix.to_owned()));
    }
    if facts.chroot {
        let reason = "this process is in a chroot, where the kernel makes no user namespace";
        return blocked(Layer::Chroot, without, reason, Some(fix::LEAVE_CHROOT.to_owned()));
    }
    if !facts.proc_mounted {
        let reason = "the kernel denies new user namespaces, and nothing shows why without /proc; \
                      a chroot is where both are usual";
        return blocked(Layer::Chroot, without, reason, Some(fix::LEAVE_CHROOT.to_owned()));
    }
    if facts.user_namespace.uid_outside.is_none() {
        let reason =
            format!("user id {} has no place in the id map of this user namespace", facts.uid);
        return blocked(Layer::IdMap, without, reason, Some(fix::MAP_IDS.to_owned()));
    }
    if facts.seccomp {
        let reason =
            format!("{} forbids new {} namespaces", steps::whose_filter(facts), kind.name());
        return blocked(Layer::OuterSeccomp, without, reason, Some(fix::outer(facts)));
    }
    if kind == Namespace::User && !facts.apparmor && !facts.selinux {
        let reason = "the kernel denies new user namespaces; no layer shows that would, and what \
                      does not show is a chroot into a mount point";
        return blocked(Layer::Chroot, without, reason, Some(fix::LEAVE_CHROOT.to_owned()));
    }
    security_module(kind, facts)
}

/// Security modules mediate new user namespaces since Linux 6.1, and answer `EACCES`; a few kernels
/// of distributions answer `EPERM`.
fn security_module(kind: Namespace, facts: &Facts) -> Blocked {
    let what = format!("new {} namespaces", kind.name());
    steps::by_module(kind.without(), &what, facts).unwrap_or_else(|| {
        let reason = format!("the kernel denies {what} and no known layer shows why");
        blocked(Layer::Unknown, kind.without(), reason, None)
    })
}

fn unknown_kind(kind: Namespace, facts: &Facts) -> Blocked {
    let missing = Namespace::ALL.into_iter().find(|kind| !has(facts, *kind));
    let kind = missing.unwrap_or(kind);
    let (reason, fix) = if facts.gvisor {
        (
            format!("gVisor's kernel makes no {} namespace", kind.name()),
            fix::LEAVE_GVISOR.to_owned(),
        )
    } else {
        let reason = format!("the kernel has no {} namespaces ({})", kind.name(), kind.config());
        (reason, format!("boot a kernel that was built with {}=y", kind.config()))
    };
    blocked(Layer::Kernel, kind.without(), reason, Some(fix))
}

fn has(facts: &Facts, kind: Namespace) -> bool {
    facts.namespaces.iter().any(|name| name == kind.key())
}

/// `clone(2)` itself exists everywhere, so only a filter can deny it so; with a control group to be
/// born in there is no way around `clone3(2)`.
fn unknown_call(kind: Namespace, facts: &Facts) -> Blocked {
    if facts.seccomp {
        let reason = format!("{} hides clone and clone3", steps::whose_filter(facts));
        return blocked(Layer::OuterSeccomp, kind.without(), reason, Some(fix::outer(facts)));
    }
    steps::too_old(kind.without(), "clone3", (5, 3), facts)
}
