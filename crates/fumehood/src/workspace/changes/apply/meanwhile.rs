//! What was changed on the host meanwhile, and not by us.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Stat, fstat, unlinkat};
use rustix::io::Result;

use super::super::at;
use super::super::base::{Since, changed_at};
use super::is_same;

/// A file that loses one of its names is stamped anew by the kernel, and another of its names may be in the
/// same directory: what we stamped ourselves was not changed by anybody.
#[derive(Debug)]
pub(super) struct Meanwhile {
    since: Since,
    /// By device and inode, the stamps that are ours.
    ours: RefCell<BTreeMap<(u64, u64), i128>>,
}

impl Meanwhile {
    pub(super) fn new(since: Since) -> Self {
        Self { since, ours: RefCell::default() }
    }

    /// Whether somebody else changed a file.
    pub(super) fn has_changed(&self, stat: &Stat) -> bool {
        let is_ours = || {
            let ours = self.ours.borrow();
            ours.get(&(stat.st_dev, stat.st_ino)) == Some(&changed_at(stat))
        };
        self.since.has_changed(stat) && !is_ours()
    }

    /// Takes a name from a file that was `seen`. If it has others, and nobody wrote to it, its new stamp
    /// is ours.
    pub(super) fn unlink(&self, dir: &OwnedFd, name: &OsStr, seen: &Stat) -> Result<()> {
        let place = at::place(dir, name)?;
        unlinkat(dir, name, AtFlags::empty())?;
        let left = fstat(&place)?;
        if left.st_nlink > 0 && is_same(&left, seen) {
            self.ours.borrow_mut().insert((left.st_dev, left.st_ino), changed_at(&left));
        }
        Ok(())
    }
}
