//! What to do where control groups cannot be used: exact commands and lines, for the doctor to
//! print.

use std::path::Path;

/// What is known about the machine and this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// systemd manages the machine: sd_booted(3).
    pub(super) has_systemd: bool,
    pub(super) is_root: bool,
}

impl Surroundings {
    pub(super) fn look() -> Self {
        Self {
            has_systemd: Path::new("/run/systemd/system").is_dir(),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// How to get a group that is ours to divide.
    pub(super) fn delegation(self) -> String {
        let scope = match (self.has_systemd, self.is_root) {
            (true, false) => USER_SCOPE,
            (true, true) => SYSTEM_SCOPE,
            (false, true) => return OWN_GROUP.to_owned(),
            (false, false) => return CHOWN.to_owned(),
        };
        format!("{scope}\nor, with systemd 254 or later, in the service's unit file:\n{UNIT}")
    }

    /// How to get a group that no other process is in.
    pub(super) fn solitude(self) -> String {
        if self.has_systemd { self.delegation() } else { OWN_GROUP.to_owned() }
    }

    /// How to get controllers that are not handed down to us.
    pub(super) fn controllers(self) -> String {
        if self.has_systemd {
            format!("systemctl edit user@.service\n{DELEGATE_CONTROLLERS}")
        } else {
            "enable the controllers in cgroup.subtree_control of every group above".to_owned()
        }
    }
}

const USER_SCOPE: &str = "systemd-run --user --scope -p Delegate=yes fumehood …";
const SYSTEM_SCOPE: &str = "systemd-run --scope -p Delegate=yes fumehood …";
const UNIT: &str = "[Service]\nDelegate=yes\nDelegateSubgroup=fumehood-supervisor";
const DELEGATE_CONTROLLERS: &str = "[Service]\nDelegate=cpu memory pids";
const OWN_GROUP: &str = "mkdir /sys/fs/cgroup/fumehood && \
     sh -c 'echo $$ > /sys/fs/cgroup/fumehood/cgroup.procs && exec fumehood …'";
const CHOWN: &str = "as root: mkdir -p /sys/fs/cgroup/fumehood/fumehood-supervisor && \
     cd /sys/fs/cgroup/fumehood && \
     chown USER . cgroup.procs cgroup.subtree_control fumehood-supervisor \
     fumehood-supervisor/cgroup.procs && echo PID > fumehood-supervisor/cgroup.procs";

/// How to get a control group file system that can be written to inside a container.
pub(super) const CONTAINER: &str = "Docker 28 and later: --security-opt writable-cgroups=true; \
     Podman: --security-opt unmask=/sys/fs/cgroup";

/// Version 1 has no safe way of handing a subtree to a user.
pub(super) const UNIFIED: &str =
    "run as root, or boot with systemd.unified_cgroup_hierarchy=1 on the kernel command line";

/// A kernel without the memory controller.
pub(super) const MEMORY_CONTROLLER: &str =
    "boot with cgroup_enable=memory on the kernel command line";

/// Swap that no limit counts.
pub(super) const SWAP: &str = "swapoff -a, or boot with swapaccount=1 on the kernel command line";

#[cfg(test)]
mod tests {
    use super::Surroundings;

    #[test]
    fn advice_fits_who_asks() {
        let advise = |has_systemd, is_root| Surroundings { has_systemd, is_root }.delegation();
        assert!(advise(true, false).starts_with("systemd-run --user --scope -p Delegate=yes"));
        assert!(advise(true, true).starts_with("systemd-run --scope -p Delegate=yes"));
        assert!(advise(true, true).contains("\nDelegateSubgroup=fumehood-supervisor"));
        assert!(!advise(false, true).contains("systemd"));
        assert!(advise(false, false).contains("chown"));
    }
}
