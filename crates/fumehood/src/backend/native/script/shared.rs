//! The steps of a cell in two parts: what a template does once for all cells of a kind, and what is
//! left for each of them. Together they are the steps of a cell that is built in one go.

use std::path::{Path, PathBuf};

use fumehood_child::Step;
use fumehood_child::prelude::Prelude;

use super::super::launch;
use super::super::tree::Join;
use super::super::trees::Trees;
use super::{QUIET, Script, attach_tree, confine, join_network, place};
use crate::Result;
use crate::plan::Plan;
use crate::plan::layout::Entry;

/// Which entries of the root cells of a kind share: found out once for all of them.
#[derive(Debug)]
pub(crate) struct Split(Vec<bool>);

impl Split {
    /// That of the cells of a plan. None if one cannot be made of two parts: what is shown of the host has
    /// to be taken from there before the host is out of sight, and so cannot lie below a file system of
    /// the cell's own.
    pub(crate) fn of(plan: &Plan) -> Option<Self> {
        shared(plan).map(Self)
    }

    fn shares(&self, index: usize) -> bool {
        self.0.get(index) == Some(&true)
    }
}

/// Whatever nobody can write to or is shown about himself.
fn shared(plan: &Plan) -> Option<Vec<bool>> {
    let mut own: Vec<PathBuf> = Vec::new();
    let below_own = |own: &[PathBuf], path: &Path| own.iter().any(|mount| path.starts_with(mount));
    let shares = |entry: &Entry| {
        Some(match entry {
            Entry::Tmpfs { target, .. } => {
                own.push(target.clone());
                false
            }
            Entry::Proc => {
                own.push("/proc".into());
                false
            }
            Entry::Devpts => {
                own.push("/dev/pts".into());
                false
            }
            Entry::Mask { .. } => false,
            Entry::Dir { path, .. } | Entry::Link { path, .. } | Entry::File { path, .. } => {
                !below_own(&own, path)
            }
            Entry::Bind { target: path, .. } | Entry::Device { path } => {
                if below_own(&own, path) {
                    return None;
                }
                true
            }
            Entry::Cow { .. } | Entry::Cover { .. } => return None,
        })
    };
    plan.root.iter().map(shares).collect()
}

/// The steps of a template. `trees` are as for [`cell`](super::cell).
pub(crate) fn template(plan: &Plan, split: &Split, trees: Trees) -> Result<Script> {
    let mut script = Script::default();
    unasked(&mut script, launch::prelude(plan));
    let mut trees = trees.sources.into_iter().peekable();
    for (index, entry) in plan.root.iter().enumerate() {
        let tree = trees.next_if(|(at, _)| *at == index).map(|(_, tree)| tree);
        if !split.shares(index) {
            continue;
        }
        match tree {
            Some(tree) => attach_tree(&mut script, entry, tree)?,
            None => place(&mut script, entry, index < plan.listed_from)?,
        }
    }
    // The kernel lets a user namespace mount /proc only where one is in sight.
    script.push(&Step::ProcOfNobody {});
    script.push_for(&Step::ShowProc { target: c"proc", attributes: u64::from(QUIET) }, "/proc");
    script.push(&Step::SealRoot {});
    script.push(&Step::Pivot {});
    join_network(&mut script, plan);
    Ok(script)
}

/// The steps of a cell in a template, which joins these groups, without their descriptors. They depend
/// on nothing that cells of a kind differ in.
pub(crate) fn rest(plan: &Plan, split: &Split, groups: &[Join]) -> Result<Script> {
    let mut script = Script::default();
    unasked(&mut script, launch::prelude_in_template(plan));
    for (fd, group) in (0..).zip(groups) {
        script.push_for(&Step::JoinCgroup { fd }, &group.name);
    }
    script.push(&Step::CgroupNamespace {});
    script.push(&Step::Hostname { name: plan.job.hostname.as_bytes() });
    for (index, entry) in plan.root.iter().enumerate() {
        if !split.shares(index) {
            place(&mut script, entry, index < plan.listed_from)?;
        }
    }
    confine(&mut script, plan)?;
    Ok(script)
}

/// Steps that an init does by itself: only named here.
fn unasked(script: &mut Script, prelude: Option<Prelude>) {
    prelude.iter().flat_map(Prelude::steps).flatten().for_each(|step| script.push(&step));
    script.bytes.clear();
}
