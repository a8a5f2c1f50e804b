//! The control group of a cell: which limits it holds, and how the cell's init gets into it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::process::Pid;

use super::cgroup::{Blocked, CGROUP2_SUPER_MAGIC, Entry, Group, GroupLimits, Hierarchy, Resource};
use super::script;
use crate::plan::Plan;
use crate::sabotage::leaves_out;
use crate::{Error, Result};

/// Environment variable that names a delegated directory of version 2, where the one that this
/// process is in must not be used.
const CHOSEN: &str = "FUMEHOOD_CGROUP";

/// No kernel has more processes (`PID_MAX_LIMIT`, `proc(5)`), and `pids.max` takes no larger number.
pub(crate) const MOST_PIDS: u64 = 4 << 20;

/// The control groups that this process can use, found by trying, once.
pub(crate) fn hierarchy() -> &'static Result<Hierarchy, Blocked> {
    static FOUND: OnceLock<Result<Hierarchy, Blocked>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let chosen = std::env::var_os(CHOSEN);
        Hierarchy::find(chosen.as_deref().map(Path::new))
    })
}

/// Whether inits may be born in their groups, which have to be there first, as it is with version 2.
/// A quick look: whoever wants to know for certain makes a group.
pub(crate) fn may_bear_inits() -> bool {
    let is_v2 = || {
        let there = rustix::fs::statfs("/sys/fs/cgroup");
        there.is_ok_and(|stat| stat.f_type.cast_unsigned() == CGROUP2_SUPER_MAGIC)
    };
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| std::env::var_os(CHOSEN).is_some() || is_v2())
}

/// By which file a resource is limited for a whole tree, or why it is not.
pub(crate) fn holds(resource: Resource) -> Result<&'static str, &'static Blocked> {
    hierarchy().as_ref()?.holds(resource)
}

/// Removes the group that was made to find out what can be limited, unless a cell has got it. For
/// where no cell follows: a group that is kept lives on after this process.
pub(crate) fn release_spare() {
    if let Ok(hierarchy) = hierarchy() {
        drop(hierarchy.take_spare());
    }
}

/// The group of a cell, if this process can make one.
pub(crate) fn group(plan: &Plan) -> Result<Option<Group>> {
    let Ok(hierarchy) = hierarchy() else { return Ok(None) };
    let group = hierarchy.group(&limits(plan));
    group.map(Some).map_err(|error| Error::internal("make a control group", error))
}

/// Makes a group in which something ran as good as new.
pub(crate) fn reset(group: &mut Group, plan: &Plan) -> std::io::Result<()> {
    let limits = limits(plan);
    if limits.cpus_milli.is_some() {
        // It may lack the hierarchy that this takes.
        return Err(std::io::ErrorKind::Unsupported.into());
    }
    group.reset(&limits)
}

fn limits(plan: &Plan) -> GroupLimits {
    let limits = &plan.job.limits;
    let held = |resource| holds(resource).is_ok();
    let cpus = limits.cpus().finite().filter(|_| held(Resource::Cpus));
    GroupLimits {
        memory: limits.memory().finite().filter(|_| held(Resource::Memory)).map(|size| size.0),
        // The init of the cell is a member, too.
        pids: limits
            .pids()
            .finite()
            .filter(|_| held(Resource::Pids))
            .map(|pids| pids.saturating_add(script::own_tasks(plan)).min(MOST_PIDS)),
        cpus_milli: cpus.map(|cpus| cpus.milli),
        account: true,
        as_one: !leaves_out("as-one"),
    }
}

/// How an init gets into its group.
#[derive(Debug, Default)]
pub(crate) struct Way<'a> {
    /// It is born there.
    pub(crate) born: Option<BorrowedFd<'a>>,
    pub(crate) joins: Joins,
}

/// What an init joins by itself.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    /// It writes to these before there is a program.
    pub(crate) groups: Vec<Join>,
    /// What the group is called in each of them, and no other is. Empty where none was made.
    pub(crate) name: String,
}

/// A group that an init joins.
#[derive(Debug)]
pub(crate) struct Join {
    /// The names of its controllers.
    pub(crate) name: String,
    /// Where to write; none where it is only said.
    pub(crate) file: Option<OwnedFd>,
}

pub(crate) fn way(group: Option<&Group>) -> Result<Way<'_>> {
    let Some(group) = group else { return Ok(Way::default()) };
    let entry = group.entry().map_err(|error| Error::internal("open a control group", error))?;
    Ok(match entry {
        Entry::Clone(born) => Way { born: Some(born), joins: Joins::default() },
        Entry::Join(files) => {
            let groups = files.into_iter().map(|(name, file)| Join { name, file: Some(file) });
            let joins = Joins { groups: groups.collect(), name: group.name().to_owned() };
            Way { born: None, joins }
        }
    })
}

/// The groups that the init of a plan joins, without making any.
pub(crate) fn joined(plan: &Plan) -> Joins {
    let Ok(hierarchy) = hierarchy() else { return Joins::default() };
    let names = hierarchy.joined(&limits(plan));
    let groups = names.into_iter().map(|name| Join { name, file: None }).collect();
    Joins { groups, name: String::new() }
}

/// Whether an init is where its limits are.
pub(crate) fn is_member(group: &Group, init: i32) -> Result<bool> {
    let pid = Pid::from_raw(init).ok_or_else(elsewhere)?;
    group.contains(pid).map_err(|error| Error::internal(FINDING, error))
}

const FINDING: &str = "find the init in its control group";

/// The error for an init that is in another group than its own.
pub(crate) fn elsewhere() -> Error {
    Error::internal(FINDING, std::io::Error::other("it is in another one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Job;

    #[test]
    fn a_group_can_be_made_for_the_largest_limits() {
        let job = Job::new(["true"]).limits(|limits| limits.pids = Some(MOST_PIDS.into()));
        let plan = Plan::new(&job).unwrap();
        assert!(limits(&plan).pids.is_none_or(|pids| pids == MOST_PIDS));
        drop(group(&plan).unwrap());
    }
}
