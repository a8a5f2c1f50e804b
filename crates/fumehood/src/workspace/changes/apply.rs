//! Makes the changes in the host's directory.
//!
//! Every look-up starts at the directory that was opened when the cell was built, goes through
//! `openat2` beneath it, on one file system and without links, and ends in a directory in which one
//! name is changed. A file is written under a name of ours and put in place in one step; what it
//! replaces is looked at again when it is out of the way, and put back if it is not what the scan
//! saw.
//!
//! Whatever the host has may be what the program moved somewhere else. So all that it wrote is on the host,
//! if only under such a name, before anything is replaced, and all is replaced before anything is deleted;
//! and what cannot have its own name stays beside it.

mod meanwhile;
mod place;
mod remove;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Stat, fstat};
use rustix::io::Errno;

use super::at;
use super::base::{Mounted, Since};
use super::scan::{self, Found, Node, name, parent};
use super::types::{ChangeKind, FileKind, NotApplied};
use crate::sabotage::leaves_out;
use meanwhile::Meanwhile;
use place::Fresh;

/// Why a change was not made.
#[derive(Debug)]
pub(super) enum Refused {
    /// The host's own was changed meanwhile.
    Conflict,
    /// What the program left is not in its place, but beside it under this name.
    Beside { name: OsString, why: Box<Refused> },
    /// What the program left is none of the host's business.
    Unfit(&'static str),
    /// A link that leads out.
    LeadsOut(PathBuf),
    /// The change was made without its set-id bits.
    SetId,
    /// What the host had, or what is left of it, has another name now: it could neither be removed nor
    /// be put back.
    LeftOver { name: OsString, why: Errno },
    /// Neither replaced nor deleted, as something that the program wrote is nowhere on the host.
    Kept,
    /// The kernel said no.
    Failed(Errno),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

impl Refused {
    /// Whether what the program wrote is lost. It may be what was somewhere else before.
    fn loses(&self, found: &Found) -> bool {
        let writes = found.kind != ChangeKind::Mode
            && found.upper.as_ref().is_some_and(|node| node.kind != FileKind::Directory);
        writes && matches!(self, Self::Conflict | Self::Failed(_))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict => f.write_str("was changed on the host since the run began"),
            Self::Beside { name, why } => {
                let name = super::show::Quoted(name);
                write!(f, "{why}; what the program left is {name} beside it")
            }
            Self::Unfit(what) => write!(f, "is {what}; only files, directories and links are"),
            Self::LeadsOut(target) => {
                let target = super::show::Quoted::path(target);
                write!(f, "is a link that leads out of the directory, to {target}")
            }
            Self::Kept => f.write_str(
                "is kept, as not every file could be written: it may be what one of them was moved from",
            ),
            Self::SetId => f.write_str("its set-id bits were left out"),
            Self::LeftOver { name, why } => {
                let (name, why) = (name.display(), std::io::Error::from(*why));
                write!(f, "what the host had, or is left of it, is now {name} beside it: {why}")
            }
            Self::Failed(Errno::LOOP) => f.write_str("a link on the host stands in the way"),
            Self::Failed(Errno::NOENT | Errno::NOTDIR) => {
                f.write_str("its directory is not there on the host")
            }
            Self::Failed(Errno::XDEV) => f.write_str("another file system is mounted in the way"),
            Self::Failed(errno) => write!(f, "{}", std::io::Error::from(*errno)),
        }
    }
}

type Outcome = Result<(), Refused>;

/// What was found in one layer, and how far it is applied.
pub(super) struct Applying<'a> {
    target: Target<'a>,
    found: &'a [Found],
    /// What replaces something: written, and not in its place yet.
    staged: Vec<(&'a Found, Fresh<'a>)>,
    made: BTreeSet<&'a Path>,
    refused: Vec<NotApplied>,
}

impl<'a> Applying<'a> {
    pub(super) fn new(
        found: &'a [Found],
        upper: &'a OwnedFd,
        mounted: &'a Mounted,
        since: Since,
    ) -> Self {
        let meanwhile = Meanwhile::new(since);
        let target = Target { upper, host: &mounted.host, meanwhile, made: RefCell::default() };
        Self { target, found, staged: Vec::new(), made: BTreeSet::new(), refused: Vec::new() }
    }

    /// Writes all that the program wrote, and takes nothing from the host. Whether something of it is nowhere
    /// now.
    pub(super) fn write(&mut self) -> bool {
        let mut lost = false;
        for found in self.found.iter().filter(|found| found.kind != ChangeKind::Deleted) {
            match self.target.write(found, self.parent(found)) {
                Ok(Some(fresh)) => self.staged.push((found, fresh)),
                outcome => {
                    lost |= outcome.as_ref().is_err_and(|why| why.loses(found));
                    self.note(found, outcome.map(drop));
                }
            }
        }
        lost
    }

    /// Where a change is made for now: what is below a directory that replaces a file is not in its place yet.
    fn parent(&self, found: &Found) -> PathBuf {
        let above = parent(&found.path);
        let staged = self.staged.last().and_then(|(dir, fresh)| {
            above.strip_prefix(&dir.path).ok().map(|below| fresh.path().join(below))
        });
        staged.unwrap_or_else(|| above.into())
    }

    /// Puts what was written in the place of what the host has, unless something was `lost`, which may be just
    /// that.
    pub(super) fn replace(&mut self, lost: bool) {
        for (found, fresh) in std::mem::take(&mut self.staged) {
            let outcome = self.target.replace(found, fresh, lost);
            if outcome.is_err() {
                self.made.retain(|path| !path.starts_with(&found.path));
            }
            self.note(found, outcome);
        }
    }

    /// Makes the deletions, unless something was `lost`.
    pub(super) fn delete(&mut self, lost: bool) {
        for found in self.found.iter().filter(|found| found.kind == ChangeKind::Deleted) {
            let outcome = match &found.host {
                Some(host) if !found.conflict && !lost => self.target.remove(found, host),
                _ if found.conflict => Err(Refused::Conflict),
                _ => Err(Refused::Kept),
            };
            self.note(found, outcome);
        }
    }

    /// Last, and from below: a directory that nobody may write to could not have been filled. How many changes
    /// were made, and what was refused.
    pub(super) fn finish(mut self) -> (u64, Vec<NotApplied>) {
        let count = self.made.len() as u64;
        for found in self.found.iter().rev() {
            if self.made.contains(&*found.path)
                && let Err(why) = self.target.finish(found)
            {
                self.refuse(found, &why);
            }
        }
        self.refused.sort_by(|one, other| one.path.cmp(&other.path));
        (count, self.refused)
    }

    fn note(&mut self, found: &'a Found, outcome: Outcome) {
        match outcome {
            Ok(()) => drop(self.made.insert(&found.path)),
            Err(why) => self.refuse(found, &why),
        }
    }

    fn refuse(&mut self, found: &Found, why: &Refused) {
        self.refused.push(NotApplied { path: found.path.clone(), reason: why.to_string() });
    }
}

struct Target<'a> {
    upper: &'a OwnedFd,
    host: &'a OwnedFd,
    meanwhile: Meanwhile,
    /// Directories that were made, by device and inode.
    made: RefCell<BTreeSet<(u64, u64)>>,
}

impl<'a> Target<'a> {
    /// Writes what is new to its place, and what replaces something beside it.
    fn write(&self, found: &'a Found, parent: PathBuf) -> Result<Option<Fresh<'a>>, Refused> {
        let Some(upper) = &found.upper else { return Err(Refused::Conflict) };
        if found.kind == ChangeKind::Mode && found.conflict {
            return Err(Refused::Conflict);
        }
        fit(&found.path, upper)?;
        let Some(host) = &found.host else {
            if upper.kind == FileKind::Directory {
                let dir = at::beneath(self.host, &parent)?;
                let id = place::make_directory(&dir, name(&found.path))?;
                self.made.borrow_mut().insert(id);
                return Ok(None);
            }
            return self.fresh(found, parent, upper, None)?.put_new().map(|()| None);
        };
        if found.kind == ChangeKind::Mode {
            return self.mode(found, host, upper).map(|()| None);
        }
        let owner = Some(host).filter(|host| host.kind != FileKind::Directory);
        self.fresh(found, parent, upper, owner).map(Some)
    }

    fn replace(&self, found: &Found, fresh: Fresh<'_>, lost: bool) -> Outcome {
        match &found.host {
            _ if found.conflict => Err(fresh.beside(Refused::Conflict)),
            _ if lost => Err(Refused::Kept),
            Some(host) if host.kind == FileKind::Directory => match self.remove(found, host) {
                Ok(()) => fresh.put_new(),
                Err(why) => Err(fresh.beside(why)),
            },
            Some(host) => fresh.put_instead_of(host, &self.meanwhile),
            None => fresh.put_new(),
        }
    }

    fn remove(&self, found: &Found, host: &Node) -> Outcome {
        let dir = at::beneath(self.host, parent(&found.path))?;
        remove::remove(&dir, name(&found.path), host, &self.meanwhile)
    }

    /// A copy of what the program left; what it is to replace, if that is no directory, says whose it is.
    fn fresh(
        &self,
        found: &'a Found,
        parent: PathBuf,
        upper: &Node,
        instead_of: Option<&Node>,
    ) -> Result<Fresh<'a>, Refused> {
        let above = at::beneath(self.upper, scan::parent(&found.path))?;
        let name = name(&found.path);
        let fresh = Fresh::new(self.host, parent, name, (&above, upper), instead_of)?;
        self.made.borrow_mut().extend(fresh.id);
        Ok(fresh)
    }

    /// The mode of what stays what it is. A directory's comes last.
    fn mode(&self, found: &'a Found, host: &Node, upper: &Node) -> Outcome {
        if host.kind == FileKind::Directory {
            if host.mode() & 0o700 != 0o700 {
                let inner = self.directory(found)?;
                at::change_mode(inner.as_fd(), host.mode() | 0o700)?;
            }
            return Ok(());
        }
        let place = at::place(at::beneath(self.host, parent(&found.path))?, name(&found.path))?;
        let now = fstat(&place)?;
        if !is_same(&now, &host.stat) || self.meanwhile.has_changed(&now) {
            return Err(Refused::Conflict);
        }
        if now.st_nlink > 1 {
            // Its other names, which can be outside of the directory, keep their mode.
            let fresh = self.fresh(found, parent(&found.path).into(), upper, Some(host))?;
            return fresh.put_instead_of(host, &self.meanwhile);
        }
        at::change_mode(place.as_fd(), harmless(upper))?;
        Ok(())
    }

    /// A directory that is to have another mode, if it is the one that was seen or made. Another that was put
    /// in its place meanwhile would be opened to whoever did that.
    fn directory(&self, found: &Found) -> Result<OwnedFd, Refused> {
        let path = if found.path == Path::new(".") { Path::new("") } else { &found.path };
        let dir = at::beneath(self.host, path)?;
        let id = |stat: &Stat| (stat.st_dev, stat.st_ino);
        let now = id(&fstat(&dir)?);
        let is_seen = found.host.as_ref().is_some_and(|host| id(&host.stat) == now);
        if is_seen || self.made.borrow().contains(&now) { Ok(dir) } else { Err(Refused::Conflict) }
    }

    /// What is left to do when everything stands.
    fn finish(&self, found: &Found) -> Outcome {
        let Some(upper) = &found.upper else { return Ok(()) };
        if upper.kind == FileKind::Directory {
            let dir = self.directory(found)?;
            at::change_mode(dir.as_fd(), harmless(upper) | fstat(&dir)?.st_mode & 0o6000)?;
        }
        let kept = found.host.as_ref().map_or(0, Node::mode);
        let is_link = upper.kind == FileKind::Symlink;
        if !is_link && upper.mode() & !kept & 0o6000 != 0 { Err(Refused::SetId) } else { Ok(()) }
    }
}

/// Permission bits that a program may bring to the host: never set-id, sticky for directories only.
fn harmless(node: &Node) -> u32 {
    let mask = if node.kind == FileKind::Directory { 0o1777 } else { 0o777 };
    node.mode() & mask
}

/// Whether a file is the one that was seen, with the content that was seen. Renaming it changes its
/// `ctime` and nothing of this.
fn is_same(now: &Stat, seen: &Stat) -> bool {
    let of = |stat: &Stat| {
        let file = (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_rdev);
        (file, stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
    };
    of(now) == of(seen)
}

/// Whether something may come to the host at all.
fn fit(path: &Path, node: &Node) -> Outcome {
    match node.kind {
        _ if leaves_out("unfit-changes") => Ok(()),
        FileKind::File | FileKind::Directory => Ok(()),
        FileKind::Symlink => {
            let target = node.link.as_deref().unwrap_or_else(|| Path::new(""));
            if stays_inside(path, target) { Ok(()) } else { Err(Refused::LeadsOut(target.into())) }
        }
        FileKind::Fifo => Err(Refused::Unfit("a FIFO")),
        FileKind::Socket => Err(Refused::Unfit("a socket")),
        FileKind::Device => Err(Refused::Unfit("a device")),
    }
}

/// Whether a link at `path` stays in the directory whatever other links there are: it goes up no
/// further than it is deep, and never again once it has gone down, which might be through a link.
fn stays_inside(path: &Path, target: &Path) -> bool {
    let mut depth = parent(path).components().count();
    let mut went_down = false;
    target.components().all(|component| match component {
        Component::CurDir => true,
        Component::Normal(_) => {
            went_down = true;
            true
        }
        Component::ParentDir if !went_down && depth > 0 => {
            depth -= 1;
            true
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_could_lead_out_are_told_apart() {
        for (path, target, stays) in [
            ("l", "file", true),
            ("l", "./dir/file", true),
            ("l", "nowhere", true),
            ("a/b/l", "../../c", true),
            ("a/b/l", "../../../c", false),
            ("l", "..", false),
            ("l", "/etc/passwd", false),
            ("l", "dir/../file", false),
            ("a/l", "x/y/s/../../..", false),
        ] {
            assert_eq!(stays_inside(Path::new(path), Path::new(target)), stays, "{path} {target}");
        }
    }
}
