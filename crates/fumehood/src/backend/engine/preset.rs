//! How a container is made: the hardened preset, and what a plan fills in.
//!
//! A [`Container`] is made from a plan and from nothing else, and none of its fields can be set from
//! outside: there is no flag that makes it privileged, gives it a capability or a device, or lets it
//! write to its root. What an image declares is answered, too: its volumes become directories in
//! memory, its health check is switched off, its user is not used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::inside::INIT;
use super::limits::{Sizes, pids, ulimits};
use crate::plan::Plan;
use crate::sabotage::leaves_out;
use crate::{Access, Error, Network, Result, Seccomp};

/// User and group inside: nobody's on a usual host, and the same in every container.
pub(super) const USER: u32 = 65532;

/// Where the init is mounted.
pub(super) const INSIDE: &str = "/.fumehood/init";

/// Directories in memory that Podman gives to every container with a read-only root, without a limit
/// of size. Covered by ones that hold nothing.
const GIFTS: [&str; 2] = ["/run", "/var/tmp"];

/// What an engine is told to make.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    image: String,
    hostname: String,
    user: String,
    entrypoint: [String; 2],
    cmd: Vec<String>,
    working_dir: &'static str,
    labels: BTreeMap<String, String>,
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    open_stdin: bool,
    stdin_once: bool,
    tty: bool,
    healthcheck: Healthcheck,
    stop_signal: &'static str,
    host_config: HostConfig,
}

/// A health check would be a program in the container that nobody watches.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Healthcheck {
    test: [&'static str; 1],
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    network_mode: String,
    ipc_mode: &'static str,
    pid_mode: &'static str,
    #[serde(rename = "UTSMode")]
    uts_mode: &'static str,
    cgroupns_mode: &'static str,
    readonly_rootfs: bool,
    privileged: bool,
    auto_remove: bool,
    cap_drop: Vec<&'static str>,
    security_opt: Vec<String>,
    memory: u64,
    memory_swap: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids_limit: Option<u64>,
    nano_cpus: u64,
    ulimits: Vec<Ulimit>,
    tmpfs: BTreeMap<PathBuf, String>,
    shm_size: u64,
    mounts: Vec<Mount>,
    log_config: LogConfig,
    /// Docker's word for what of `/proc` is hidden; Podman's is an option of security.
    #[serde(skip_serializing_if = "Option::is_none")]
    masked_paths: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Ulimit {
    pub(super) name: &'static str,
    pub(super) soft: u64,
    pub(super) hard: u64,
}

/// A bind mount in the long form: a source that is not there is an error, not a new directory.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    #[serde(rename = "Type")]
    kind: &'static str,
    source: PathBuf,
    target: PathBuf,
    read_only: bool,
    bind_options: BindOptions,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct BindOptions {
    propagation: &'static str,
    /// What is mounted below a read-only source stays away: engines before 2024 cannot make it
    /// read-only along with it.
    non_recursive: bool,
}

/// What a program prints is the supervisor's, who counts it; a log would be a copy without a limit.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LogConfig {
    #[serde(rename = "Type")]
    kind: &'static str,
}

/// What a container is made of besides its plan.
#[derive(Debug)]
pub(super) struct Around<'a> {
    /// Id of the image.
    pub(super) image: &'a str,
    /// This binary on the host.
    pub(super) init: PathBuf,
    pub(super) labels: BTreeMap<String, String>,
    /// The runtime, if not the engine's own choice.
    pub(super) runtime: Option<String>,
    pub(super) podman: bool,
}

impl Container {
    pub(super) fn new(plan: &Plan, around: &Around<'_>) -> Result<Self> {
        let Around { image, init, labels, .. } = around;
        let host_config = HostConfig::new(plan, around, init)?;
        Ok(Self {
            image: (*image).to_owned(),
            hostname: plan.job.hostname.clone(),
            user: format!("{USER}:{USER}"),
            entrypoint: [INSIDE.to_owned(), INIT.to_owned()],
            cmd: Vec::new(),
            working_dir: "/",
            labels: labels.clone(),
            attach_stdin: true,
            attach_stdout: true,
            attach_stderr: true,
            open_stdin: true,
            stdin_once: true,
            tty: false,
            healthcheck: Healthcheck { test: ["NONE"] },
            stop_signal: "SIGTERM",
            host_config,
        })
    }
}

impl HostConfig {
    fn new(plan: &Plan, around: &Around<'_>, init: &Path) -> Result<Self> {
        let limits = &plan.job.limits;
        let memory = limits.memory().finite().map_or(0, |memory| memory.0);
        let mut mounts = mounts(plan);
        mounts.push(Mount::bind(init, Path::new(INSIDE), true));
        Ok(Self {
            network_mode: network(&plan.job.network),
            ipc_mode: "private",
            pid_mode: "",
            uts_mode: "",
            cgroupns_mode: "private",
            readonly_rootfs: !leaves_out("engine-root"),
            privileged: false,
            // Even a container that nobody is left to remove goes when its program has ended.
            auto_remove: true,
            cap_drop: if leaves_out("engine-capabilities") { vec![] } else { vec!["ALL"] },
            security_opt: security(plan, around.podman)?,
            memory,
            // The sum of both: no swap at all.
            memory_swap: memory,
            pids_limit: pids(limits).filter(|_| !leaves_out("engine-pids")),
            nano_cpus: limits.cpus().finite().map_or(0, |cpus| u64::from(cpus.milli) * 1_000_000),
            ulimits: ulimits(limits, around.podman),
            tmpfs: scratch(plan, around),
            shm_size: Sizes::of(limits).tmp,
            mounts,
            log_config: LogConfig { kind: "none" },
            masked_paths: (!around.podman).then(masked),
            runtime: around.runtime.clone(),
        })
    }
}

impl Mount {
    fn bind(source: &Path, target: &Path, read_only: bool) -> Self {
        let bind_options = BindOptions { propagation: "rprivate", non_recursive: read_only };
        let (source, target) = (source.to_path_buf(), target.to_path_buf());
        Self { kind: "bind", source, target, read_only, bind_options }
    }
}

fn mounts(plan: &Plan) -> Vec<Mount> {
    let binds = plan.job.mounts.iter();
    binds.map(|one| Mount::bind(&one.source, &one.target, one.access == Access::ReadOnly)).collect()
}

fn network(network: &Network) -> String {
    match network {
        Network::None if leaves_out("engine-network") => "host".to_owned(),
        Network::None => "none".to_owned(),
        Network::Host => "host".to_owned(),
        Network::Named(name) => name.clone(),
    }
}

/// What is hidden of the host: what cells of ours hide, and what engines hide by themselves, which is not
/// hidden any more where somebody says what is.
fn masked() -> Vec<&'static str> {
    let own = crate::plan::layout::masked().chain(MASKED);
    own.filter(|_| !leaves_out("engine-masks")).collect()
}

/// The directories of an engine's own list.
const MASKED: [&str; 3] = ["/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap"];

/// No `seccomp=` means the engine's default profile, which is an allow-list; there is no word for it.
fn security(plan: &Plan, podman: bool) -> Result<Vec<String>> {
    let mut options = Vec::new();
    if !leaves_out("engine-no-new-privs") {
        options.push("no-new-privileges".to_owned());
    }
    if podman {
        options.push(format!("mask={}", masked().join(":")));
    }
    if let Seccomp::Profile(path) = &plan.job.seccomp {
        let text = crate::plan::profile_text(path)?;
        serde_json::from_str::<serde_json::Value>(&text).map_err(|error| {
            Error::invalid("seccomp.profile", path.display(), format!("is not valid: {error}"))
        })?;
        // Docker takes the profile, and Podman the name of a file that it reads.
        let text = if podman { absolute(path)? } else { text };
        options.push(format!("seccomp={text}"));
    }
    Ok(options)
}

fn absolute(path: &Path) -> Result<String> {
    let refused = |problem: String| Error::invalid("seccomp.profile", path.display(), problem);
    let whole = std::fs::canonicalize(path).map_err(|error| refused(error.to_string()))?;
    whole.into_os_string().into_string().map_err(|_| refused("is no UTF-8".to_owned()))
}

/// The directories in memory, each with its size: programs can be executed there, for compilers and
/// tests write programs.
fn scratch(plan: &Plan, around: &Around<'_>) -> BTreeMap<PathBuf, String> {
    let sizes = Sizes::of(&plan.job.limits);
    let inodes = sizes.inodes.filter(|_| !around.podman);
    // Runtimes give a directory that the image has the image's mode, whatever the options say; its
    // owner is never the image's. Podman would also copy what the image has there.
    let own =
        if around.podman { "notmpcopyup,U".to_owned() } else { format!("uid={USER},gid={USER}") };
    let options = |path: &Path, bytes: u64| {
        let inodes = inodes.map_or_else(String::new, |inodes| format!(",nr_inodes={inodes}"));
        let size = if bytes == 0 { String::new() } else { format!(",size={bytes}") };
        if path == Path::new(SHM) {
            return format!("rw,noexec,nosuid,nodev,mode=1777{size}{inodes}");
        }
        format!("rw,exec,nosuid,nodev,mode=0755{size}{inodes},{own}")
    };
    // Podman has a size for its own and no number of inodes for any.
    let told = directories(plan).into_iter();
    let told = told.filter(|(path, _)| !around.podman || path != Path::new(SHM));
    let mut scratch: BTreeMap<PathBuf, String> =
        told.map(|(path, bytes)| (path.clone(), options(&path, bytes))).collect();
    if around.podman {
        for gift in GIFTS.map(PathBuf::from) {
            scratch
                .entry(gift)
                .or_insert_with(|| "rw,noexec,nosuid,nodev,size=4k,mode=0555".into());
        }
    }
    scratch
}

/// Shared memory. Engines make it with a size, and without a limit of inodes unless it is one of ours.
const SHM: &str = "/dev/shm";

/// The program's own directories in memory and their sizes in bytes; 0 for no limit.
pub(super) fn directories(plan: &Plan) -> Vec<(PathBuf, u64)> {
    let sizes = Sizes::of(&plan.job.limits);
    let own = [
        ("/workspace".into(), sizes.workspace),
        ("/tmp".into(), sizes.tmp),
        (SHM.into(), sizes.tmp),
    ];
    let more = plan.job.tmpfs.iter().map(|tmpfs| {
        let size = tmpfs.size.map_or(sizes.tmp, |size| size.finite().map_or(0, |size| size.0));
        (tmpfs.target.clone(), size)
    });
    let all = own.into_iter().chain(more);
    // What is mounted from the host at one of these places takes it.
    let taken = |path: &PathBuf| plan.job.mounts.iter().any(|mount| mount.target == *path);
    all.filter(|(path, _)| !taken(path)).collect()
}
