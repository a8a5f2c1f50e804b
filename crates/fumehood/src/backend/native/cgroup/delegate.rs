//! The group of version 2 that is ours to divide, and its preparation.
//!
//! Two rules decide: a group that hands controllers to its children has no processes of its own
//! (cgroups(7), "no internal processes"), so we move into a leaf; and below systemd only a unit
//! with `Delegate=yes` is ours, since in any other systemd may take the controllers, and with
//! them the limits, away again (systemd's "Control Group APIs and Delegation").

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::Pid;

use super::advice::{CONTAINER, Surroundings};
use super::dir::{Dir, parse_procs};
use super::find::Blocked;
use super::locate::{Place, join, unit_of, user_manager_of};
use super::systemd;

/// The leaf that the supervisor moves into.
pub(super) const SUPERVISOR: &str = "fumehood-supervisor";

/// The controllers that we use. `cpu` is last: it is the one that may be missing.
pub(super) const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// A directory of the tree and its path as `/proc/PID/cgroup` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) dir: PathBuf,
    pub(super) group: String,
}

impl Spot {
    fn of(place: &Place) -> Self {
        Self { dir: place.dir.clone(), group: place.group.clone() }
    }

    /// The group `levels` above; none where the mount does not reach so far.
    fn above(&self, levels: usize, mount: &Path) -> Option<Self> {
        let dir = self.dir.ancestors().nth(levels)?;
        let parts: Vec<_> = self.group.split('/').collect();
        let parts = parts.get(..parts.len().checked_sub(levels)?)?;
        let group = join(&parts.join("/"), "");
        dir.starts_with(mount).then(|| Self { dir: dir.to_owned(), group })
    }

    /// How many levels it lies below `group`.
    fn depth_below(&self, group: &str) -> usize {
        self.group.split('/').count() - group.split('/').count()
    }
}

/// The group that is ours to divide if any is: our own, or the one above it if ours is the
/// supervisor's leaf or the subgroup that systemd starts a delegated service in.
pub(super) fn base(own: &Place, has_controllers: impl Fn(&Path) -> bool) -> Spot {
    let spot = Spot::of(own);
    let is_leaf = spot.group.ends_with(&format!("/{SUPERVISOR}"));
    let is_subgroup = unit_of(&spot.group).is_some_and(|unit| spot.depth_below(unit) == 1);
    if is_leaf || is_subgroup && !has_controllers(&spot.dir) {
        spot.above(1, &own.mount).unwrap_or(spot)
    } else {
        spot
    }
}

/// Whether systemd has given the unit that a group belongs to away. Groups outside any unit are
/// systemd's only if it manages the whole tree, and then processes are never in them.
pub(super) fn require_delegated(own: &Place, around: Surroundings) -> Result<(), Blocked> {
    let spot = Spot::of(own);
    let dir_of = |group: &str| spot.above(spot.depth_below(group), &own.mount).map(|at| at.dir);
    let Some(unit) = unit_of(&own.group) else { return Ok(()) };
    let Some(unit_dir) = dir_of(unit) else { return Ok(()) }; // A container sees only its own.
    if is_marked_delegated(&unit_dir) {
        return Ok(());
    }
    // root does not rely on a group that a user may change. systemd before version 251 marks units
    // in a way that only root can see: there, one that a user can write to was given to them.
    let given = !around.is_root
        && user_manager_of(&own.group).is_none_or(|manager| {
            !dir_of(manager).is_some_and(|dir| is_marked_delegated(&dir))
                || systemd::gave(manager, unit, &own.group)
        });
    if given {
        return Ok(());
    }
    let reason = format!("systemd has not delegated {unit} to its processes");
    Err(Blocked::new(reason, around.delegation()))
}

/// systemd's mark of a delegated unit: `trusted.delegate` since version 244, and `user.delegate`,
/// which anyone can read, since 251.
fn is_marked_delegated(dir: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::getxattr(dir, *name, &mut value).is_ok_and(|length| &value[..length] == b"1")
    })
}

/// Opens the group that is ours to divide, if it can be written to.
pub(super) fn open(spot: &Spot, own: &Place, around: Surroundings) -> Result<Dir, Blocked> {
    let group = &spot.group;
    if !own.writable {
        let reason = format!("{} is mounted read-only", own.mount.display());
        return Err(Blocked::new(reason, CONTAINER));
    }
    let dir = Dir::open(&spot.dir)
        .map_err(|error| Blocked::new(error.to_string(), around.delegation()))?;
    let needed = [".", "cgroup.procs", "cgroup.subtree_control"];
    if let Some(file) = needed.into_iter().find(|file| !dir.writable(file)) {
        let file = if file == "." { String::new() } else { format!("{file} of ") };
        let reason = format!("{file}control group {group} cannot be written to");
        return Err(Blocked::new(reason, around.delegation()));
    }
    Ok(dir)
}

/// Enables the controllers for the children of a group: those that are, and why others are not.
pub(super) fn enable(spot: &Spot, dir: &Dir, around: Surroundings) -> Result<Vec<String>, Blocked> {
    let available = names(dir, "cgroup.controllers")?;
    if !CONTROLLERS.iter().any(|one| available.iter().any(|name| name == one)) {
        let reason = format!("control group {} has none of memory, pids and cpu", spot.group);
        return Err(Blocked::new(reason, around.controllers()));
    }
    for name in CONTROLLERS.into_iter().filter(|one| available.iter().any(|name| name == one)) {
        enable_one(spot, dir, name, around)?;
    }
    names(dir, "cgroup.subtree_control")
}

fn enable_one(spot: &Spot, dir: &Dir, name: &str, around: Surroundings) -> Result<(), Blocked> {
    if names(dir, "cgroup.subtree_control")?.iter().any(|enabled| enabled == name) {
        return Ok(());
    }
    let enable = format!("+{name}");
    match dir.write("cgroup.subtree_control", &enable) {
        Err(error) if error.errno == Errno::BUSY => {
            move_into_leaf(spot, dir, around)?;
            Ok(dir.write("cgroup.subtree_control", &enable)?)
        }
        // What cannot be enabled is reported as not enabled: real-time processes keep `cpu` out.
        _ => Ok(()),
    }
}

/// Moves this process into a leaf; no others.
fn move_into_leaf(spot: &Spot, dir: &Dir, around: Surroundings) -> Result<(), Blocked> {
    let procs = parse_procs(&dir.read("cgroup.procs")?);
    let is_ours = |pid: &Pid| *pid == rustix::process::getpid();
    if procs.foreign > 0 || !procs.pids.iter().all(is_ours) {
        let others = describe(procs.pids.iter().filter(|pid| !is_ours(pid)), procs.foreign);
        let reason = format!(
            "control group {} cannot hand controllers down while processes are in it that are \
             not Fumehood's: {others}",
            spot.group
        );
        return Err(Blocked::new(reason, around.solitude()));
    }
    let leaf = dir.child_or_make(SUPERVISOR)?;
    for pid in procs.pids {
        leaf.write("cgroup.procs", &pid.as_raw_pid().to_string())?;
    }
    Ok(())
}

/// The first of some processes, such as `sh (12)`, and how many more there are.
fn describe<'a>(pids: impl Iterator<Item = &'a Pid>, foreign: usize) -> String {
    let name = |pid: &Pid| {
        let pid = pid.as_raw_pid();
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("{} ({pid})", name.trim())
    };
    let mut shown: Vec<_> = pids.map(name).collect();
    let more = shown.len().saturating_sub(3) + foreign;
    shown.truncate(3);
    if more > 0 {
        shown.push(format!("{more} others"));
    }
    shown.join(", ")
}

fn names(dir: &Dir, file: &str) -> Result<Vec<String>, Blocked> {
    Ok(dir.read(file)?.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Moving a process between two groups needs write access to `cgroup.procs` of the lowest group
/// above both: with ours not below `base`, that is one that nobody has given to us.
pub(super) fn require_common_ancestor(
    own: &Place,
    base: &Spot,
    around: Surroundings,
) -> Result<(), Blocked> {
    let levels = (0..).find_map(|levels| {
        let above = Spot::of(own).above(levels, &own.mount);
        above.map_or(Some(None), |above| {
            super::locate::is_within(&base.group, &above.group).then_some(Some(above))
        })
    });
    let Some(Some(common)) = levels else {
        let reason = format!("no group above both {} and {} is visible", own.group, base.group);
        return Err(Blocked::new(reason, around.delegation()));
    };
    if Dir::open(&common.dir)?.writable("cgroup.procs") {
        return Ok(());
    }
    let reason = format!(
        "processes cannot be moved from {} to {}: {} is not delegated",
        own.group, base.group, common.group
    );
    Err(Blocked::new(reason, around.delegation()))
}

impl From<io::Error> for Blocked {
    fn from(error: io::Error) -> Self {
        Self { reason: error.to_string(), fix: None }
    }
}

impl From<super::dir::WriteError> for Blocked {
    fn from(error: super::dir::WriteError) -> Self {
        Self::from(io::Error::from(error))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Place, base};

    fn place(group: &str) -> Place {
        Place {
            dir: PathBuf::from(format!("/sys/fs/cgroup{group}")),
            group: group.to_owned(),
            controllers: Vec::new(),
            mount: PathBuf::from("/sys/fs/cgroup"),
            writable: true,
        }
    }

    fn base_of(group: &str, has_controllers: bool) -> (String, String) {
        let spot = base(&place(group), |_| has_controllers);
        (spot.group, spot.dir.to_string_lossy().into_owned())
    }

    #[test]
    fn a_process_divides_its_own_group() {
        let scope = "/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope";
        assert_eq!(base_of(scope, true).0, scope);
        assert_eq!(base_of(scope, false).0, scope);
        assert_eq!(base_of("/kubepods/pod1/ab", true).0, "/kubepods/pod1/ab");
    }

    #[test]
    fn a_supervisor_in_its_leaf_divides_the_group_above() {
        for (leaf, above) in [
            ("/a.service/fumehood-supervisor", "/a.service"),
            ("/x/fumehood-supervisor", "/x"),
            ("/fumehood-supervisor", "/"),
        ] {
            let (group, dir) = base_of(leaf, true);
            assert_eq!(group, above);
            assert_eq!(dir, format!("/sys/fs/cgroup{above}").trim_end_matches('/'));
        }
    }

    #[test]
    fn a_subgroup_of_a_unit_is_divided_only_if_it_can_be() {
        assert_eq!(base_of("/a.service/main", false).0, "/a.service");
        assert_eq!(base_of("/a.scope/container", true).0, "/a.scope/container");
        assert_eq!(base_of("/a.scope/container/deep", false).0, "/a.scope/container/deep");
    }

    #[test]
    fn the_root_of_the_mount_is_the_end() {
        let own = Place { dir: PathBuf::from("/sys/fs/cgroup"), ..place("/fumehood-supervisor") };
        assert_eq!(base(&own, |_| true).group, "/fumehood-supervisor");
        assert_eq!(base_of("/", true).0, "/");
    }
}
