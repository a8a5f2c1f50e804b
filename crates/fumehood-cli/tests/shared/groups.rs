//! Control groups of supervisors: what the suites of promises and of the service both look for.

use std::fs;
use std::path::{Path, PathBuf};

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
