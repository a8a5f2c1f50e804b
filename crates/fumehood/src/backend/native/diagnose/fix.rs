//! Commands and settings that let a cell be built.

use crate::Container;
use crate::support::{Facts, apparmor_profile};

pub(super) const LEAVE_CHROOT: &str = "start it outside the chroot, or make the root with \
     pivot_root instead of chroot, as container engines and systemd's RootDirectory= do";

pub(crate) const MAP_IDS: &str = "map a range of ids in the outer user namespace (unshare \
     --map-auto --map-root-user; 65536 ids in /etc/subuid and /etc/subgid), or start it as an \
     ordinary user";

pub(super) const LEAVE_GVISOR: &str = "run it outside gVisor, or waive what is missing: gVisor's own \
     kernel confines the whole container already";

pub(super) const AUDIT_SELINUX: &str =
    "ausearch -m avc -ts recent | audit2allow -M fumehood && semodule -i fumehood.pp";

/// What an outer container must be started with so that a sandbox can be made in it.
pub(super) fn outer(facts: &Facts) -> String {
    const DOCKER: &str = "docker run --security-opt seccomp=unconfined --security-opt \
         apparmor=unconfined --security-opt systempaths=unconfined …";
    const PODMAN: &str = "podman run --security-opt seccomp=unconfined --security-opt \
         apparmor=unconfined --security-opt unmask=ALL …";
    let start = "start the outer container with";
    match facts.container {
        Some(Container::Docker) => format!("{start}: {DOCKER}"),
        Some(Container::Podman) => format!("{start}: {PODMAN}"),
        Some(Container::Kubernetes) => "in the pod's spec set hostUsers: false, and in its \
             securityContext seccompProfile: {type: Unconfined}, appArmorProfile: {type: \
             Unconfined}, procMount: Unmasked"
            .to_owned(),
        Some(Container::Lxc) => {
            "lxc config set NAME security.nesting true, then restart it".to_owned()
        }
        Some(Container::Nspawn) => {
            "start it with systemd-nspawn --private-users=pick --system-call-filter=@mount"
                .to_owned()
        }
        Some(Container::Flatpak) => "run it outside Flatpak (flatpak-spawn --host)".to_owned(),
        Some(Container::Other) => {
            format!(
                "{start} no seccomp filter, no AppArmor profile and an unmasked /proc, such as: {DOCKER}"
            )
        }
        None => {
            "start it outside of what filters its system calls (systemd: RestrictNamespaces=no \
             and no SystemCallFilter=)"
                .to_owned()
        }
    }
}

/// A profile for this executable, and how to load it.
pub(super) fn install_profile(facts: &Facts) -> String {
    let executable = facts.executable.as_deref().unwrap_or("/usr/bin/fumehood".as_ref());
    let profile = apparmor_profile(executable);
    format!(
        "write /etc/apparmor.d/fumehood as below and run apparmor_parser -r /etc/apparmor.d/fumehood \
         (or, for every program: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0)\n{profile}"
    )
}
