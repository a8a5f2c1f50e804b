//! What there is to know about a host before anything is tried.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::read;
use crate::host::{self, Host, NOBODY};

/// What files and system calls say about this host and this process. Diagnosis is a pure function
/// of these facts, the refused step and its errno.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Facts {
    /// Release of the kernel, such as `6.1.0-18-amd64`.
    pub kernel: String,
    /// Architecture as `uname -m` names it.
    pub arch: String,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Effective capabilities, bits as in `capabilities(7)`.
    pub capabilities: u64,
    /// The user namespace of this process.
    pub user_namespace: UserNamespace,
    /// The container that this process is in, if it shows.
    pub container: Option<Container>,
    /// Whether this process is in a chroot.
    pub chroot: bool,
    /// Whether the kernel is gVisor's.
    pub gvisor: bool,
    /// Whether `no_new_privs` is set on this process.
    pub no_new_privs: bool,
    /// Whether this process is under a seccomp filter of somebody else.
    pub seccomp: bool,
    /// Active security modules; unknown where securityfs is not mounted.
    pub lsm: Option<Vec<String>>,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// Whether SELinux enforces its policy.
    pub selinux: bool,
    /// The AppArmor profile or SELinux context of this process.
    pub security_label: Option<String>,
    /// The Landlock ABI; 0 where there is none.
    pub landlock_abi: u32,
    /// Why there is no Landlock: the errno of asking for its ABI.
    pub landlock_errno: Option<i32>,
    /// Kinds of namespaces that the kernel has, as in `/proc/self/ns`.
    pub namespaces: Vec<String>,
    /// Versions of control groups that are mounted: 1, 2 or both.
    pub cgroups: Vec<u8>,
    /// Settings below `/proc/sys` that matter, as far as they exist, such as
    /// `user.max_user_namespaces`.
    pub sysctls: BTreeMap<String, String>,
    /// Paths below `/proc` that something is mounted over.
    pub proc_masks: Vec<PathBuf>,
    /// Whether a process file system is mounted on `/proc`.
    pub proc_mounted: bool,
    /// Whether `/proc` is mounted read-only.
    pub proc_read_only: bool,
    /// Directories of programs that are on `noexec` mounts.
    pub noexec: Vec<PathBuf>,
    /// Device files that are on `nodev` mounts.
    pub nodev: Vec<PathBuf>,
    /// The executable of this process.
    pub executable: Option<PathBuf>,
}

/// A user namespace, as a process in it sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct UserNamespace {
    /// Whether it maps every id to itself, as the initial one does.
    pub initial: bool,
    /// The effective user id as the parent namespace sees it; none where it is not mapped.
    pub uid_outside: Option<u32>,
    /// The user id of `nobody` as the parent namespace sees it.
    pub nobody_outside: Option<u32>,
    /// Whether the ids of `nobody` are mapped, which root becomes.
    pub maps_nobody: bool,
}

/// What a process can tell of the container around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Container {
    /// Docker, or another engine that leaves Docker's traces.
    Docker,
    /// Podman.
    Podman,
    /// A pod of Kubernetes.
    Kubernetes,
    /// LXC or Incus.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// Flatpak.
    Flatpak,
    /// Some other container.
    Other,
}

/// What becomes of crashes.
pub(super) const CORE_PATTERN: &str = "kernel.core_pattern";

/// Settings that namespaces hang on, and one that they do not hold.
const SYSCTLS: [&str; 14] = [
    "kernel.apparmor_restrict_unprivileged_unconfined",
    "kernel.apparmor_restrict_unprivileged_userns",
    CORE_PATTERN,
    "kernel.unprivileged_userns_clone",
    "kernel.seccomp.actions_avail",
    "fs.mount-max",
    "user.max_cgroup_namespaces",
    "user.max_ipc_namespaces",
    "user.max_mnt_namespaces",
    "user.max_net_namespaces",
    "user.max_pid_namespaces",
    "user.max_time_namespaces",
    "user.max_user_namespaces",
    "user.max_uts_namespaces",
];

const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

impl Facts {
    /// The facts as they are now. Files that cannot be read leave their fact out.
    #[must_use]
    pub fn gather() -> Self {
        let host = Host::current();
        let status = text("/proc/self/status");
        let mounts = read::mounts(&text("/proc/self/mountinfo"));
        let field = |name| read::status_field(&status, name);
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            arch: rustix::system::uname().machine().to_string_lossy().into_owned(),
            uid: host.uid,
            gid: host.gid,
            capabilities: field("CapEff")
                .and_then(|set| u64::from_str_radix(set, 16).ok())
                .unwrap_or(0),
            user_namespace: UserNamespace::of(host.uid),
            container: container(read::is_machine(&mounts)),
            chroot: read::is_chroot(&mounts) || root_differs_from_init(),
            gvisor: is_gvisor(),
            no_new_privs: field("NoNewPrivs") == Some("1"),
            seccomp: field("Seccomp") == Some("2"),
            lsm: fs::read_to_string("/sys/kernel/security/lsm")
                .ok()
                .map(|list| read::commas(&list)),
            apparmor: text("/sys/module/apparmor/parameters/enabled").trim() == "Y",
            selinux: text("/sys/fs/selinux/enforce").trim() == "1",
            security_label: security_label(),
            landlock_abi: host.landlock_abi,
            landlock_errno: fumehood_child::sys::landlock_abi().err().map(|errno| errno.0),
            namespaces: KINDS
                .into_iter()
                .filter(|kind| has_namespace(kind))
                .map(str::to_owned)
                .collect(),
            cgroups: read::cgroups(&mounts),
            sysctls: sysctls(),
            proc_masks: read::below_proc(&mounts),
            proc_mounted: Path::new("/proc/self").exists(),
            proc_read_only: read::is_read_only(&mounts, Path::new("/proc")),
            noexec: read::under(&mounts, "noexec", &["/usr", "/bin", "/lib"]),
            nodev: read::under(&mounts, "nodev", &["/dev/null", "/dev/zero", "/dev/urandom"]),
            executable: std::env::current_exe().ok(),
        }
    }

    /// Major and minor version of the kernel.
    pub(crate) fn version(&self) -> (u32, u32) {
        host::kernel_version(&self.kernel)
    }

    /// Whether a setting has this value.
    pub(crate) fn is_set(&self, sysctl: &str, value: &str) -> bool {
        self.sysctls.get(sysctl).is_some_and(|set| set == value)
    }

    /// Whether this process has a capability, by its number.
    pub(crate) const fn can(&self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl UserNamespace {
    /// The user namespace of this process, whose effective user id is given.
    pub(crate) fn of(uid: u32) -> Self {
        let uids = read::id_map(&text("/proc/self/uid_map"));
        let gids = read::id_map(&text("/proc/self/gid_map"));
        Self {
            initial: uids == [(0, 0, u32::MAX)],
            uid_outside: read::outside(&uids, uid),
            nobody_outside: read::outside(&uids, NOBODY.0),
            maps_nobody: read::outside(&uids, NOBODY.0).is_some()
                && read::outside(&gids, NOBODY.1).is_some(),
        }
    }
}

fn container(machine: bool) -> Option<Container> {
    let exists = |path: &str| Path::new(path).exists();
    if exists("/.flatpak-info") {
        return Some(Container::Flatpak);
    }
    let kubernetes = exists("/var/run/secrets/kubernetes.io")
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if kubernetes {
        return Some(Container::Kubernetes);
    }
    if exists("/run/.containerenv") && !machine {
        return Some(Container::Podman);
    }
    if exists("/.dockerenv") && !machine {
        return Some(Container::Docker);
    }
    let named = std::env::var("container").unwrap_or_else(|_| text("/run/systemd/container"));
    read::container_name(named.trim()).or_else(|| read::container_of(&text("/proc/self/cgroup")))
}

/// Another root than that of process 1 in the same mount namespace is a chroot. Only a process that
/// may inspect process 1 learns it this way.
fn root_differs_from_init() -> bool {
    let same_namespace =
        fs::read_link("/proc/1/ns/mnt").ok() == fs::read_link("/proc/self/ns/mnt").ok();
    let place = |path| rustix::fs::stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
    let (theirs, ours) = (place("/proc/1/root/."), place("/"));
    same_namespace && theirs.is_some() && theirs != ours
}

/// gVisor reports one and the same build of Linux 4.4 wherever it runs.
fn is_gvisor() -> bool {
    let version = rustix::system::uname().version().to_string_lossy().into_owned();
    version == "#1 SMP Sun Jan 10 15:06:54 PST 2016" || text("/proc/version").contains("gVisor")
}

fn security_label() -> Option<String> {
    let label = fs::read_to_string("/proc/self/attr/apparmor/current")
        .or_else(|_| fs::read_to_string("/proc/self/attr/current"))
        .ok()?;
    let label = label.trim_end_matches(['\0', '\n']).to_owned();
    (!label.is_empty()).then_some(label)
}

fn has_namespace(kind: &str) -> bool {
    fs::symlink_metadata(format!("/proc/self/ns/{kind}")).is_ok()
}

fn sysctls() -> BTreeMap<String, String> {
    let value = |name: &str| {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name.replace('.', "/"))).ok()?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    SYSCTLS.into_iter().filter_map(value).collect()
}
