//! How a container is, looked at from inside before there is a program in it.
//!
//! An engine may ignore a limit and say so in a log, or leave a mechanism out by its configuration.
//! So a report says what was found, not what was asked for.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use serde::{Deserialize, Serialize};

use super::guard;
use super::meter::{Asked, Counters};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Lines of `/proc/self/uid_map`: whether the container has a user namespace of its own.
    pub(super) own_users: bool,
    /// Whether every capability set is empty.
    pub(super) no_capabilities: bool,
    pub(super) no_new_privs: bool,
    /// Whether a filter of system calls is there (`Seccomp: 2` in `/proc/self/status`).
    pub(super) filter: bool,
    pub(super) root_read_only: bool,
    /// Network interfaces but the loopback and those that the kernel puts into every namespace.
    pub(super) interfaces: Vec<String>,
    /// Bytes of memory, and of memory and swap together.
    pub(super) memory: Option<u64>,
    pub(super) memory_and_swap: Option<u64>,
    pub(super) pids: Option<u64>,
    /// Thousandths of a CPU.
    pub(super) cpus_milli: Option<u64>,
    /// Release and version of the kernel that answers inside.
    pub(super) kernel: String,
    /// Whether the CPU time of the container can be read.
    pub(super) meter: bool,
    /// Whether process 1 added a [`guard`] of its own.
    pub(super) guarded: bool,
    /// Directories in memory: where, how many bytes, how many inodes.
    pub(super) scratch: Vec<Scratch>,
}

/// A directory in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scratch {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) inodes: u64,
}

/// What the kernel puts into every network namespace where its tunnels are not modules. All are down
/// and lead nowhere.
const KERNELS_OWN: [&str; 11] = [
    "lo", "tunl0", "gre0", "gretap0", "erspan0", "sit0", "ip_vti0", "ip6_vti0", "ip6tnl0",
    "ip6gre0", "teql0",
];

impl Facts {
    /// Adds the guard, too, when all else was looked at: it is a filter of system calls like the engine's.
    pub(super) fn look_and_guard(scratch: &[PathBuf], asked: &Asked) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let counters = Counters::find(asked);
        let (memory, memory_and_swap) = counters.memory_limits();
        Self {
            pid: std::process::id(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            own_users: own_users(),
            no_capabilities: no_capabilities(&status),
            // gVisor has no line for it.
            no_new_privs: rustix::thread::no_new_privs().unwrap_or(false),
            filter: line(&status, "Seccomp:") == Some("2"),
            root_read_only: is_read_only(Path::new("/")),
            interfaces: interfaces(),
            memory,
            memory_and_swap,
            pids: counters.pids_limit(),
            cpus_milli: counters.cpus_milli(),
            kernel: kernel(),
            meter: counters.cpu_us().is_some(),
            scratch: scratch.iter().filter_map(|path| look_at(path)).collect(),
            guarded: guard::install(),
        }
    }
}

/// The kernel that answers this process.
pub(super) fn kernel() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.release().to_string_lossy(), name.version().to_string_lossy())
}

fn line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn no_capabilities(status: &str) -> bool {
    let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:"];
    let is_empty = |bits: &str| bits.bytes().all(|bit| bit == b'0');
    // gVisor has no ambient set, and no line for it.
    sets.iter().all(|set| line(status, set).is_some_and(is_empty))
        && line(status, "CapAmb:").is_none_or(is_empty)
}

/// Whether ids inside are others outside: the whole range mapped to itself is the host's.
fn own_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut words = map.split_whitespace();
    !(words.next() == Some("0") && words.next() == Some("0"))
}

fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn interfaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    names.filter(|name| !KERNELS_OWN.contains(&name.as_str())).collect()
}

fn look_at(path: &Path) -> Option<Scratch> {
    let found = statvfs(path).ok()?;
    let bytes = found.f_blocks.saturating_mul(found.f_frsize);
    Some(Scratch { path: path.to_path_buf(), bytes, inodes: found.f_files })
}
