//! The order of confinement, in one place.
//!
//! Each list is written in the order in which the child does it. What must come before what, and
//! why, stands beside the steps; the order is held by a test.

use std::os::unix::ffi::OsStrExt;

use fumehood_child::Step;
use fumehood_child::step::Strings;
use linux_raw_sys::general as nr;

use super::launch;
use super::tree::{Join, Joins};
use super::trees::Trees;
use crate::Result;
use crate::env::Environment;
use crate::plan::layout::{Entry, inside};
use crate::plan::{Identity, Plan};
use crate::policy::seccomp::{self, Arch};
use crate::sabotage::{leaves_out, leaves_something_out};

mod entries;
mod fence;
mod layers;
mod list;
mod rlimits;
mod shared;
mod tool;

use entries::{attach_tree, bind, bind_tree, not_prepared, place, tmpfs};
use fence::fence;
use layers::Layers;
pub(crate) use list::Script;
use list::{append, c_string};
pub(crate) use rlimits::{NO_CORE, own_tasks};
use rlimits::{no_core, rlimits};
pub(crate) use shared::{Split, rest, template};
pub(crate) use tool::{Hidden, Home, Scratch, Shown, Tool, home, tool};

const READ_ONLY: u32 = nr::MOUNT_ATTR_RDONLY | nr::MOUNT_ATTR_NOSUID | nr::MOUNT_ATTR_NODEV;
const SCRATCH: u32 = nr::MOUNT_ATTR_NOSUID | nr::MOUNT_ATTR_NODEV;
const QUIET: u32 = nr::MOUNT_ATTR_NOSUID | nr::MOUNT_ATTR_NODEV | nr::MOUNT_ATTR_NOEXEC;

/// The steps of the cell, done by its init before there is a program. `trees` are mounts that the
/// supervisor cloned because only it may, by index of their entry in the root.
pub(crate) fn cell(plan: &Plan, joins: Joins, trees: Trees) -> Result<Script> {
    if let Some(opening) = opening(plan, trees)? {
        return closing(opening, plan, joins);
    }
    let mut script = Script::default();
    script.push(&Step::NoRealTime {});
    join_and_check(&mut script, joins);
    script.push(&Step::NonDumpable {});
    // Without a process namespace it must outlive its supervisor until it has killed what it
    // watches over.
    script.push(&Step::Subreaper {});
    fence(&mut script, plan)?;
    no_core(&mut script);
    drop_privileges_on_the_host(&mut script, plan.identity);
    Ok(script)
}

/// The first steps of a cell: all that make its root. They follow from what is shown in it, so they can be
/// done while it is found out where guarantees will stand, and groups are made. None without a root of
/// its own.
pub(crate) fn opening(plan: &Plan, trees: Trees) -> Result<Option<Script>> {
    let Some(mut script) = unasked(plan)? else { return Ok(None) };
    build_root(&mut script, plan, trees)?;
    Ok(Some(script))
}

/// The first of them, which take nothing but paths that everybody can reach: what every root has. What a
/// job lists [follows](listed).
pub(crate) fn ground(plan: &Plan) -> Result<Option<Script>> {
    let Some(mut script) = unasked(plan)? else { return Ok(None) };
    name_host(&mut script, plan);
    let ground = plan.root.iter().take(plan.listed_from);
    ground.into_iter().try_for_each(|entry| place(&mut script, entry, true))?;
    Ok(Some(script))
}

/// The steps of a root that come after those of its [`ground`].
pub(crate) fn listed(mut script: Script, plan: &Plan, trees: Trees) -> Result<Script> {
    place_all(&mut script, plan, plan.listed_from, None, trees)?;
    finish_root(&mut script, plan);
    Ok(script)
}

/// What an init does before it is told anything, by name only.
fn unasked(plan: &Plan) -> Result<Option<Script>> {
    let Some(prelude) = launch::prelude(plan) else { return Ok(None) };
    let mut script = Script::default();
    prelude.steps().iter().flatten().for_each(|step| script.push(step));
    if !leaves_something_out() {
        // The init does these unasked.
        script.bytes.clear();
    }
    if !plan.root.contains(&Entry::Proc) {
        limit_user(&mut script, "/proc/")?;
    }
    Ok(Some(script))
}

/// The steps of a cell that come after those of its root.
pub(crate) fn closing(mut script: Script, plan: &Plan, joins: Joins) -> Result<Script> {
    join_and_check(&mut script, joins);
    // Its root becomes the group that the init is in now.
    script.push(&Step::CgroupNamespace {});
    confine(&mut script, plan)?;
    Ok(script)
}

/// The last steps of a cell with a root of its own.
fn confine(script: &mut Script, plan: &Plan) -> Result<()> {
    if plan.share_root {
        script.push(&Step::ShareRoot {});
    }
    // Landlock looks up its paths in the root that the program will have.
    fence(script, plan)?;
    no_core(script);
    drop_privileges(script);
    if is_filtered_ahead(plan) {
        filter(script, plan);
    }
    Ok(())
}

/// The init, which has a `/proc` of its own by now, or the host's, finds out that it is there: a
/// supervisor that did would have to wait until it is, and the init for the answer.
fn join_and_check(script: &mut Script, joins: Joins) {
    let count = u32::try_from(joins.groups.len()).unwrap_or(u32::MAX);
    join(script, joins.groups);
    if count > 0 {
        script.push(&Step::CheckCgroup { name: joins.name.as_bytes(), count });
    }
}

/// Before there is anything that a program could make grow.
fn join(script: &mut Script, groups: Vec<Join>) {
    let first = u32::try_from(script.fds.len()).unwrap_or(u32::MAX);
    for (fd, group) in (first..).zip(groups) {
        script.push_for(&Step::JoinCgroup { fd }, group.name);
        script.fds.extend(group.file);
    }
}

/// What the kernel counts per user it also charges to whoever made the namespace: one cell could
/// take all that root, or the caller, has on the host.
fn limit_user(script: &mut Script, proc: &str) -> Result<()> {
    for (name, value) in [("max_inotify_instances", "8"), ("max_inotify_watches", "8192")] {
        let path = c_string(format!("{proc}sys/user/{name}").as_bytes())?;
        script.push_for(&Step::UserLimit { path: &path, value: value.as_bytes() }, name);
    }
    Ok(())
}

fn build_root(script: &mut Script, plan: &Plan, trees: Trees) -> Result<()> {
    name_host(script, plan);
    let mut layers = Layers::prepare(script, plan)?;
    place_all(script, plan, 0, layers.as_mut(), trees)?;
    if layers.is_some() {
        Layers::hide(script)?;
    }
    finish_root(script, plan);
    Ok(())
}

fn name_host(script: &mut Script, plan: &Plan) {
    script.push(&Step::Hostname { name: plan.job.hostname.as_bytes() });
}

/// Puts all entries in their places, from one on.
fn place_all(
    script: &mut Script,
    plan: &Plan,
    from: usize,
    mut layers: Option<&mut Layers>,
    trees: Trees,
) -> Result<()> {
    let mut kept = trees.layers.into_iter().peekable();
    let mut trees = trees.sources.into_iter().peekable();
    for (index, entry) in plan.root.iter().enumerate().skip(from) {
        let tree = trees.next_if(|(at, _)| *at == index).map(|(_, tree)| tree);
        match (entry, &mut layers) {
            (Entry::Cow { .. }, Some(layers)) => {
                let layer = kept.next_if(|(at, _)| *at == index).map(|(_, layer)| layer);
                layers.mount(script, entry, tree, layer)?;
            }
            _ => match tree {
                Some(tree) => attach_tree(script, entry, tree)?,
                None => place(script, entry, index < plan.listed_from)?,
            },
        }
    }
    Ok(())
}

fn finish_root(script: &mut Script, plan: &Plan) {
    // Last among the mounts: everything above still had to make its mount points.
    script.push(&Step::SealRoot {});
    join_network(script, plan);
    // After /proc, which the kernel only lets us mount while the host's is in sight.
    script.push(&Step::Pivot {});
}

/// Whoever makes the network meanwhile has this long. To detach the host's root the kernel waits until no
/// processor is in it any more, which is longer than to wait for the helper.
fn join_network(script: &mut Script, plan: &Plan) {
    if plan.namespaces.net && !leaves_out("net") {
        script.push(&Step::JoinNetwork {});
    }
}

/// Inside a user namespace: the init itself needs no capability any more, so that it, too, has
/// none while it watches over hostile code.
fn drop_privileges(script: &mut Script) {
    // Emptying the bounding set takes CAP_SETPCAP, so it comes before the capabilities go.
    script.push(&Step::BoundingSet {});
    script.push(&Step::DropCapabilities {});
    script.push(&Step::NoNewPrivs {});
}

/// Without a user namespace: root becomes nobody for good; a user has nothing to drop. Root of a
/// user namespace without a nobody stays: under `no_new_privs` no execution gives back what it drops.
fn drop_privileges_on_the_host(script: &mut Script, identity: Identity) {
    if identity.by_root {
        script.push(&Step::BoundingSet {});
        let (uid, gid) = (identity.uid, identity.gid);
        script.push(&Step::SetIds { uid, gid, clear_groups: true });
    }
    script.push(&Step::DropCapabilities {});
    script.push(&Step::NoNewPrivs {});
}

/// Whether the filter belongs to the cell. Installing it takes as long as all other steps of a program
/// together, so the shipped one, under which an init can do whatever it still has to, is installed
/// before there is a program to wait for it. Any other might not let the init work.
fn is_filtered_ahead(plan: &Plan) -> bool {
    plan.namespaces.base && plan.filter.as_ref().is_some_and(|filter| filter.is_shipped)
}

fn filter(script: &mut Script, plan: &Plan) {
    let Some(filter) = &plan.filter else { return };
    let instructions = filter.program.to_bytes();
    let asking = asking(plan).map(|asking| asking.to_bytes()).unwrap_or_default();
    let flags = filter.program.flags();
    let timed =
        Arch::host().is_some_and(|arch| filter.program.always_allows(arch, "clock_gettime"));
    script.push(&Step::Filter { instructions: &instructions, asking: &asking, flags, timed });
}

/// A terminal for the program, by its size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TerminalSize {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// The steps of the program, done in the process that becomes it.
pub(crate) fn program(plan: &Plan, terminal: Option<TerminalSize>) -> Result<Script> {
    let mut script = before_execution(plan, terminal)?;
    let candidates = plan.candidates.iter().map(|path| path.as_os_str().as_bytes());
    execution(&mut script, &plan.job.args, candidates, &variables(&plan.env)?)?;
    Ok(script)
}

/// Those of them that come before its execution.
pub(crate) fn before_execution(plan: &Plan, terminal: Option<TerminalSize>) -> Result<Script> {
    let mut script = Script::default();
    if let Some(TerminalSize { rows, columns }) = terminal {
        script.push(&Step::Terminal { rows: rows.into(), columns: columns.into() });
    }
    script.push(&Step::Stdio {});
    script.push(&Step::Session {});
    if !plan.namespaces.pid {
        // No namespace ends with the init, so at least the program does.
        script.push(&Step::DieWithParent {});
    }
    if terminal.is_some() {
        // Only a session leader without a terminal can take one.
        script.push(&Step::ControllingTty {});
    }
    script.push(&Step::UnblockSignals {});
    script.push(&Step::Umask { mask: 0o022 });
    let cwd = c_string(plan.job.cwd.as_os_str().as_bytes())?;
    script.push_for(&Step::Chdir { path: &cwd }, &plan.job.cwd);
    // The init, which has to pass signals on and to kill, keeps its place before the program.
    script.push(&Step::Nice { value: nice() });
    rlimits(&mut script, plan);
    if plan.fence.is_some() {
        script.push(&Step::RestrictSelf {});
    }
    // What is still to come may come over a socket.
    script.end_ahead();
    // After the ruleset, the last descriptor of ours that is used.
    script.push(&Step::CloseFds {});
    // Last: from here on the filter judges our own calls, too.
    if !is_filtered_ahead(plan) {
        filter(&mut script, plan);
    }
    Ok(script)
}

/// Whether a program of this plan can be begun before it is known: it has to listen for the rest of its steps,
/// which no filter of the job's may keep it from.
pub(crate) fn can_be_primed(plan: &Plan) -> bool {
    is_filtered_ahead(plan)
}

/// The filter in the form that asks where it kills, so that the init learns for which call. Without
/// a process namespace the init could not kill everyone before somebody is back from the call, and
/// its own end would let all calls fail instead of killing for them: there the filter kills.
pub(crate) fn asking(plan: &Plan) -> Option<seccomp::Program> {
    let filter = plan.filter.as_ref().filter(|_| plan.namespaces.pid && !leaves_out("denial"))?;
    filter.program.asking()
}

/// The program gives way to whoever is not as nice: a crowd of processes would otherwise keep
/// supervisors waiting, their own and others'. On a machine with time to spare it costs nothing.
fn nice() -> u32 {
    const GIVES_WAY: i32 = 10;
    const NICEST: i32 = 19;
    let own = rustix::process::getpriority_process(None).unwrap_or(0);
    (own + GIVES_WAY).clamp(0, NICEST).unsigned_abs()
}

/// The last step of a program, with its [`variables`].
pub(crate) fn execution<'a>(
    script: &mut Script,
    args: &[String],
    candidates: impl IntoIterator<Item = &'a [u8]>,
    variables: &[u8],
) -> Result<()> {
    let mut paths = Vec::with_capacity(256);
    candidates.into_iter().try_for_each(|path| append(&mut paths, path))?;
    let mut words = Vec::with_capacity(256);
    args.iter().try_for_each(|argument| append(&mut words, argument.as_bytes()))?;
    let step = Step::Exec {
        candidates: Strings::new(&paths),
        args: Strings::new(&words),
        env: Strings::new(variables),
    };
    script.push_for(&step, args.first().map_or("", String::as_str));
    Ok(())
}

/// An environment as a program gets it.
pub(crate) fn variables(env: &Environment) -> Result<Vec<u8>> {
    let mut variables = Vec::new();
    for (name, value) in env.iter() {
        append(&mut variables, &[name.as_bytes(), b"=", value.as_bytes()].concat())?;
    }
    Ok(variables)
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
