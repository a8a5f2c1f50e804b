//! Mounts that only the supervisor can clone.

use std::os::fd::OwnedFd;

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::plan::Plan;
use crate::plan::layout::Entry;
use crate::{Error, Result};

/// Clones the mounts that the job listed, by index of their entry in the root.
///
/// The init of a sandbox that root starts is nobody, and cannot reach a directory that is closed to
/// everyone but its owner. Root can, so it clones the mount itself and passes the descriptor on.
/// An ordinary user's init is the same user and opens the path itself.
pub(crate) fn clone_listed(plan: &Plan) -> Result<Vec<(usize, OwnedFd)>> {
    if !plan.identity.by_root || !plan.namespaces.base {
        return Ok(Vec::new());
    }
    let listed = plan.root.iter().enumerate().filter_map(|(index, entry)| match entry {
        Entry::Bind { source, target, .. } => {
            let asked = plan.job.mounts.iter().any(|mount| mount.target == *target);
            let of_root = plan.root_dir.as_ref().is_some_and(|dir| source.starts_with(dir));
            (asked || of_root).then_some((index, source))
        }
        _ => None,
    });
    let cloned = listed.map(|(index, source)| Ok(clone(source)?.map(|tree| (index, tree))));
    cloned.filter_map(Result::transpose).collect()
}

/// None where this root may not clone mounts, as in a container: its init opens the path then, and
/// can unless the path is closed to nobody.
fn clone(source: &std::path::Path) -> Result<Option<OwnedFd>> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    match open_tree(CWD, source, flags) {
        Ok(tree) => Ok(Some(tree)),
        Err(rustix::io::Errno::PERM) => Ok(None),
        Err(error) => {
            Err(Error::internal(format!("clone the mount of {}", source.display()), error))
        }
    }
}
