//! Why a step of an init that was cloned is refused.

use super::{
    E2BIG, EACCES, EINVAL, ENODEV, ENOENT, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM, EROFS, blocked, fix,
};
use crate::plan::without::{Blocked, Without};
use crate::support::Facts;
use crate::{Container, Layer};

const OWN_PROC: Without = Without { own_proc: true, ..Without::NOTHING };
const FENCE: Without = Without { fence: true, ..Without::NOTHING };
const FILTER: Without = Without { filter: true, ..Without::NOTHING };
const NET: Without = Without { net: true, ..Without::NOTHING };

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SETPCAP: u32 = 8;

/// Whose filter this process is under, as a sentence starts.
pub(super) fn whose_filter(facts: &Facts) -> &'static str {
    match facts.container {
        Some(Container::Docker) => "Docker's seccomp filter",
        Some(Container::Podman) => "Podman's seccomp filter",
        Some(Container::Kubernetes) => "the seccomp filter of the pod",
        Some(_) => "the seccomp filter of the outer container",
        None => "a seccomp filter that this process was started under",
    }
}

/// Blames the security module that is in force, if one is.
pub(super) fn by_module(without: Without, what: &str, facts: &Facts) -> Option<Blocked> {
    if restricts_userns(facts) {
        let reason = format!(
            "AppArmor denies {what} to programs without a profile that allows them \
             (kernel.apparmor_restrict_unprivileged_userns = 1)"
        );
        return Some(blocked(Layer::Apparmor, without, reason, Some(fix::install_profile(facts))));
    }
    if let Some(profile) = profile(facts) {
        let reason = format!("the AppArmor profile {profile} denies {what}");
        let fix = match facts.container {
            Some(_) => fix::outer(facts),
            None => format!(
                "add to that profile: userns, mount, umount, pivot_root, capability; or aa-complain {profile}"
            ),
        };
        return Some(blocked(Layer::Apparmor, without, reason, Some(fix)));
    }
    if facts.selinux {
        let label = facts.security_label.as_deref().unwrap_or("this process");
        let reason = format!("SELinux denies {what} to {label}");
        let fix = match facts.container {
            Some(_) => "start the outer container with --security-opt label=disable".to_owned(),
            None => fix::AUDIT_SELINUX.to_owned(),
        };
        return Some(blocked(Layer::SecurityModule, without, reason, Some(fix)));
    }
    None
}

/// Ubuntu's restriction spares privileged processes and those with a profile of their own.
fn restricts_userns(facts: &Facts) -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let unconfined = facts
        .security_label
        .as_deref()
        .is_none_or(|label| label == "unconfined" || label.starts_with("unprivileged_userns"));
    facts.is_set("kernel.apparmor_restrict_unprivileged_userns", "1")
        && unconfined
        && !facts.can(CAP_SYS_ADMIN)
}

/// The AppArmor profile that confines this process: `docker-default (enforce)`.
fn profile(facts: &Facts) -> Option<&str> {
    let label = facts.security_label.as_deref().filter(|_| facts.apparmor || !facts.selinux)?;
    let (name, mode) = label.split_once(" (")?;
    (mode == "enforce)").then_some(name)
}

/// The kernel lacks a call, or so it seems.
pub(super) fn too_old(without: Without, call: &str, since: (u32, u32), facts: &Facts) -> Blocked {
    let (major, minor) = since;
    if facts.gvisor {
        let reason = format!("gVisor's kernel has no {call}");
        return blocked(Layer::Kernel, without, reason, Some(fix::LEAVE_GVISOR.to_owned()));
    }
    if facts.version() >= since && facts.seccomp {
        let reason = format!("{} hides {call}", whose_filter(facts));
        return blocked(Layer::OuterSeccomp, without, reason, Some(fix::outer(facts)));
    }
    let reason = format!(
        "the kernel ({}) has no {call}, which came with Linux {major}.{minor}",
        facts.kernel
    );
    blocked(Layer::Kernel, without, reason, Some(format!("boot Linux {major}.{minor} or later")))
}

/// Ids of the new user namespace, or becoming nobody without one.
pub(super) fn ids(errno: i32, facts: &Facts) -> Option<Blocked> {
    let without = Without::NAMESPACES;
    if matches!(errno, ENOENT | EROFS) {
        let state = if errno == EROFS {
            "is mounted read-only"
        } else {
            "is not mounted, or is another namespace's"
        };
        let reason = format!("/proc {state}, so that the ids of a user namespace cannot be set");
        return Some(blocked(
            Layer::MaskedProc,
            without,
            reason,
            Some("mount -t proc proc /proc".to_owned()),
        ));
    }
    if !matches!(errno, EPERM | EACCES | EINVAL) {
        return None;
    }
    if facts.uid == 0 && !facts.user_namespace.maps_nobody {
        let reason = "the user namespace of this process maps no user and group 65534, which root's \
                      programs become";
        return Some(blocked(Layer::IdMap, without, reason, Some(fix::MAP_IDS.to_owned())));
    }
    if facts.uid == 0
        && ![CAP_SETUID, CAP_SETGID, CAP_SETPCAP].into_iter().all(|cap| facts.can(cap))
    {
        let reason =
            "root without the capabilities setuid, setgid and setpcap cannot become nobody";
        let fix = "start it as an ordinary user (docker and podman: --user 1000), or the container \
                   with --cap-add SETUID --cap-add SETGID --cap-add SETPCAP";
        return Some(blocked(Layer::IdMap, without, reason, Some(fix.to_owned())));
    }
    Some(by_module(without, "the id maps of user namespaces", facts).unwrap_or_else(|| {
        let reason = "the kernel does not let the ids of a new user namespace be set";
        blocked(Layer::Unknown, without, reason, None)
    }))
}

/// A fresh /proc. The kernel mounts one only where an unobstructed one is in sight already.
pub(super) fn proc(errno: i32, facts: &Facts) -> Option<Blocked> {
    if errno != EPERM {
        return in_namespaces("proc", errno, facts);
    }
    let (reason, fix) = if let Some(mask) = facts.proc_masks.first() {
        let count = facts.proc_masks.len();
        let reason = format!(
            "something is mounted over {} and {} more paths of /proc, so that the kernel shows no fresh one",
            mask.display(),
            count.saturating_sub(1)
        );
        (reason, unmask(facts))
    } else if !facts.proc_mounted {
        let fix = "mount -t proc proc /proc".to_owned();
        ("no /proc is mounted, so that the kernel shows no fresh one".to_owned(), fix)
    } else {
        let reason = "the /proc in sight is not a whole one, so that the kernel shows no fresh one";
        (reason.to_owned(), unmask(facts))
    };
    Some(blocked(Layer::MaskedProc, OWN_PROC, reason, Some(fix)))
}

fn unmask(facts: &Facts) -> String {
    match facts.container {
        Some(Container::Docker) => "docker run --security-opt systempaths=unconfined …".to_owned(),
        Some(Container::Podman) => "podman run --security-opt unmask=ALL …".to_owned(),
        Some(Container::Kubernetes | Container::Lxc | Container::Nspawn) => fix::outer(facts),
        _ => {
            "umount what /proc/self/mountinfo lists below /proc, or start it before it is mounted \
              there"
                .to_owned()
        }
    }
}

/// A step that needs capabilities in the new namespaces, which it should have.
pub(super) fn in_namespaces(step: &str, errno: i32, facts: &Facts) -> Option<Blocked> {
    let (what, call, since, without) = needs(step)?;
    match errno {
        ENOSYS => Some(too_old(without, call, since, facts)),
        // A path of the host may be closed to the sandbox's user.
        EACCES if step.starts_with("bind") => None,
        EPERM | EACCES => Some(denied(without, what, errno, facts)),
        ENODEV => {
            let reason = format!("the kernel lacks a file system that {what} needs");
            Some(blocked(Layer::Kernel, without, reason, None))
        }
        ENOSPC if call != "ioctl" => Some(too_many_mounts(without, facts)),
        EINVAL if step == "pivot" => {
            let reason = "this process stands on the initial ramfs, which cannot be pivoted away";
            let fix = "switch_root to a root file system first".to_owned();
            Some(blocked(Layer::Kernel, without, reason, Some(fix)))
        }
        EINVAL if step == "private-mounts" => {
            let reason = "the root of this process is no mount point: it is in a chroot";
            Some(blocked(Layer::Chroot, without, reason, Some(fix::LEAVE_CHROOT.to_owned())))
        }
        _ => None,
    }
}

/// What a step does, the newest call it makes and since when that exists. None for steps whose
/// failure is a matter of the job's paths.
fn needs(step: &str) -> Option<(&'static str, &'static str, (u32, u32), Without)> {
    let all = Without::NAMESPACES;
    Some(match step {
        "hostname" => ("setting a host name", "sethostname", (2, 6), all),
        "loopback" => ("bringing up a loopback interface", "ioctl", (2, 6), NET),
        "private-mounts" => ("mounting", "mount", (2, 6), all),
        "new-root" | "tmpfs" | "devpts" | "proc" => ("mounting", "fsopen", (5, 2), all),
        "bind" | "bind-fd" | "mask" | "show-proc" | "read-only" | "seal-root" => {
            ("mounting", "mount_setattr", (5, 12), all)
        }
        "mkdir" | "file" | "symlink" | "touch" => ("filling a new root", "openat2", (5, 6), all),
        "pivot" => ("changing the root", "pivot_root", (2, 6), all),
        "drop-capabilities" => ("giving up capabilities", "capset", (2, 6), all),
        _ => return None,
    })
}

/// Filters answer `EPERM`; AppArmor answers `EACCES` to mounts and `EPERM` to capabilities.
fn denied(without: Without, what: &str, errno: i32, facts: &Facts) -> Blocked {
    let filter = || {
        let reason = format!("{} denies {what} in a namespace of one's own", whose_filter(facts));
        blocked(Layer::OuterSeccomp, without, reason, Some(fix::outer(facts)))
    };
    if errno == EPERM && facts.seccomp && !restricts_userns(facts) {
        return filter();
    }
    by_module(without, &format!("{what} in a namespace of one's own"), facts).unwrap_or_else(|| {
        let reason = format!(
            "the kernel denies {what} in a namespace of one's own and no known layer shows why"
        );
        blocked(Layer::Unknown, without, reason, None)
    })
}

fn too_many_mounts(without: Without, facts: &Facts) -> Blocked {
    let limit = facts.sysctls.get("fs.mount-max").map_or("", String::as_str);
    let reason = format!(
        "a mount namespace may hold {limit} mounts (fs.mount-max), and the host's alone fill it"
    );
    blocked(Layer::Sysctl, without, reason, Some("sysctl -w fs.mount-max=100000".to_owned()))
}

/// A Landlock ruleset on a kernel that said it knows Landlock.
pub(super) fn fence(errno: i32, facts: &Facts) -> Option<Blocked> {
    match errno {
        E2BIG => {
            let reason =
                "this process is inside sixteen Landlock layers already, the most there can be";
            let fix = "start it outside of other Landlock sandboxes".to_owned();
            Some(blocked(Layer::Kernel, FENCE, reason, Some(fix)))
        }
        EPERM | EACCES | ENOSYS | EOPNOTSUPP if facts.seccomp => {
            let reason = format!("{} denies Landlock", whose_filter(facts));
            Some(blocked(Layer::OuterSeccomp, FENCE, reason, Some(fix::outer(facts))))
        }
        ENOSYS | EOPNOTSUPP => Some(no_landlock(facts)),
        _ => None,
    }
}

pub(super) fn no_landlock(facts: &Facts) -> Blocked {
    let modules = facts.lsm.as_ref().map(|list| list.join(","));
    let (layer, reason, fix) = match facts.landlock_errno {
        Some(EOPNOTSUPP) => (
            Layer::Kernel,
            "Landlock is built into the kernel but not among its active security modules".to_owned(),
            format!("add landlock to lsm= on the kernel's command line: lsm=landlock,{}", modules.as_deref().unwrap_or("…")),
        ),
        _ if facts.gvisor => (Layer::Kernel, "gVisor's kernel has no Landlock".to_owned(), fix::LEAVE_GVISOR.to_owned()),
        _ if facts.seccomp && facts.version() >= (5, 13) => {
            (Layer::OuterSeccomp, format!("{} hides Landlock, or the kernel was built without it", whose_filter(facts)), fix::outer(facts))
        }
        _ if facts.version() < (5, 13) => (
            Layer::Kernel,
            format!("the kernel ({}) has no Landlock, which came with Linux 5.13", facts.kernel),
            "boot Linux 5.13 or later".to_owned(),
        ),
        _ => (
            Layer::Kernel,
            "the kernel was built without Landlock (CONFIG_SECURITY_LANDLOCK)".to_owned(),
            "boot a kernel that was built with CONFIG_SECURITY_LANDLOCK=y and landlock in its lsm= list".to_owned(),
        ),
    };
    blocked(layer, FENCE, reason, Some(fix))
}

pub(super) fn filter(errno: i32, facts: &Facts) -> Option<Blocked> {
    let (layer, reason, fix) = match errno {
        EPERM | EACCES | ENOSYS if facts.seccomp => (
            Layer::OuterSeccomp,
            format!("{} denies further filters", whose_filter(facts)),
            fix::outer(facts),
        ),
        EINVAL | ENOSYS => (
            Layer::Kernel,
            "the kernel installs no filter of system calls (CONFIG_SECCOMP_FILTER)".to_owned(),
            "boot a kernel that was built with CONFIG_SECCOMP_FILTER=y".to_owned(),
        ),
        _ => return None,
    };
    Some(blocked(layer, FILTER, reason, Some(fix)))
}

/// Descriptors that stay open would leak into the program: nothing can be done without.
pub(super) fn close_fds(errno: i32, facts: &Facts) -> Option<Blocked> {
    (errno == ENOSYS).then(|| too_old(Without::NOTHING, "close_range", (5, 9), facts))
}
