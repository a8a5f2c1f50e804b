//! Which control groups this process can use, found by trying.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Access, AtFlags};

use super::advice::{self, Surroundings};
use super::delegate::{self, Spot};
use super::dir::{Dir, parse_procs, read_proc};
use super::group::{Group, GroupLimits};
use super::janitor;
use super::label::Owner;
use super::locate::{CgroupMount, Membership, Place, Version};
use super::locate::{parse_memberships, parse_mounts, place_of_dir, places};
use super::v1::Controller;
use super::{usual, v1, v2};
use crate::sabotage::leaves_out;
use crate::{Guarantee, Layer, Limits, Missing};

/// What can be limited or counted for a whole tree of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Memory, with swap off.
    Memory,
    /// Processes and threads.
    Pids,
    /// CPU time is counted here and enforced by the supervisor.
    CpuTime,
    /// CPU time per wall-clock time.
    Cpus,
}

impl Resource {
    pub(crate) const ALL: [Self; 4] = [Self::Memory, Self::Pids, Self::CpuTime, Self::Cpus];

    /// The guarantee that needs it; a share of CPUs belongs to that of CPU time.
    pub(crate) fn guarantee(self) -> Option<Guarantee> {
        match self {
            Self::Memory => Some(Guarantee::Memory),
            Self::Pids => Some(Guarantee::Pids),
            Self::CpuTime | Self::Cpus => Some(Guarantee::CpuTime),
        }
    }
}

/// Why control groups cannot be used for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    /// Why, in one sentence without a full stop.
    pub(crate) reason: String,
    /// The command or setting that fixes it; may have several lines.
    pub(crate) fix: Option<String>,
}

impl Blocked {
    pub(super) fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { reason: reason.into(), fix: Some(fix.into()) }
    }

    /// As one line of the doctor's answer.
    pub(crate) fn missing(&self, guarantee: Guarantee) -> Missing {
        Missing {
            guarantee,
            layer: Layer::Cgroup,
            reason: self.reason.clone(),
            fix: self.fix.clone(),
        }
    }
}

/// The control groups that this process can use.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    parent: Parent,
    owner: Owner,
    /// For every resource the files that hold it, or why they do not.
    holds: Vec<(Resource, Result<String, Blocked>)>,
    /// The group that was made to find out. Nothing ran in it, so the first cell can have it.
    spare: Mutex<Option<Group>>,
}

/// The group below which ours are made.
#[derive(Clone, Debug)]
pub(super) enum Parent {
    V1(Arc<v1::Parent>),
    V2(Arc<v2::Parent>),
}

impl Parent {
    /// Removes the group `name` from every hierarchy. Whether it is gone from all of them.
    pub(super) fn remove(&self, name: &str) -> io::Result<bool> {
        match self {
            Self::V2(parent) => parent.dir.remove(name),
            Self::V1(parent) => {
                let remove = |branch: &v1::Branch| branch.dir.remove(name);
                // All are tried before the first failure is looked at.
                let gone: Vec<_> = parent.used().map(remove).collect();
                gone.into_iter().try_fold(true, |all, one| Ok(all & one?))
            }
        }
    }
}

impl Hierarchy {
    /// Finds the control groups that this process can use, by making some: below `chosen`, a delegated
    /// directory of version 2, or where `/proc/self/cgroup` tells.
    ///
    /// Where it must, that is if this process sits in the very group of version 2 that it has to
    /// divide, it moves itself into a leaf, `fumehood-supervisor`.
    ///
    /// # Errors
    /// If there are none: the reason and the fix.
    pub(crate) fn find(chosen: Option<&Path>) -> Result<Self, Blocked> {
        let view = View::look()?;
        if let Some(path) = chosen {
            return view.find_at(path);
        }
        let unified = view.find_v2();
        match unified {
            Ok(found) if found.strength() == Resource::ALL.len() => Ok(found),
            other if view.has_v1() => prefer(other, view.find_v1()),
            other => other,
        }
    }

    /// By which files a resource is held, or why it is not.
    pub(crate) fn holds(&self, resource: Resource) -> Result<&str, &Blocked> {
        let (_, held) = self
            .holds
            .iter()
            .find(|(one, _)| *one == resource)
            .expect("every resource was entered when the hierarchy was found");
        held.as_ref().map(String::as_str)
    }

    fn strength(&self) -> usize {
        self.holds.iter().filter(|(_, held)| held.is_ok()).count()
    }

    /// A group with these limits: the one that was made to find out, if it is still there and in
    /// all the hierarchies that they need.
    ///
    /// # Errors
    /// As for [`Group::create`].
    pub(crate) fn group(&self, limits: &GroupLimits) -> io::Result<Group> {
        match self.take_spare().filter(|_| limits.cpus_milli.is_none()) {
            Some(mut spare) => spare.retarget(limits).map(|()| spare),
            None => Group::create(self, limits),
        }
    }

    /// The names of the hierarchies whose groups a process with these limits joins one by one; none
    /// with version 2, where it is born in its group.
    pub(crate) fn joined(&self, limits: &GroupLimits) -> Vec<String> {
        match &self.parent {
            Parent::V1(parent) => parent.joined(limits),
            Parent::V2(_) => Vec::new(),
        }
    }

    /// Takes the group that was made to find out away: who does not use it drops it.
    pub(crate) fn take_spare(&self) -> Option<Group> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn parent(&self) -> &Parent {
        &self.parent
    }

    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }
}

/// The one that holds more; version 2 if it makes no difference.
fn prefer(
    unified: Result<Hierarchy, Blocked>,
    legacy: Result<Hierarchy, Blocked>,
) -> Result<Hierarchy, Blocked> {
    match (unified, legacy) {
        (Ok(unified), Ok(legacy)) if legacy.strength() > unified.strength() => Ok(legacy),
        (Ok(found), _) | (Err(_), Ok(found)) => Ok(found),
        (Err(unified), Err(legacy)) => Err(Blocked {
            reason: format!("version 2: {}; version 1: {}", unified.reason, legacy.reason),
            fix: unified.fix.or(legacy.fix),
        }),
    }
}

/// What the kernel says about this process and its mounts.
struct View {
    memberships: Vec<Membership>,
    mounts: Vec<CgroupMount>,
    /// Whether each of them was looked at where it shows our group.
    is_usual: bool,
    around: Surroundings,
}

impl View {
    fn look() -> io::Result<Self> {
        let memberships = parse_memberships(&read_proc("/proc/self/cgroup")?);
        let usual = usual::mounts(&memberships);
        let is_usual = usual.is_some();
        let mounts = usual.map_or_else(mounts, Ok)?;
        Ok(Self { memberships, mounts, is_usual, around: Surroundings::look() })
    }

    fn own_v2(&self) -> Result<Place, Blocked> {
        let membership = self.memberships.iter().find(|one| one.version() == Version::V2);
        let shown = |mounts: &[CgroupMount]| places(membership?, mounts).into_iter().find(is_ours);
        shown(&self.mounts).or_else(|| shown(&mounts().ok()?)).ok_or_else(|| {
            let reason = "no mount shows the control group of this process";
            Blocked::new(reason, "mount -t cgroup2 none /sys/fs/cgroup")
        })
    }

    /// Where there is no hierarchy of version 1, nobody wants to read why it cannot be used.
    fn has_v1(&self) -> bool {
        self.memberships.iter().any(|one| one.version() == Version::V1)
    }

    fn find_v2(&self) -> Result<Hierarchy, Blocked> {
        self.require_unified()?;
        let own = self.own_v2()?;
        delegate::require_delegated(&own, self.around)?;
        let has_controllers = |dir: &Path| has_controllers(dir).unwrap_or(false);
        let base = delegate::base(&own, has_controllers);
        self.divide(&own, &base)
    }

    /// A controller that is mounted with version 1 cannot be used with version 2.
    fn require_unified(&self) -> Result<(), Blocked> {
        let legacy = |name: &&str| self.memberships.iter().any(|one| one.shares(&[(*name).into()]));
        let legacy: Vec<_> = delegate::CONTROLLERS.into_iter().filter(legacy).collect();
        if legacy.is_empty() {
            return Ok(());
        }
        Err(Blocked { reason: format!("{} belong to version 1", legacy.join(", ")), fix: None })
    }

    fn find_at(&self, path: &Path) -> Result<Hierarchy, Blocked> {
        let dir = path.canonicalize()?;
        let place = place_of_dir(&dir, &mounts()?).ok_or_else(|| {
            let reason = format!("{} is not in a version 2 hierarchy", path.display());
            Blocked { reason, fix: None }
        })?;
        let base = Spot { dir: place.dir.clone(), group: place.group.clone() };
        self.divide(&place, &base)
    }

    /// Prepares the group `base`, which the mount of `place` shows.
    fn divide(&self, place: &Place, base: &Spot) -> Result<Hierarchy, Blocked> {
        let dir = delegate::open(base, place, self.around)?;
        let controllers = delegate::enable(base, &dir, self.around)?;
        // Only now: enabling may have moved this process.
        delegate::require_common_ancestor(&Self::look()?.own_v2()?, base, self.around)?;
        let owner = Owner::current()?;
        janitor::engage([dir.as_fd()].into_iter(), &owner);
        let parent = Arc::new(v2::Parent { dir, group: base.group.clone(), controllers });
        let spare = try_together(&Parent::V2(Arc::clone(&parent)), &owner);
        let untried = if spare.is_some() { None } else { Some(&owner) };
        let holds = Resource::ALL.map(|one| (one, self.try_v2(one, &parent, untried))).into();
        let spare = Mutex::new(spare);
        Ok(Hierarchy { parent: Parent::V2(parent), owner, holds, spare })
    }

    fn try_v2(
        &self,
        resource: Resource,
        parent: &Arc<v2::Parent>,
        untried: Option<&Owner>,
    ) -> Result<String, Blocked> {
        let (controller, files) = match resource {
            Resource::Memory => ("memory", "memory.max with memory.swap.max = 0"),
            Resource::Pids => ("pids", "pids.max"),
            Resource::Cpus => ("cpu", "cpu.max"),
            Resource::CpuTime => ("", "cpu.stat"),
        };
        if !controller.is_empty() && !parent.controllers.iter().any(|name| name == controller) {
            let reason = format!("{controller} is not handed down to {}", parent.group);
            return Err(Blocked::new(reason, self.around.controllers()));
        }
        if let Some(owner) = untried {
            try_group(&Parent::V2(Arc::clone(parent)), owner, resource)?;
        }
        Ok(format!("cgroup v2 {files}"))
    }

    fn find_v1(&self) -> Result<Hierarchy, Blocked> {
        let branches: Vec<_> = self.memberships.iter().filter_map(|one| self.branch(one)).collect();
        if branches.is_empty() {
            return Err(Blocked::new("no hierarchy can be written to", advice::UNIFIED));
        }
        let owner = Owner::current()?;
        janitor::engage(branches.iter().map(|branch| branch.dir.as_fd()), &owner);
        let parent = Arc::new(v1::Parent { branches });
        let spare = try_together(&Parent::V1(Arc::clone(&parent)), &owner);
        let untried = if spare.is_some() { None } else { Some(&owner) };
        let holds = Resource::ALL.map(|one| (one, self.try_v1(one, &parent, untried))).into();
        let spare = Mutex::new(spare);
        Ok(Hierarchy { parent: Parent::V1(parent), owner, holds, spare })
    }

    fn branch(&self, membership: &Membership) -> Option<v1::Branch> {
        let controllers = Controller::among(&membership.controllers);
        if controllers.is_empty() {
            return None;
        }
        let mut places = places(membership, &self.mounts).into_iter();
        let place = places.find(|place| self.is_usual || is_version_1(place))?;
        let dir = Dir::open(&place.dir).ok()?;
        let may_make = place.writable && may_write(&place.dir);
        may_make.then_some(v1::Branch { controllers, dir, group: place.group })
    }

    fn try_v1(
        &self,
        resource: Resource,
        parent: &Arc<v1::Parent>,
        untried: Option<&Owner>,
    ) -> Result<String, Blocked> {
        let (controller, files) = match resource {
            Resource::Memory => (Controller::Memory, "memory.limit_in_bytes, swap included"),
            Resource::Pids => (Controller::Pids, "pids.max"),
            Resource::CpuTime => (Controller::Cpuacct, "cpuacct.usage"),
            Resource::Cpus => (Controller::Cpu, "cpu.cfs_quota_us"),
        };
        if parent.branch(controller).is_none() {
            return Err(self.no_branch(controller));
        }
        if let Some(owner) = untried {
            try_group(&Parent::V1(Arc::clone(parent)), owner, resource)?;
        }
        Ok(format!("cgroup v1 {files}"))
    }

    fn no_branch(&self, controller: Controller) -> Blocked {
        let name = controller.name();
        let names = [name.to_owned()];
        if !self.memberships.iter().any(|one| one.shares(&names)) {
            let fix = (controller == Controller::Memory).then(|| advice::MEMORY_CONTROLLER.into());
            return Blocked { reason: format!("this kernel has no {name} controller"), fix };
        }
        if !self.mounts.iter().any(|mount| mount.options.contains(&names[0])) {
            let fix = format!("mount -t cgroup -o {name} none /sys/fs/cgroup/{name}");
            return Blocked::new(format!("the {name} hierarchy is not mounted"), fix);
        }
        Blocked::new(format!("the {name} hierarchy cannot be written to"), advice::UNIFIED)
    }
}

/// The control group mounts of this process.
pub(super) fn mounts() -> io::Result<Vec<CgroupMount>> {
    Ok(parse_mounts(&read_proc("/proc/self/mountinfo")?))
}

/// Whether a directory really is our group: another mount may lie over it.
fn is_ours(place: &Place) -> bool {
    let procs = Dir::open(&place.dir).and_then(|dir| dir.read("cgroup.procs"));
    procs.is_ok_and(|text| parse_procs(&text).pids.contains(&rustix::process::getpid()))
}

/// Whether a directory is of a hierarchy of version 1: another mount may lie over it. Whether it is
/// that of our own group is not asked, since listing the members of a large group takes long; that a
/// cell gets into its group is asserted for every cell anyway.
fn is_version_1(place: &Place) -> bool {
    rustix::fs::statfs(&place.dir)
        .is_ok_and(|stat| stat.f_type.cast_unsigned() == usual::CGROUP_SUPER_MAGIC)
}

fn may_write(dir: &Path) -> bool {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(rustix::fs::CWD, dir, access, AtFlags::EACCESS).is_ok()
}

fn has_controllers(dir: &Path) -> io::Result<bool> {
    let names = Dir::open(dir)?.read("cgroup.controllers")?;
    Ok(names.split_ascii_whitespace().any(|name| delegate::CONTROLLERS.contains(&name)))
}

/// Makes a group with limits on memory and processes that counts CPU time: if that works, each of
/// the three works.
///
/// The share of CPUs is not tried. It is found in place or not, and written and read back when a
/// cell asks for it; the first group with a share makes the kernel patch its own code, which can
/// take milliseconds.
fn try_together(parent: &Parent, owner: &Owner) -> Option<Group> {
    // Those of a job that says nothing, so that its cell can have the group as it is.
    let limits = GroupLimits {
        memory: Limits::MEMORY.finite().map(|size| size.0),
        pids: Limits::PIDS.finite().map(|pids| pids + 1),
        cpus_milli: None,
        account: true,
        as_one: !leaves_out("as-one"),
    };
    let group = Group::create_named(parent, owner.name(), &limits).ok()?;
    group.cpu_total_us().ok().flatten().map(|_| group)
}

/// Makes a group with a limit on this resource and removes it again.
fn try_group(parent: &Parent, owner: &Owner, resource: Resource) -> Result<(), Blocked> {
    let mut limits = GroupLimits::default();
    match resource {
        Resource::Memory => limits.memory = Some(64 << 20),
        Resource::Pids => limits.pids = Some(16),
        Resource::Cpus => limits.cpus_milli = Some(500),
        Resource::CpuTime => limits.account = true,
    }
    let group =
        Group::create_named(parent, owner.name(), &limits).map_err(|error| blocked_by(&error))?;
    if resource == Resource::CpuTime {
        group.cpu_total_us()?.ok_or_else(|| io::Error::other("no CPU time is counted"))?;
    }
    Ok(())
}

fn blocked_by(error: &io::Error) -> Blocked {
    let is_swap = error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<SwapOn>);
    Blocked { reason: error.to_string(), fix: is_swap.then(|| advice::SWAP.to_owned()) }
}

/// A limit of memory without a limit of swap is none while there is swap.
pub(super) fn require_swap_off(group: &Path) -> io::Result<()> {
    if has_swap(&fs::read_to_string("/proc/swaps").unwrap_or_default()) {
        return Err(io::Error::other(SwapOn(group.display().to_string())));
    }
    Ok(())
}

/// Whether `/proc/swaps` lists any, below its heading.
fn has_swap(swaps: &str) -> bool {
    swaps.lines().count() > 1
}

#[derive(Debug, thiserror::Error)]
#[error("{0} has no limit on swap, and swap is on")]
struct SwapOn(String);

#[cfg(test)]
mod tests {
    use super::has_swap;

    #[test]
    fn the_heading_is_no_swap() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!has_swap(heading));
        assert!(has_swap(&format!("{heading}/swap.img file 2097148 0 -2\n")));
    }
}
