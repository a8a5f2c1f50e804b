//! What runs could leave behind, apart from processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Mounts of the host and files with our name.
#[derive(Debug)]
pub(crate) struct Traces {
    mounts: Vec<String>,
    files: BTreeSet<String>,
}

impl Traces {
    /// Other tests run at the same time, but none of them mounts anything here, and their files are named
    /// otherwise, or after the process that made them and still lives, as no run that was killed does.
    pub(crate) fn now() -> Self {
        let dirs = ["/tmp", "/run", "/dev/shm", "/var/tmp", "/run/lock"];
        // Whoever else tests this project on this machine has a directory for it.
        let ours = |name: &String| name.contains("fumehood") && !name.contains("fumehood-xtask-");
        let others = |name: &String| {
            let pid = name.rsplit('-').next().filter(|pid| pid.parse::<u32>().is_ok());
            pid.is_some_and(|pid| Path::new("/proc").join(pid).exists())
        };
        let files = dirs.iter().flat_map(|dir| names(dir)).filter(ours);
        Self { mounts: mounts(), files: files.filter(|name| !others(name)).collect() }
    }

    /// That mounts are what they were, and no file has come: others may have gone meanwhile.
    #[track_caller]
    pub(crate) fn are_all(&self) {
        let now = Self::now();
        assert_eq!(now.mounts, self.mounts);
        let come: Vec<_> = now.files.difference(&self.files).collect();
        assert!(come.is_empty(), "files are left: {come:?}");
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
