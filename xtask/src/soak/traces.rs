//! What runs leave behind, counted.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// How much of ours there is. Other programs come and go at the same time, so what can be told to
/// be ours is counted and nothing else; mounts cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Traces {
    processes: usize,
    mounts: usize,
    pub(super) groups: usize,
    files: usize,
}

impl Traces {
    /// Processes that have `word` in their arguments, groups of these supervisors, and files in
    /// the directory for temporary ones.
    pub(super) fn look(word: &str, supervisors: &[u32], scratch: &Path) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self {
            processes: processes_naming(word) + tools(supervisors),
            mounts: mounts.lines().filter(|mount| !is_engine_s(mount)).count(),
            groups: groups(Path::new("/sys/fs/cgroup"), supervisors),
            files: fs::read_dir(scratch).map_or(0, Iterator::count),
        }
    }

    /// One line for each kind, one column for each look.
    pub(super) fn table(looks: &[(&str, &Self)]) -> String {
        let line = |name: &str, count: fn(&Self) -> usize| {
            let counts = looks.iter().map(|(_, look)| format!("{:>10}", count(look)));
            format!("{name:18}{}\n", counts.collect::<String>())
        };
        let heading: String = looks.iter().map(|(name, _)| format!("{name:>10}")).collect();
        format!("{:18}{heading}\n", "")
            + &line("processes", |look| look.processes)
            + &line("mounts", |look| look.mounts)
            + &line("control groups", |look| look.groups)
            + line("temporary files", |look| look.files).trim_end()
    }
}

/// Whether a mount is that of an engine of somebody's tests, which come and go.
fn is_engine_s(mount: &str) -> bool {
    ["/fh-docker-", "/fh-podman-", "/fumehood-xtask-"].iter().any(|dir| mount.contains(dir))
}

pub(super) fn processes_naming(word: &str) -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let cmdline = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    let names = |cmdline: &Vec<u8>| cmdline.windows(word.len()).any(|part| part == word.as_bytes());
    entries.filter_map(cmdline).filter(names).count()
}

/// Processes of tools, which have the names of their containers in their arguments:
/// `fumehood-SUPERVISOR-…`.
fn tools(supervisors: &[u32]) -> usize {
    let is_ours = |word: &[u8]| {
        let owner =
            word.strip_prefix(b"fumehood-").and_then(|rest| rest.split(|&b| b == b'-').next());
        let owner = owner.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        owner.is_some_and(|pid| supervisors.contains(&pid))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let cmdlines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    cmdlines.filter(|cmdline| cmdline.split(|&byte| byte == 0).any(is_ours)).count()
}

/// The children of a process, theirs, and so on.
pub(crate) fn descendants(ancestor: u32) -> Vec<u32> {
    let mut found = vec![ancestor];
    for at in 0.. {
        let Some(parent) = found.get(at) else { break };
        // With one file for each thread, by which it was started.
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let children =
            tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<_> = children
            .flat_map(|text| {
                text.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
            })
            .collect();
        found.extend(children);
    }
    found.split_off(1)
}

/// Kills these processes with the signal that nobody can handle. Some may be gone already.
pub(super) fn kill(pids: &[u32]) {
    if !pids.is_empty() {
        let mut command = Command::new("kill");
        command.arg("-9").args(pids.iter().map(u32::to_string)).stderr(Stdio::null());
        drop(command.status());
    }
}

/// Groups named `fumehood-NAMESPACE-SUPERVISOR-…`, wherever they are.
fn groups(dir: &Path, supervisors: &[u32]) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let count = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner =
            name.strip_prefix("fumehood-").and_then(|rest| rest.split('-').nth(1)?.parse().ok());
        let ours = owner.is_some_and(|pid| supervisors.contains(&pid));
        usize::from(ours) + groups(&entry.path(), supervisors)
    };
    dirs.map(count).sum()
}

/// Whose group a line of `fumehood gc` is about.
pub(super) fn supervisor(line: &str) -> Option<u32> {
    line.split_once("of process ")?.1.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::supervisor;

    #[test]
    fn a_line_of_gc_names_the_supervisor() {
        let line = "/sys/fs/cgroup/pids/fumehood-1-2  of process 812  removed, 0 processes killed";
        assert_eq!(supervisor(line), Some(812));
        assert_eq!(supervisor("nothing"), None);
    }
}
