//! What runs could leave behind, apart from processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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

/// The mounts that we see, one a line.
pub(crate) fn mounts() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the host has /proc");
    let foreign = mounts.lines().filter(|mount| !super::engine::owns(mount));
    foreign.map(str::to_owned).collect()
}

/// The paths of what is in a directory.
pub(crate) fn names(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

/// The control groups of one supervisor: `fumehood-NAMESPACE-PID-START-RANDOM`.
pub(crate) fn groups_of(supervisor: u32) -> Vec<PathBuf> {
    let pid = supervisor.to_string();
    let mut found = Vec::new();
    groups(Path::new("/sys/fs/cgroup"), &mut found);
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.split('-').nth(2) == Some(&pid)
    });
    found
}

fn groups(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        if entry.file_name().to_string_lossy().starts_with("fumehood-") {
            found.push(entry.path());
        }
        groups(&entry.path(), found);
    }
}
