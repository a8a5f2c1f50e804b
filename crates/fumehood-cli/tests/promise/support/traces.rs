//! What runs could leave behind, apart from processes.

use std::collections::BTreeSet;
use std::fs;

/// Mounts of the host and files with our name.
#[derive(Debug, PartialEq)]
pub(crate) struct Traces {
    mounts: Vec<String>,
    files: BTreeSet<String>,
}

impl Traces {
    /// Other tests run at the same time, but none of them mounts anything here, and all of their
    /// files are named otherwise.
    pub(crate) fn now() -> Self {
        let dirs = ["/tmp", "/run", "/dev/shm", "/var/tmp", "/run/lock"];
        // Whoever else tests this project on this machine has a directory for it.
        let ours = |name: &String| name.contains("fumehood") && !name.contains("fumehood-xtask-");
        let files = dirs.iter().flat_map(|dir| names(dir)).filter(ours).collect();
        Self { mounts: mounts(), files }
    }
}

/// The mounts that we see, one a line; none for an ordinary user, who cannot mount anything where we
/// are and would see what everybody else does.
pub(crate) fn mounts() -> Vec<String> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the host has /proc");
    let foreign = mounts.lines().filter(|mount| !super::engine::owns(mount));
    foreign.map(str::to_owned).collect()
}

/// The paths of what is in a directory.
pub(crate) fn names(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}
