//! Takes away what the program deleted, if it is still what was there.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, RenameFlags, renameat_with, unlinkat};
use rustix::io::{Errno, Result};

use super::super::at;
use super::super::base::Since;
use super::super::scan::{Node, kind};
use super::super::types::FileKind;
use super::place::own_name;
use super::{Outcome, Refused, is_same};

/// How deep a deleted directory may be.
const DEEPEST: usize = 512;

/// Removes a name, a directory with all that is below it. It is renamed first, so that it is gone in
/// one step, and looked at once more where nobody looks for it.
pub(super) fn remove(dir: &OwnedFd, name: &OsStr, seen: &Node, since: Since) -> Outcome {
    let is_directory = seen.kind == FileKind::Directory;
    match at::stat(dir, name)? {
        None => return Ok(()),
        Some(now) if is_directory && now.st_ino == seen.stat.st_ino => {}
        Some(now) if !is_directory && is_same(&now, &seen.stat) => {}
        Some(_) => return Err(Refused::Conflict),
    }
    if is_directory && !is_untouched(dir, name, since, 0)? {
        return Err(Refused::Conflict);
    }
    let own = own_name();
    renameat_with(dir, name, dir, &own, RenameFlags::NOREPLACE)?;
    let still = match at::stat(dir, &own)? {
        Some(now) if is_directory => {
            now.st_ino == seen.stat.st_ino && is_untouched(dir, &own, since, 0)?
        }
        Some(now) => is_same(&now, &seen.stat),
        None => false,
    };
    if !still {
        renameat_with(dir, &own, dir, name, RenameFlags::NOREPLACE)?;
        return Err(Refused::Conflict);
    }
    if is_directory {
        remove_tree(dir, &own)?;
    } else {
        unlinkat(dir, &own, AtFlags::empty())?;
    }
    Ok(())
}

/// Whether nothing below a directory was changed since then; what is in it says so for the directory
/// itself too, but for names that are gone, which are no loss.
fn is_untouched(dir: &OwnedFd, name: &OsStr, since: Since, depth: usize) -> Result<bool> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    let inner = at::directory(dir, name)?;
    for name in at::names(&inner, usize::MAX)?.0 {
        let Some(stat) = at::stat(&inner, &name)? else { continue };
        if since.has_changed(&stat) {
            return Ok(false);
        }
        if kind(&stat) == FileKind::Directory && !is_untouched(&inner, &name, since, depth + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn remove_tree(dir: &OwnedFd, name: &OsStr) -> Result<()> {
    let inner = at::directory(dir, name)?;
    for name in at::names(&inner, usize::MAX)?.0 {
        match at::stat(&inner, &name)? {
            Some(stat) if kind(&stat) == FileKind::Directory => remove_tree(&inner, &name)?,
            Some(_) => unlinkat(&inner, &name, AtFlags::empty())?,
            None => {}
        }
    }
    drop(inner);
    unlinkat(dir, name, AtFlags::REMOVEDIR)
}
