//! Puts a new file or link in its place in one step.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, Uid, fchmod, fchown,
    fdatasync, fstat, ftruncate, futimens, linkat, mkdirat, openat, renameat, renameat_with, seek,
    symlinkat, unlinkat,
};
use rustix::io::{Errno, Result};

use super::super::at;
use super::super::kept::clear;
use super::super::scan::{Node, open_file};
use super::super::types::FileKind;
use super::meanwhile::Meanwhile;
use super::{Outcome, Refused, harmless, is_same};

/// A directory that only its owner can use until it is filled. It can be told by the device and inode that
/// come back.
pub(super) fn make_directory(
    dir: &OwnedFd,
    name: &OsStr,
) -> std::result::Result<(u64, u64), Refused> {
    match mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
        Err(Errno::EXIST) => return Err(Refused::Conflict),
        made => made?,
    }
    let made = at::directory(dir, name)?;
    // Whoever may write here can have put another in its place, and would be given what is in it.
    if !at::names(&made, 1)?.0.is_empty() {
        return Err(Refused::Conflict);
    }
    belong(&made, dir, None)?;
    let stat = fstat(&made)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// What is made beside its place; it goes away unless it is put there, or stays beside it.
pub(super) struct Fresh<'a> {
    host: &'a OwnedFd,
    /// The directory that it is in. It is looked up each time: there can be more of these than a process may
    /// have open.
    parent: PathBuf,
    name: &'a OsStr,
    /// What it is called for now; nothing if it is not ours any more.
    own: OsString,
    /// By what it can be told, if it is a directory.
    pub(super) id: Option<(u64, u64)>,
}

impl<'a> Fresh<'a> {
    /// Copies a node of the layer, from the directory `above` it; a directory is made empty.
    pub(super) fn new(
        host: &'a OwnedFd,
        parent: PathBuf,
        name: &'a OsStr,
        (above, node): (&OwnedFd, &Node),
        instead_of: Option<&Node>,
    ) -> std::result::Result<Self, Refused> {
        let mut fresh = Self { host, parent, name, own: own_name(), id: None };
        let dir = fresh.dir()?;
        match (&node.link, node.kind) {
            (Some(target), _) => symlinkat(target, &dir, &fresh.own)?,
            (None, FileKind::File) => {
                fresh.copy(&dir, &open_file(above, name, node)?, node, instead_of)?;
            }
            (None, FileKind::Directory) => fresh.id = Some(make_directory(&dir, &fresh.own)?),
            _ => return Err(Refused::Conflict),
        }
        Ok(fresh)
    }

    /// Where it is for now, below the host's directory.
    pub(super) fn path(&self) -> PathBuf {
        self.parent.join(&self.own)
    }

    fn dir(&self) -> Result<OwnedFd> {
        at::beneath(self.host, &self.parent)
    }

    fn copy(
        &self,
        dir: &OwnedFd,
        from: &File,
        node: &Node,
        instead_of: Option<&Node>,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o600);
        let to = openat(dir, &self.own, flags | OFlags::CLOEXEC, mode)?;
        let to = File::from(to);
        copy_data(from, &to).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        belong(&to, dir, instead_of)?;
        fchmod(&to, Mode::from_raw_mode(harmless(node)))?;
        // A program's build tool goes by these, and so does the one on the host.
        let modified = Timespec {
            tv_sec: node.stat.st_mtime,
            tv_nsec: node.stat.st_mtime_nsec.try_into().unwrap_or(0),
        };
        let access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        futimens(&to, &Timestamps { last_access: access, last_modification: modified })?;
        // What it replaces would be lost if the machine failed before this is on the disk. What is
        // new can be made again.
        if instead_of.is_some() { fdatasync(&to) } else { Ok(()) }
    }

    /// Puts it where there is nothing.
    pub(super) fn put_new(mut self) -> Outcome {
        let dir = self.dir()?;
        let put = match renameat_with(&dir, &self.own, &dir, self.name, RenameFlags::NOREPLACE) {
            // A file system without that can still link, which replaces nothing either.
            Err(Errno::INVAL) => linkat(&dir, &self.own, &dir, self.name, AtFlags::empty()),
            put => put.map(|()| self.own.clear()),
        };
        match put {
            Err(Errno::EXIST) => Err(self.beside(Refused::Conflict)),
            put => Ok(put?),
        }
    }

    /// Puts it in the place of something that is no directory, if that is still what was seen.
    pub(super) fn put_instead_of(mut self, seen: &Node, meanwhile: &Meanwhile) -> Outcome {
        match self.exchange(seen, meanwhile) {
            Err(why) if !matches!(why, Refused::LeftOver { .. }) => Err(self.beside(why)),
            outcome => outcome,
        }
    }

    fn exchange(&mut self, seen: &Node, meanwhile: &Meanwhile) -> Outcome {
        let dir = self.dir()?;
        let as_seen = |name| match at::stat(&dir, name) {
            Ok(Some(now)) => is_same(&now, &seen.stat),
            _ => false,
        };
        if !as_seen(self.name) {
            return Err(Refused::Conflict);
        }
        match self.swap(&dir) {
            Ok(()) if as_seen(&self.own) => {
                // What cannot be removed here is tried once more when this is dropped.
                let _ = meanwhile.unlink(&dir, &self.own, &seen.stat);
                Ok(())
            }
            // Somebody was quicker.
            Ok(()) => Err(self.give_back(&dir)),
            Err(Errno::INVAL) => Ok(renameat(&dir, &self.own, &dir, self.name)?),
            Err(Errno::NOENT) => Err(Refused::Conflict),
            Err(errno) => Err(errno.into()),
        }
    }

    fn swap(&self, dir: &OwnedFd) -> Result<()> {
        renameat_with(dir, &self.own, dir, self.name, RenameFlags::EXCHANGE)
    }

    /// Puts somebody's file back that was taken for the one that was seen. If that fails it has our name
    /// and stays: it is theirs.
    fn give_back(&mut self, dir: &OwnedFd) -> Refused {
        match self.swap(dir) {
            Ok(()) => Refused::Conflict,
            Err(why) => Refused::LeftOver { name: std::mem::take(&mut self.own), why },
        }
    }

    /// Leaves it beside its place, under a name that says what it is; or, if that is taken or too long, under
    /// the one that it has.
    pub(super) fn beside(mut self, why: Refused) -> Refused {
        let own = std::mem::take(&mut self.own);
        let mut name = self.name.to_owned();
        name.push(".fumehood");
        let named = self
            .dir()
            .and_then(|dir| renameat_with(&dir, &own, &dir, &name, RenameFlags::NOREPLACE));
        Refused::Beside { name: if named.is_ok() { name } else { own }, why: Box::new(why) }
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if self.own.is_empty() {
            return;
        }
        // What it replaced is there, if the two were exchanged.
        let Ok(dir) = self.dir() else { return };
        if let Err(Errno::ISDIR) = unlinkat(&dir, &self.own, AtFlags::empty())
            && let Ok(inner) = at::directory(&dir, &self.own)
        {
            let _ = clear(&inner, 0);
            let _ = unlinkat(&dir, &self.own, AtFlags::REMOVEDIR);
        }
    }
}

/// A name that nobody else uses. What somebody who was killed left under another is not ours, and in
/// containers all have the same few process ids.
pub(super) fn own_name() -> OsString {
    format!(".fumehood-{:016x}", RandomState::new().build_hasher().finish()).into()
}

/// What root makes for others belongs to whom the file belonged that it replaces, or else to the
/// owner of the directory. Anybody else owns what they make.
fn belong(file: &impl std::os::fd::AsFd, dir: &OwnedFd, instead_of: Option<&Node>) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = match instead_of {
        Some(node) => node.stat,
        None => fstat(dir)?,
    };
    fchown(file, Some(Uid::from_raw(owner.st_uid)), Some(Gid::from_raw(owner.st_gid)))
}

/// Copies what was written and leaves out what was not: a file with holes takes no more on the host
/// than it took in the cell.
fn copy_data(from: &File, to: &File) -> io::Result<()> {
    let len = from.metadata()?.len();
    ftruncate(to, len)?;
    let mut at = 0;
    while at < len {
        let start = match seek(from, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(from, rustix::fs::SeekFrom::Hole(start))?;
        copy_range(from, to, start, end)?;
        at = end;
    }
    Ok(())
}

fn copy_range(mut from: &File, mut to: &File, start: u64, end: u64) -> io::Result<()> {
    use io::{Read, Seek};
    from.seek(io::SeekFrom::Start(start))?;
    to.seek(io::SeekFrom::Start(start))?;
    let copied = io::copy(&mut Read::by_ref(&mut from).take(end - start), &mut to)?;
    if copied == end - start { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_wrote_is_kept_though_it_cannot_go_back() {
        let dir = tempfile::tempdir().unwrap();
        let (own, open) = (own_name(), at::named(dir.path()).unwrap());
        std::fs::write(dir.path().join(&own), "theirs").unwrap();
        let name = OsStr::new("gone");
        let (parent, host) = (PathBuf::new(), &open);
        let mut fresh = Fresh { host, parent, name, own: own.clone(), id: None };
        let Refused::LeftOver { name, why: Errno::NOENT } = fresh.give_back(&open) else {
            panic!("there was nothing to exchange it for");
        };
        drop(fresh);
        assert_eq!(name, own);
        assert_eq!(std::fs::read_to_string(dir.path().join(own)).unwrap(), "theirs");
    }
}
