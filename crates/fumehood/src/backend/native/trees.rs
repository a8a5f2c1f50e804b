//! Mounts that only the supervisor can clone.

use std::os::fd::OwnedFd;

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::host::Host;
use crate::plan::Plan;
use crate::plan::layout::Entry;
use crate::{Error, Result};

/// Clones the mounts that the job listed, by index of their entry in the root.
///
/// The init of a sandbox that root starts is nobody, and cannot reach a directory that is closed to
/// everyone but its owner. Root can, so it clones the mount itself and passes the descriptor on.
/// An ordinary user's init is the same user and opens the path itself.
pub(crate) fn clone_listed(plan: &Plan) -> Result<Vec<(usize, OwnedFd)>> {
    if !Host::current().can_be_nobody || !plan.namespaces.base {
        return Ok(Vec::new());
    }
    let listed = plan.root.iter().enumerate().filter_map(|(index, entry)| match entry {
        Entry::Bind { source, target, .. } => {
            let asked = plan.job.mounts.iter().any(|mount| mount.target == *target);
            asked.then_some((index, source))
        }
        _ => None,
    });
    listed.map(|(index, source)| Ok((index, clone(source)?))).collect()
}

fn clone(source: &std::path::Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, source, flags)
        .map_err(|error| Error::internal(format!("clone the mount of {}", source.display()), error))
}
