//! Mounts that only the supervisor can clone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use fumehood_child::{Fd, sys};
use rustix::fs::{CWD, fstat};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::launch::Launcher;
use crate::job::Access;
use crate::plan::layout::Entry;
use crate::plan::mounts::shown;
use crate::plan::{Identity, Plan};
use crate::sabotage::leaves_out;
use crate::workspace::changes::Base;
use crate::{Error, MountNote, MountNoteKind, Result};

/// Mounts, by index of their entry in the root.
///
/// The init of a sandbox that root starts is nobody, and cannot reach a directory that is closed to
/// everyone but its owner. Root can, so it clones the mount itself and passes the descriptor on.
/// An ordinary user's init is the same user and opens the path itself.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    pub(super) sources: Vec<(usize, OwnedFd)>,
    /// Directories that keep the changes to copy-on-write mounts.
    pub(super) layers: Vec<(usize, OwnedFd)>,
}

impl Trees {
    /// Clones the mounts that the job listed.
    pub(crate) fn clone_listed(plan: &Plan) -> Result<Self> {
        Ok(Self { sources: listed(plan)?, layers: Vec::new() })
    }

    /// Clones the mounts of the directories that keep changes.
    pub(super) fn clone_layers(&mut self, plan: &Plan, base: Option<&Base>) -> Result<()> {
        if !plan.identity.by_root || !plan.namespaces.base {
            return Ok(());
        }
        let cow = plan.root.iter().enumerate();
        let cow = cow.filter(|(_, entry)| matches!(entry, Entry::Cow { .. }));
        let kept = base.into_iter().flat_map(Base::layers);
        for ((index, _), layer) in cow.zip(kept) {
            let Some(layer) = layer else { continue };
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            let tree = open_tree(layer, c"", flags)
                .map_err(|errno| Error::internal("clone the mount of a layer", errno))?;
            part(&tree).map_err(|error| Error::internal("clone the mount of a layer", error))?;
            self.layers.push((index, tree));
        }
        Ok(())
    }

    /// Has the program be the owner of what belongs to the owner of the source, in mounts that ask
    /// for it: they show those files as the program's, and what the program makes is the owner's on
    /// the host. Which of them could not, and why.
    ///
    /// A mount is mapped for two ids only, so the rights on everybody else's files stay as they are.
    /// Only who mounted a file system can map it, which is root for whatever is worth it
    /// (`mount_setattr(2)`).
    pub(super) async fn give_to_program(
        &self,
        plan: &Plan,
        launcher: &Launcher,
    ) -> Result<Vec<MountNote>> {
        let mut notes = Vec::new();
        if !plan.identity.by_root || !plan.namespaces.base || leaves_out("as-owner") {
            return Ok(notes);
        }
        for (index, entry) in plan.root.iter().enumerate().skip(plan.listed_from) {
            let Some((source, target, writable)) = asks(entry) else { continue };
            let tree = self.sources.iter().find(|(at, _)| *at == index).map(|(_, tree)| tree);
            if let Err(why) = map(plan.identity, launcher, source, tree, writable).await? {
                let text = format!(
                    "{} cannot be shown as the program's own ({why}): the program has the rights of \
                     user {} on the host",
                    shown(source),
                    plan.identity.host_uid
                );
                notes.push(MountNote::new(target, MountNoteKind::NotAsOwner, text));
            }
        }
        Ok(notes)
    }
}

fn listed(plan: &Plan) -> Result<Vec<(usize, OwnedFd)>> {
    if !plan.identity.by_root || !plan.namespaces.base {
        return Ok(Vec::new());
    }
    let of_root = |source: &Path| plan.root_dir.as_ref().is_some_and(|dir| source.starts_with(dir));
    let listed = plan.root.iter().enumerate().filter_map(|(index, entry)| match entry {
        Entry::Bind { source, .. } | Entry::Cow { source, .. } => {
            (index >= plan.listed_from || of_root(source)).then_some((index, source))
        }
        _ => None,
    });
    let cloned = listed.map(|(index, source)| Ok(clone(source)?.map(|tree| (index, tree))));
    cloned.filter_map(Result::transpose).collect()
}

/// None where this root may not clone mounts, as in a container: its init opens the path then, and
/// can unless the path is closed to nobody.
fn clone(source: &Path) -> Result<Option<OwnedFd>> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let failed = |error| Error::internal(format!("clone the mount of {}", source.display()), error);
    match open_tree(CWD, source, flags) {
        Ok(tree) => part(&tree).map(|()| Some(tree)).map_err(failed),
        Err(rustix::io::Errno::PERM) => Ok(None),
        Err(error) => Err(failed(error.into())),
    }
}

/// A clone belongs to the peers of the mount that it was made of. Where those are shared, as systemd has
/// them, what a cell mounts on it would appear on the host, and what the host mounts there in the cell.
fn part(tree: &OwnedFd) -> io::Result<()> {
    if leaves_out("private-trees") {
        return Ok(());
    }
    let parted = sys::make_private(Fd(tree.as_raw_fd()));
    parted.map_err(|errno| io::Error::from_raw_os_error(errno.0))
}

/// Source and target of a mount that asks to be the program's, and whether the program can reach the
/// host through it.
fn asks(entry: &Entry) -> Option<(&Path, &Path, bool)> {
    match entry {
        Entry::Bind { source, target, access, as_owner: true, .. } => {
            Some((source, target, *access == Access::ReadWrite))
        }
        Entry::Cow { source, target, .. } => Some((source, target, false)),
        _ => None,
    }
}

async fn map(
    who: Identity,
    launcher: &Launcher,
    source: &Path,
    tree: Option<&OwnedFd>,
    writable: bool,
) -> Result<Result<(), String>> {
    let doing = || format!("map the owner of {}", shown(source));
    let Some(tree) = tree else { return Ok(Err("this root may not clone mounts".to_owned())) };
    let owner = fstat(tree).map_err(|errno| Error::internal(doing(), errno))?;
    let (uid, gid) = (owner.st_uid, owner.st_gid);
    if (uid, gid) == (who.host_uid, who.host_gid) {
        return Ok(Ok(()));
    }
    if writable && (uid == 0 || gid == 0) {
        // The plan has refused it; whoever exchanged the directory since then gains nothing.
        let source = io::Error::other("it belongs to root now");
        return Err(Error::internal(doing(), source));
    }
    let maps = [format!("{uid} {} 1\n", who.host_uid), format!("{gid} {} 1\n", who.host_gid)];
    let namespace = match launcher.user_namespace(maps).await {
        Ok(namespace) => namespace,
        Err(why) => return Ok(Err(why)),
    };
    let mapped = sys::map_ids(Fd(tree.as_fd().as_raw_fd()), Fd(namespace.as_raw_fd()));
    Ok(mapped.map_err(|errno| io::Error::from_raw_os_error(errno.0).to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;
    use crate::blocking;

    /// Somebody may exchange a directory between the plan, which refuses it, and its being mounted.
    #[test]
    fn what_came_to_be_root_s_is_not_opened_for_writing() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can give a directory to a group that is not its own");
            return;
        }
        let who =
            Identity { uid: 1000, gid: 1000, host_uid: 65534, host_gid: 65534, by_root: true };
        let dir = tempfile::tempdir().unwrap();
        for (user, group) in [(0, 0), (4242, 0), (0, 4242)] {
            chown(dir.path(), Some(user), Some(group)).unwrap();
            let tree = std::fs::File::open(dir.path()).unwrap().into();
            let mapped = map(who, &Launcher::Direct, dir.path(), Some(&tree), true);
            let refused = blocking::block_on(mapped).unwrap().unwrap_err();
            let why = std::error::Error::source(&refused).unwrap().to_string();
            assert_eq!(why, "it belongs to root now", "{user}, {group}");
        }
    }
}
