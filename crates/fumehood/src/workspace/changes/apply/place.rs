//! Puts a new file or link in its place in one step.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, Uid, fchmod, fchown,
    fdatasync, fstat, ftruncate, futimens, linkat, mkdirat, openat, renameat, renameat_with, seek,
    symlinkat, unlinkat,
};
use rustix::io::{Errno, Result};

use super::super::at;
use super::super::scan::{Node, open_file};
use super::super::types::FileKind;
use super::meanwhile::Meanwhile;
use super::{Outcome, Refused, harmless, is_same};

/// A directory that only its owner can use until it is filled.
pub(super) fn make_directory(dir: &OwnedFd, name: &OsStr) -> Outcome {
    match mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
        Ok(()) => Ok(belong(&at::directory(dir, name)?, dir, None)?),
        Err(Errno::EXIST) => Err(Refused::Conflict),
        Err(errno) => Err(errno.into()),
    }
}

/// A file or link that is made beside its place; it goes away unless it is put there.
pub(super) struct Fresh<'a> {
    dir: &'a OwnedFd,
    name: &'a OsStr,
    own: OsString,
}

impl<'a> Fresh<'a> {
    /// Copies the node of the layer `above` that has the name.
    pub(super) fn new(
        dir: &'a OwnedFd,
        above: OwnedFd,
        name: &'a OsStr,
        node: &Node,
        instead_of: Option<&Node>,
    ) -> std::result::Result<Self, Refused> {
        let fresh = Self { dir, name, own: own_name() };
        match (&node.link, node.kind) {
            (Some(target), _) => symlinkat(target, dir, &fresh.own)?,
            (None, FileKind::File) => {
                fresh.copy(&open_file(above, name, node)?, node, instead_of)?;
            }
            _ => return Err(Refused::Conflict),
        }
        Ok(fresh)
    }

    fn copy(&self, from: &File, node: &Node, instead_of: Option<&Node>) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o600);
        let to = openat(self.dir, &self.own, flags | OFlags::CLOEXEC, mode)?;
        let to = File::from(to);
        copy_data(from, &to).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        belong(&to, self.dir, instead_of)?;
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
    pub(super) fn put_new(self) -> Outcome {
        let put = renameat_with(self.dir, &self.own, self.dir, self.name, RenameFlags::NOREPLACE);
        match put {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(Refused::Conflict),
            // A file system without that can still link, which replaces nothing either.
            Err(Errno::INVAL) => {
                match linkat(self.dir, &self.own, self.dir, self.name, AtFlags::empty()) {
                    Err(Errno::EXIST) => Err(Refused::Conflict),
                    linked => Ok(linked?),
                }
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Puts it in the place of something that is no directory, if that is still what was seen.
    pub(super) fn put_instead_of(self, seen: &Node, meanwhile: &Meanwhile) -> Outcome {
        let as_seen = |name| match at::stat(self.dir, name) {
            Ok(Some(now)) => is_same(&now, &seen.stat),
            _ => false,
        };
        if !as_seen(self.name) {
            return Err(Refused::Conflict);
        }
        match self.swap() {
            Ok(()) if as_seen(&self.own) => {
                // What cannot be removed here is tried once more when this is dropped.
                let _ = meanwhile.unlink(self.dir, &self.own, &seen.stat);
                Ok(())
            }
            // Somebody was quicker.
            Ok(()) => Err(self.give_back()),
            Err(Errno::INVAL) => Ok(renameat(self.dir, &self.own, self.dir, self.name)?),
            Err(Errno::NOENT) => Err(Refused::Conflict),
            Err(errno) => Err(errno.into()),
        }
    }

    fn swap(&self) -> Result<()> {
        renameat_with(self.dir, &self.own, self.dir, self.name, RenameFlags::EXCHANGE)
    }

    /// Puts somebody's file back that was taken for the one that was seen. If that fails it has our name
    /// and stays: it is theirs.
    fn give_back(mut self) -> Refused {
        match self.swap() {
            Ok(()) => Refused::Conflict,
            Err(why) => Refused::LeftOver { name: std::mem::take(&mut self.own), why },
        }
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        // Nothing is there if it was renamed, or is left to somebody; what it replaced is, if the two
        // were exchanged.
        let _ = unlinkat(self.dir, &self.own, AtFlags::empty());
    }
}

/// A name that nobody else uses.
pub(super) fn own_name() -> OsString {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".fumehood-{}-{count}", std::process::id()).into()
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
        let fresh = Fresh { dir: &open, name: OsStr::new("gone"), own: own.clone() };
        let Refused::LeftOver { name, why: Errno::NOENT } = fresh.give_back() else {
            panic!("there was nothing to exchange it for");
        };
        assert_eq!(name, own);
        assert_eq!(std::fs::read_to_string(dir.path().join(own)).unwrap(), "theirs");
    }
}
