//! Every row of the diagnosis: a refused step on a host, and what is said about it.

use super::*;
use crate::Container;
use crate::support::UserNamespace;
use std::collections::BTreeMap;

const ALL_CAPABILITIES: u64 = (1 << 41) - 1;
/// What Docker and Podman leave to root.
const CONTAINER_CAPABILITIES: u64 = 0xa804_25fb;

/// An ordinary user on Debian 12.
fn user() -> Facts {
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    Facts {
        kernel: "6.1.0-18-amd64".to_owned(),
        uid: 1000,
        gid: 1000,
        user_namespace: UserNamespace {
            initial: true,
            uid_outside: Some(1000),
            nobody_outside: Some(65534),
            maps_nobody: true,
        },
        apparmor: true,
        security_label: Some("unconfined".to_owned()),
        landlock_abi: 2,
        namespaces: names.map(str::to_owned).into(),
        sysctls: names
            .iter()
            .map(|kind| (format!("user.max_{kind}_namespaces"), "63000".into()))
            .collect(),
        proc_mounted: true,
        executable: Some("/usr/bin/fumehood".into()),
        ..Facts::default()
    }
}

fn set(mut facts: Facts, sysctl: &str, value: &str) -> Facts {
    facts.sysctls.insert(sysctl.to_owned(), value.to_owned());
    facts
}

/// Ubuntu 24.04.
fn ubuntu() -> Facts {
    let facts = Facts { kernel: "6.8.0-31-generic".into(), ..user() };
    set(facts, "kernel.apparmor_restrict_unprivileged_userns", "1")
}

fn root() -> Facts {
    Facts {
        uid: 0,
        gid: 0,
        capabilities: ALL_CAPABILITIES,
        user_namespace: UserNamespace { uid_outside: Some(0), ..user().user_namespace },
        ..user()
    }
}

fn inside(container: Container) -> Facts {
    Facts {
        container: Some(container),
        capabilities: CONTAINER_CAPABILITIES,
        seccomp: true,
        security_label: None,
        apparmor: false,
        proc_masks: vec!["/proc/acpi".into(), "/proc/kcore".into()],
        ..root()
    }
}

/// Docker on Ubuntu, with its AppArmor profile.
fn docker() -> Facts {
    let label = Some("docker-default (enforce)".to_owned());
    Facts { apparmor: true, security_label: label, ..inside(Container::Docker) }
}

fn fedora() -> Facts {
    Facts {
        apparmor: false,
        selinux: true,
        security_label: Some("user_u:user_r:user_t:s0".to_owned()),
        ..user()
    }
}

fn old(kernel: &str) -> Facts {
    Facts { kernel: kernel.to_owned(), ..user() }
}

fn gvisor() -> Facts {
    Facts { gvisor: true, kernel: "4.4.0".into(), namespaces: vec!["user".into()], ..user() }
}

struct Row {
    what: &'static str,
    facts: Facts,
    step: &'static str,
    errno: i32,
    kind: Option<Namespace>,
    layer: Layer,
    without: Without,
    reason: &'static str,
    fix: &'static str,
}

/// A row: what it is, the host, step and errno, then layer, what is lost, and words of the reason
/// and of the fix.
macro_rules! rows {
    ($($what:literal: $facts:expr, $step:literal $errno:ident $(alone $kind:ident)?
        => $layer:ident $without:expr, $reason:literal, $fix:literal;)*) => {
        vec![$(Row {
            what: $what,
            facts: $facts,
            step: $step,
            errno: $errno,
            kind: rows!(@kind $($kind)?),
            layer: Layer::$layer,
            without: $without,
            reason: $reason,
            fix: $fix,
        }),*]
    };
    (@kind) => { None };
    (@kind $kind:ident) => { Some(Namespace::$kind) };
}

const ALL: Without = Without::NAMESPACES;
const PROC: Without = Without { own_proc: true, ..Without::NOTHING };
const NET: Without = Without { net: true, ..Without::NOTHING };
const IPC: Without = Without { ipc: true, ..Without::NOTHING };
const FENCE: Without = Without { fence: true, ..Without::NOTHING };
const FILTER: Without = Without { filter: true, ..Without::NOTHING };

fn limits() -> Vec<Row> {
    rows! {
        "no user namespaces": set(user(), "user.max_user_namespaces", "0"), "clone" ENOSPC alone User
            => Sysctl ALL, "user.max_user_namespaces = 0 allows no", "sysctl -w user.max_user_namespaces=15000";
        "the setting tells which, untried": set(user(), "user.max_net_namespaces", "0"), "clone" ENOSPC
            => Sysctl NET, "user.max_net_namespaces = 0", "sysctl -w user.max_net_namespaces=15000";
        "no mount namespaces": set(user(), "user.max_mnt_namespaces", "0"), "mount-namespace" ENOSPC
            => Sysctl ALL, "no new mount namespace", "sysctl -w user.max_mnt_namespaces=15000";
        "no process namespaces": set(user(), "user.max_pid_namespaces", "0"), "clone" ENOSPC alone Pid
            => Sysctl PROC, "no new process namespace", "sysctl -w user.max_pid_namespaces=15000";
        "no IPC namespaces": set(user(), "user.max_ipc_namespaces", "0"), "ipc-namespace" ENOSPC
            => Sysctl IPC, "no new IPC namespace", "sysctl -w user.max_ipc_namespaces=15000";
        "no UTS namespaces": set(user(), "user.max_uts_namespaces", "0"), "uts-namespace" ENOSPC
            => Sysctl ALL, "user.max_uts_namespaces = 0", "sysctl -w user.max_uts_namespaces=15000";
        "no cgroup namespaces": set(user(), "user.max_cgroup_namespaces", "0"), "cgroup-namespace" ENOSPC
            => Sysctl ALL, "user.max_cgroup_namespaces = 0", "sysctl -w user.max_cgroup_namespaces=15000";
        "used up": user(), "network-namespace" ENOSPC
            => Sysctl NET, "every network namespace is in use that user.max_net_namespaces = 63000", "sysctl -w user.max_net_namespaces=126000";
        "used up before Linux 4.9": user(), "clone" EUSERS alone User
            => Sysctl ALL, "every user namespace is in use", "user.max_user_namespaces=126000";
        "in a container": set(docker(), "user.max_user_namespaces", "0"), "clone" ENOSPC alone User
            => Sysctl ALL, "user.max_user_namespaces = 0", "on the host of the container";
        "Debian's switch": set(user(), "kernel.unprivileged_userns_clone", "0"), "clone" EPERM alone User
            => Sysctl ALL, "kernel.unprivileged_userns_clone = 0", "sysctl -w kernel.unprivileged_userns_clone=1";
        "the mount table is full": set(user(), "fs.mount-max", "40"), "bind" ENOSPC
            => Sysctl ALL, "may hold 40 mounts", "sysctl -w fs.mount-max=100000";
    }
}

fn callers() -> Vec<Row> {
    let unmapped = UserNamespace::default();
    let single = UserNamespace { uid_outside: Some(0), ..unmapped };
    rows! {
        "a chroot": Facts { chroot: true, ..root() }, "clone" EPERM alone User
            => Chroot ALL, "in a chroot", "pivot_root instead of chroot";
        "a chroot into a mount point": Facts { apparmor: false, security_label: None, ..root() }, "clone" EPERM alone User
            => Chroot ALL, "a chroot into a mount point", "outside the chroot";
        "a chroot without /proc": Facts { proc_mounted: false, user_namespace: unmapped, ..root() }, "clone" EPERM alone User
            => Chroot ALL, "without /proc", "outside the chroot";
        "a chroot, seen late": user(), "private-mounts" EINVAL
            => Chroot ALL, "no mount point", "outside the chroot";
        "an id without a place": Facts { user_namespace: unmapped, uid: 65534, ..user() }, "clone" EPERM alone User
            => IdMap ALL, "user id 65534 has no place", "--map-auto";
        "root without a nobody": Facts { user_namespace: single, ..root() }, "uid-map" EPERM
            => IdMap ALL, "maps no user and group 65534", "--map-auto";
        "root without capabilities": Facts { capabilities: 0, ..inside(Container::Podman) }, "uid-map" EPERM
            => IdMap ALL, "without the capabilities setuid, setgid and setpcap", "--user 1000";
        "root that cannot become nobody": Facts { capabilities: 0, ..inside(Container::Docker) }, "bounding-set" EPERM
            => IdMap ALL, "cannot become nobody", "--cap-add SETPCAP";
        "the initial ramfs": root(), "pivot" EINVAL
            => Kernel ALL, "initial ramfs", "switch_root";
        "no /proc": Facts { proc_mounted: false, ..user() }, "uid-map" ENOENT
            => MaskedProc ALL, "/proc is not mounted", "mount -t proc proc /proc";
        "a read-only /proc": Facts { proc_read_only: true, ..user() }, "uid-map" EROFS
            => MaskedProc ALL, "/proc is mounted read-only", "mount -t proc";
    }
}

fn modules() -> Vec<Row> {
    let stripped =
        Facts { security_label: Some("unprivileged_userns (enforce)".into()), ..ubuntu() };
    let container_t = Facts { container: Some(Container::Podman), ..fedora() };
    rows! {
        "Ubuntu refuses the clone": ubuntu(), "clone" EACCES alone User
            => Apparmor ALL, "kernel.apparmor_restrict_unprivileged_userns = 1", "apparmor_parser -r /etc/apparmor.d/fumehood";
        "Ubuntu refuses the clone, older": ubuntu(), "clone" EPERM alone User
            => Apparmor ALL, "AppArmor denies new user namespaces", "profile fumehood \"/usr/bin/fumehood\" flags=(unconfined) {\n  userns,";
        "Ubuntu strips capabilities: ids": ubuntu(), "uid-map" EACCES
            => Apparmor ALL, "AppArmor denies the id maps", "kernel.apparmor_restrict_unprivileged_userns=0";
        "Ubuntu strips capabilities: host name": ubuntu(), "hostname" EPERM
            => Apparmor ALL, "AppArmor denies setting a host name", "/etc/apparmor.d/fumehood";
        "Ubuntu strips capabilities: loopback": ubuntu(), "loopback" EPERM
            => Apparmor NET, "bringing up a loopback interface", "apparmor_parser";
        "Ubuntu strips capabilities: mounts": ubuntu(), "private-mounts" EACCES
            => Apparmor ALL, "AppArmor denies mounting", "apparmor_parser";
        "Ubuntu, under its stripping profile": stripped, "new-root" EPERM
            => Apparmor ALL, "AppArmor denies mounting", "apparmor_parser";
        "docker-default denies mounts": Facts { seccomp: false, ..docker() }, "private-mounts" EACCES
            => Apparmor ALL, "the AppArmor profile docker-default denies mounting", "apparmor=unconfined";
        "docker-default under a filter, too": docker(), "private-mounts" EACCES
            => Apparmor ALL, "docker-default", "apparmor=unconfined";
        "a profile of the administrator's": Facts { security_label: Some("snap.ide (enforce)".into()), ..user() }, "clone" EACCES alone User
            => Apparmor ALL, "the AppArmor profile snap.ide denies new user namespaces", "aa-complain snap.ide";
        "SELinux": fedora(), "clone" EACCES alone User
            => SecurityModule ALL, "SELinux denies new user namespaces to user_u:user_r:user_t:s0", "audit2allow";
        "SELinux denies mounts": fedora(), "new-root" EACCES
            => SecurityModule ALL, "SELinux denies mounting", "semodule";
        "SELinux in a container": container_t, "new-root" EACCES
            => SecurityModule ALL, "SELinux denies mounting", "label=disable";
        "nothing shows why": user(), "clone" EPERM alone Net
            => Unknown NET, "no known layer shows why", "";
    }
}

fn containers() -> Vec<Row> {
    let other = Facts { container: None, ..inside(Container::Other) };
    rows! {
        "Docker's filter": docker(), "clone" EPERM alone User
            => OuterSeccomp ALL, "Docker's seccomp filter forbids new user", "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined";
        "Docker's filter as an old library makes it": docker(), "clone" ENOSYS alone User
            => OuterSeccomp ALL, "hides clone", "seccomp=unconfined";
        "Podman's filter denies sethostname": inside(Container::Podman), "hostname" EPERM
            => OuterSeccomp ALL, "Podman's seccomp filter denies setting a host name", "--security-opt unmask=ALL";
        "a pod's filter": inside(Container::Kubernetes), "clone" EPERM alone User
            => OuterSeccomp ALL, "the seccomp filter of the pod", "procMount: Unmasked";
        "a filter without a container": other, "clone" EPERM alone User
            => OuterSeccomp ALL, "a seccomp filter that this process was started under", "RestrictNamespaces=no";
        "mounts are filtered": docker(), "new-root" EPERM
            => OuterSeccomp ALL, "denies mounting", "seccomp=unconfined";
        "an old filter hides mount_setattr": docker(), "bind" ENOSYS
            => OuterSeccomp ALL, "hides mount_setattr", "seccomp=unconfined";
        "Docker masks /proc": docker(), "proc" EPERM
            => MaskedProc PROC, "mounted over /proc/acpi and 1 more", "systempaths=unconfined";
        "Podman masks /proc": inside(Container::Podman), "proc" EPERM
            => MaskedProc PROC, "mounted over /proc/acpi", "unmask=ALL";
        "Kubernetes masks /proc": inside(Container::Kubernetes), "proc" EPERM
            => MaskedProc PROC, "mounted over /proc/acpi", "hostUsers: false";
        "LXC without nesting": inside(Container::Lxc), "proc" EPERM
            => MaskedProc PROC, "mounted over", "security.nesting true";
        "something else is over /proc": Facts { proc_masks: vec!["/proc/sys".into()], ..user() }, "proc" EPERM
            => MaskedProc PROC, "/proc/sys and 0 more", "umount";
        "no /proc in sight": Facts { proc_mounted: false, ..user() }, "proc" EPERM
            => MaskedProc PROC, "no /proc is mounted", "mount -t proc";
        "a partial /proc in sight": user(), "proc" EPERM
            => MaskedProc PROC, "not a whole one", "umount";
        "a filter denies filters": docker(), "seccomp" EPERM
            => OuterSeccomp FILTER, "denies further filters", "seccomp=unconfined";
        "a filter denies Landlock": docker(), "landlock-ruleset" EPERM
            => OuterSeccomp FENCE, "denies Landlock", "seccomp=unconfined";
    }
}

fn kernels() -> Vec<Row> {
    let without = |kind: &str| {
        let mut facts = user();
        facts.namespaces.retain(|name| name != kind);
        facts
    };
    rows! {
        "built without user namespaces": without("user"), "clone" EINVAL alone User
            => Kernel ALL, "no user namespaces (CONFIG_USER_NS)", "CONFIG_USER_NS=y";
        "built without IPC namespaces": without("ipc"), "clone" EINVAL alone Ipc
            => Kernel IPC, "CONFIG_IPC_NS", "CONFIG_IPC_NS=y";
        "too old for clone3": old("4.19.0"), "clone" ENOSYS alone User
            => Kernel ALL, "no clone3, which came with Linux 5.3", "boot Linux 5.3";
        "too old for fsopen": old("4.19.0"), "new-root" ENOSYS
            => Kernel ALL, "no fsopen, which came with Linux 5.2", "boot Linux 5.2";
        "too old for openat2": old("5.4.0-42-generic"), "file" ENOSYS
            => Kernel ALL, "no openat2, which came with Linux 5.6", "boot Linux 5.6";
        "too old for mount_setattr": old("5.10.0-28-amd64"), "bind" ENOSYS
            => Kernel ALL, "no mount_setattr, which came with Linux 5.12", "boot Linux 5.12";
        "the same for all mounts at once": old("5.10.0-28-amd64"), "read-only" ENOSYS
            => Kernel ALL, "no mount_setattr, which came with Linux 5.12", "boot Linux 5.12";
        "too old for close_range": old("5.4.0-42-generic"), "close-fds" ENOSYS
            => Kernel Without::NOTHING, "no close_range, which came with Linux 5.9", "boot Linux 5.9";
        "a file system is not built in": user(), "devpts" ENODEV
            => Kernel ALL, "lacks a file system", "";
        "no seccomp": user(), "seccomp" EINVAL
            => Kernel FILTER, "CONFIG_SECCOMP_FILTER", "CONFIG_SECCOMP_FILTER=y";
        "sixteen Landlock layers": user(), "landlock" E2BIG
            => Kernel FENCE, "sixteen Landlock layers", "outside of other Landlock";
        "gVisor has fewer namespaces": gvisor(), "clone" EINVAL alone Mount
            => Kernel ALL, "gVisor's kernel makes no", "outside gVisor";
        "gVisor has fewer calls": gvisor(), "new-root" ENOSYS
            => Kernel ALL, "gVisor's kernel has no fsopen", "outside gVisor";
    }
}

#[test]
fn every_row_names_its_layer_its_reason_and_its_fix() {
    let tables = [limits(), callers(), modules(), containers(), kernels()];
    let rows: Vec<_> = tables.into_iter().flatten().collect();
    assert!(rows.len() > 60, "only {} rows", rows.len());
    for row in &rows {
        let what = row.what;
        let refusal = Refusal { step: row.step, errno: row.errno, kind: row.kind };
        let Some(blocked) = diagnose(&refusal, &row.facts) else { panic!("{what}: no diagnosis") };
        assert_eq!(blocked.layer, row.layer, "{what}: {blocked:?}");
        assert_eq!(blocked.without, row.without, "{what}: {blocked:?}");
        assert!(blocked.reason.contains(row.reason), "{what}: {}", blocked.reason);
        assert!(!blocked.reason.contains('\n') && !blocked.reason.ends_with('.'), "{what}");
        let fix = blocked.fix.unwrap_or_default();
        assert!(fix.contains(row.fix), "{what}: {fix}");
        assert_eq!(fix.is_empty(), row.fix.is_empty(), "{what}: {fix}");
    }
}

#[test]
fn what_is_not_the_hosts_doing_is_not_blamed_on_it() {
    const EAGAIN: i32 = 11;
    const ENOMEM: i32 = 12;
    let steps = [
        ("clone", EAGAIN),
        ("clone", ENOMEM),
        ("bind", EACCES),
        ("bind", ENOENT),
        ("chdir", EACCES),
    ];
    for (step, errno) in steps {
        let refusal = Refusal { step, errno, kind: None };
        assert_eq!(diagnose(&refusal, &user()), None, "{step} {errno}");
    }
}

#[test]
fn missing_landlock_is_told_apart() {
    let said = |facts: Facts| no_landlock(&facts);
    let disabled = said(Facts {
        landlock_errno: Some(EOPNOTSUPP),
        lsm: Some(vec!["capability".into(), "apparmor".into()]),
        ..user()
    });
    assert_eq!(
        disabled.fix.as_deref(),
        Some("add landlock to lsm= on the kernel's command line: lsm=landlock,capability,apparmor")
    );
    let absent = Facts { landlock_errno: Some(ENOSYS), ..user() };
    assert!(said(absent.clone()).reason.contains("CONFIG_SECURITY_LANDLOCK"));
    assert!(
        said(Facts { kernel: "5.10.0".into(), ..absent.clone() }).reason.contains("Linux 5.13")
    );
    let filtered = said(Facts { landlock_errno: Some(ENOSYS), ..docker() });
    assert_eq!(filtered.layer, Layer::OuterSeccomp);
    assert!(said(Facts { gvisor: true, ..absent }).reason.contains("gVisor"));
}

#[test]
fn each_refusal_costs_what_it_says_and_no_more() {
    use crate::Guarantee as G;
    let lost = |without: Without| -> Vec<_> {
        G::ALL.into_iter().filter(|guarantee| without.costs(*guarantee)).collect()
    };
    let expected: BTreeMap<&str, (Without, Vec<G>)> = [
        ("net", (NET, vec![G::Network])),
        ("ipc", (IPC, vec![G::Ipc])),
        ("proc", (PROC, vec![G::Processes])),
        ("fence", (FENCE, vec![G::Landlock])),
        ("filter", (FILTER, vec![G::SyscallFilter])),
    ]
    .into();
    for (name, (without, guarantees)) in expected {
        assert_eq!(lost(without), guarantees, "{name}");
    }
    assert!(!lost(ALL).contains(&G::NoPrivileges) && !lost(ALL).contains(&G::WallTime));
    assert!(
        [G::Filesystem, G::Processes, G::Network, G::Ipc, G::Disk]
            .iter()
            .all(|g| lost(ALL).contains(g))
    );
}
