//! Takes away what the program deleted, if it is still what was there.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;

use rustix::fs::{
    Access, AtFlags, Mode, RenameFlags, accessat, fchmod, fstat, renameat_with, unlinkat,
};
use rustix::io::{Errno, Result};

use super::super::at;
use super::super::scan::{Node, kind};
use super::super::types::FileKind;
use super::meanwhile::Meanwhile;
use super::place::own_name;
use super::{Outcome, Refused, is_same};

/// How deep a deleted directory may be.
const DEEPEST: usize = 512;

/// Removes a name, a directory with all that is below it. It is renamed first, so that it is gone in
/// one step, and looked at once more where nobody looks for it. For as long as all of it is there it
/// goes back if it cannot be removed.
pub(super) fn remove(dir: &OwnedFd, name: &OsStr, seen: &Node, meanwhile: &Meanwhile) -> Outcome {
    if at::stat(dir, name)?.is_none() {
        return Ok(());
    }
    if !is_as_seen(dir, name, seen, meanwhile)? {
        return Err(Refused::Conflict);
    }
    let own = own_name();
    renameat_with(dir, name, dir, &own, RenameFlags::NOREPLACE)?;
    let mut removal = Removal { meanwhile, begun: false };
    let removed = match is_as_seen(dir, &own, seen, meanwhile) {
        Ok(true) => removal.now(dir, &own, seen).map_err(Refused::from),
        Ok(false) => Err(Refused::Conflict),
        Err(errno) => Err(errno.into()),
    };
    match removed {
        Err(Refused::Failed(why)) if removal.begun => Err(Refused::LeftOver { name: own, why }),
        Err(why) => Err(put_back(dir, own, name, why)),
        Ok(()) => Ok(()),
    }
}

/// Whether a name still is what the scan saw.
fn is_as_seen(dir: &OwnedFd, name: &OsStr, seen: &Node, meanwhile: &Meanwhile) -> Result<bool> {
    match at::stat(dir, name)? {
        None => Ok(false),
        Some(now) if seen.kind == FileKind::Directory => {
            Ok(now.st_ino == seen.stat.st_ino && is_untouched(dir, name, meanwhile, 0)?)
        }
        Some(now) => Ok(is_same(&now, &seen.stat)),
    }
}

/// Gives something its name back, and says why; or under which name it is now, if that is taken.
fn put_back(dir: &OwnedFd, own: OsString, name: &OsStr, why: Refused) -> Refused {
    match renameat_with(dir, &own, dir, name, RenameFlags::NOREPLACE) {
        Ok(()) => why,
        Err(why) => Refused::LeftOver { name: own, why },
    }
}

/// Whether nothing below a directory was changed since then; what is in it says so for the directory
/// itself too, but for names that are gone, which are no loss.
///
/// # Errors
/// `EACCES` if it is known that something below cannot be removed, before anything is.
fn is_untouched(dir: &OwnedFd, name: &OsStr, meanwhile: &Meanwhile, depth: usize) -> Result<bool> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    let inner = at::directory(dir, name)?;
    let names = at::names(&inner, usize::MAX)?.0;
    if !names.is_empty() && !can_be_emptied(&inner)? {
        return Err(Errno::ACCESS);
    }
    for name in names {
        let Some(stat) = at::stat(&inner, &name)? else { continue };
        if meanwhile.has_changed(&stat) {
            return Ok(false);
        }
        if kind(&stat) == FileKind::Directory && !is_untouched(&inner, &name, meanwhile, depth + 1)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether names can be removed from a directory, once it has the mode that its owner can give it.
fn can_be_emptied(dir: &OwnedFd) -> Result<bool> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(fstat(dir)?.st_uid == rustix::process::geteuid().as_raw()
        || accessat(dir, ".", access, AtFlags::EACCESS).is_ok())
}

/// A removal that was decided on.
struct Removal<'a> {
    meanwhile: &'a Meanwhile,
    /// Whether something is gone for good.
    begun: bool,
}

impl Removal<'_> {
    fn now(&mut self, dir: &OwnedFd, name: &OsStr, seen: &Node) -> Result<()> {
        match seen.kind {
            FileKind::Directory => self.tree(dir, name),
            _ => self.meanwhile.unlink(dir, name, &seen.stat),
        }
    }

    fn tree(&mut self, dir: &OwnedFd, name: &OsStr) -> Result<()> {
        let inner = at::directory(dir, name)?;
        self.empty(&inner)?;
        drop(inner);
        unlinkat(dir, name, AtFlags::REMOVEDIR)
    }

    /// Removes what is in a directory, though its owner may not write to it, as in caches of modules. If
    /// that fails it is as closed as it was.
    fn empty(&mut self, dir: &OwnedFd) -> Result<()> {
        let names = at::names(dir, usize::MAX)?.0;
        let mode = fstat(dir)?.st_mode & 0o7777;
        let is_closed = !names.is_empty() && mode & 0o700 != 0o700;
        if is_closed {
            // Whoever may not do that can have other rights to write to it. If not, the first name says so.
            let _ = fchmod(dir, Mode::from_raw_mode(mode | 0o700));
        }
        let emptied = names.iter().try_for_each(|name| self.name(dir, name));
        if is_closed && emptied.is_err() {
            let _ = fchmod(dir, Mode::from_raw_mode(mode));
        }
        emptied
    }

    fn name(&mut self, dir: &OwnedFd, name: &OsStr) -> Result<()> {
        match at::stat(dir, name)? {
            Some(stat) if kind(&stat) == FileKind::Directory => self.tree(dir, name)?,
            Some(stat) if stat.st_nlink > 1 && !self.meanwhile.has_changed(&stat) => {
                self.meanwhile.unlink(dir, name, &stat)?;
            }
            Some(_) => unlinkat(dir, name, AtFlags::empty())?,
            None => return Ok(()),
        }
        self.begun = true;
        Ok(())
    }
}
