//! Removes the groups that dead supervisors left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::dir::{Dir, parse_procs};
use super::find;
use super::group::kill_member;
use super::label::{Life, Owner};
use super::locate::parse_memberships;

/// A group of a dead supervisor.
#[derive(Debug)]
pub(crate) struct Removed {
    /// Whose it was.
    pub(crate) owner: Owner,
    /// Its directory.
    pub(crate) path: PathBuf,
    /// How many processes were killed in it.
    pub(crate) killed: usize,
    /// Why it is still there, if it is.
    pub(crate) failure: Option<io::Error>,
}

/// How deep below a mount groups are looked for: far deeper than any manager nests them.
const DEPTH: usize = 16;

/// How long the processes of one group may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Kills and removes what supervisors that are dead left behind, in every hierarchy that is
/// mounted. What belongs to a living supervisor, or to one whose life cannot be judged because it
/// is in another PID namespace, is not touched.
///
/// # Errors
/// If the mounts of this process cannot be read.
pub(crate) fn gc() -> io::Result<Vec<Removed>> {
    let found = leftovers()?;
    found.iter().for_each(|(_, path)| hold_still(path));
    Ok(found.into_iter().map(|(owner, path)| remove(owner, path)).collect())
}

/// Finds what [`gc`] would remove.
///
/// # Errors
/// If the mounts of this process cannot be read.
pub(crate) fn leftovers() -> io::Result<Vec<(Owner, PathBuf)>> {
    let mut found = Vec::new();
    for mount in find::mounts()?.iter().filter(|mount| mount.writable) {
        collect(&mount.point, DEPTH, &mut found);
    }
    found.sort_unstable();
    found.dedup();
    let mut lives = Lives::default();
    found.retain(|(owner, _)| lives.is_dead(*owner));
    Ok(found)
}

/// Every group below `dir` that bears a label. Groups that end while they are looked at are none.
fn collect(dir: &Path, depth: usize, found: &mut Vec<(Owner, PathBuf)>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(is_dir) {
        match entry.file_name().to_str().and_then(Owner::of) {
            Some(owner) => found.push((owner, entry.path())),
            None if depth > 0 => collect(&entry.path(), depth - 1, found),
            None => {}
        }
    }
}

fn is_dir(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

/// Who is dead, asked once.
#[derive(Default)]
struct Lives(BTreeMap<Owner, bool>);

impl Lives {
    fn is_dead(&mut self, owner: Owner) -> bool {
        *self.0.entry(owner).or_insert_with(|| matches!(owner.life(), Ok(Life::Dead)))
    }
}

/// Keeps the members of a group from forking, in whichever hierarchy counts processes, before
/// they are killed one by one. Where it fails, killing them is tried all the same.
pub(super) fn hold_still(path: &Path) {
    if let Ok(group) = Dir::open(path) {
        let _ = group.write("pids.max", "0");
    }
}

fn remove(owner: Owner, path: PathBuf) -> Removed {
    let mut killed = BTreeSet::new();
    let failure = kill_and_remove(&path, &mut killed).err();
    Removed { owner, path, killed: killed.len(), failure }
}

fn kill_and_remove(path: &Path, killed: &mut BTreeSet<i32>) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str))
    else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let parent = Dir::open(parent)?;
    let deadline = Instant::now() + PATIENCE;
    while !parent.remove(name)? {
        killed.extend(kill_all(&parent.child(name)?, |text| is_member(text, name))?);
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "its processes do not end"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Kills the members of a group of either version, one by one.
pub(super) fn kill_all(group: &Dir, is_member: impl Fn(&str) -> bool) -> io::Result<Vec<i32>> {
    let procs = parse_procs(&group.read("cgroup.procs")?);
    for pid in &procs.pids {
        kill_member(*pid, &is_member)?;
    }
    // Its supervisor may have died between freezing and thawing it.
    if group.has("freezer.state") {
        group.write("freezer.state", "THAWED")?;
    }
    Ok(procs.pids.iter().map(|pid| pid.as_raw_pid()).collect())
}

/// Whether a `/proc/PID/cgroup` names a group with this label, which no other group has.
fn is_member(proc_cgroup: &str, name: &str) -> bool {
    parse_memberships(proc_cgroup).iter().any(|one| one.path.split('/').any(|part| part == name))
}

#[cfg(test)]
mod tests {
    use super::is_member;

    #[test]
    fn membership_is_by_the_whole_name() {
        assert!(is_member("4:memory:/a/fumehood-1\n", "fumehood-1"));
        assert!(is_member("0::/fumehood-1/below\n", "fumehood-1"));
        assert!(!is_member("0::/fumehood-12\n", "fumehood-1"));
        assert!(!is_member("0::/\n", "fumehood-1"));
    }
}
