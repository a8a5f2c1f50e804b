//! Layers that are kept in a directory of the caller's, which a later run can continue on.
//!
//! The directory holds the record of [`State`], the layer that the program's user owns, and nothing
//! else. Nobody but the caller can enter it, so that nobody writes to a layer behind its overlay.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FlockOperation, Gid, Mode, OFlags, Stat, Uid, XattrFlags, flock, fsetxattr, fstat,
    mkdirat, openat, renameat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::at;
use super::base::Since;
use crate::plan::Identity;
use crate::plan::mounts::shown;
use crate::{Error, Result};

/// What the directory holds. `lost+found` is what `mkfs` leaves at the top of a file system, which is
/// how a layer gets a limit.
const STATE: &str = "fumehood.json";
const LAYER: &str = "layer";
const FRESH: &str = ".fumehood.json";
const NAMES: [&str; 4] = [STATE, LAYER, FRESH, "lost+found"];

/// What must be known of a layer when it is used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    /// The directory that it was laid over.
    source: (u64, u64),
    since: Since,
    /// Which start of the machine that was in: clocks of two cannot be compared.
    boot: String,
}

const VERSION: u32 = 1;

/// A directory with a layer, for as long as nobody else may have it.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    /// Locked.
    dir: OwnedFd,
    layer: OwnedFd,
    pub(super) upper: OwnedFd,
    source: (u64, u64),
    /// Since when changes of the host count, if there is something in the layer already.
    pub(super) since: Option<Since>,
    same_boot: bool,
}

/// Judges a directory by its name, before anything is made: the canonical path of it.
pub(crate) fn check(field: &str, dir: &Path) -> Result<PathBuf> {
    let refuse = |problem: String| Error::invalid(field, shown(dir), problem);
    let path = std::fs::canonicalize(dir).map_err(|error| {
        refuse(format!("cannot be used: {error}; make it first, with mode 700"))
    })?;
    let open = at::named(&path).map_err(|errno| refuse(format!("cannot be opened: {errno}")))?;
    is_private(&open).map_err(refuse)?;
    holds_only_ours(&open).map_err(refuse)?;
    Ok(path)
}

fn is_private(dir: &OwnedFd) -> Result<(), String> {
    let stat = fstat(dir).map_err(|errno| format!("cannot be looked at: {errno}"))?;
    let caller = rustix::process::geteuid().as_raw();
    if stat.st_uid != caller {
        let owner = stat.st_uid;
        return Err(format!("belongs to user {owner}, and must belong to who runs it, {caller}"));
    }
    if stat.st_mode & 0o077 != 0 {
        let mode = stat.st_mode & 0o7777;
        return Err(format!("is open to others (mode {mode:o}); chmod 700 it"));
    }
    Ok(())
}

fn holds_only_ours(dir: &OwnedFd) -> Result<(), String> {
    let (names, all) =
        at::names(dir, NAMES.len()).map_err(|errno| format!("unreadable: {errno}"))?;
    let stray = names.iter().find(|name| !NAMES.iter().any(|ours| *name == ours));
    match stray {
        Some(name) => Err(format!(
            "holds {}, which is no layer's; give an empty directory, or one that an earlier run kept \
             its changes in",
            shown(Path::new(name))
        )),
        None if all => Ok(()),
        None => Err("holds more than a layer".to_owned()),
    }
}

impl Kept {
    /// Opens a directory for a run over `source`, and makes what is missing in it. Whoever else has it
    /// keeps it.
    pub(super) fn open(path: &Path, source: &OwnedFd, mode: u32, who: Identity) -> Result<Self> {
        let refuse = |problem: String| Error::invalid("mounts", shown(path), problem);
        let failed = |errno: Errno| refuse(format!("cannot keep the changes: {errno}"));
        let dir = at::named(path).map_err(failed)?;
        is_private(&dir).map_err(refuse)?;
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                return Err(refuse("is in use by another run".to_owned()));
            }
            locked => locked.map_err(failed)?,
        }
        holds_only_ours(&dir).map_err(refuse)?;
        let source = identity(&fstat(source).map_err(failed)?);
        let state = read(&dir).map_err(refuse)?;
        if state.as_ref().is_some_and(|state| state.source != source) {
            let problem = "keeps the changes to another directory; give each its own";
            return Err(refuse(problem.to_owned()));
        }
        let layer = make(&dir, LAYER, 0o700, who).map_err(failed)?;
        // The kernel empties it itself, and needs it on the same file system.
        make(&layer, "work", 0o700, who).map_err(failed)?;
        let upper = make(&layer, "upper", mode, who).map_err(failed)?;
        can_mark(&upper).map_err(refuse)?;
        let (names, _) = at::names(&upper, 1).map_err(failed)?;
        let state = state.filter(|_| !names.is_empty());
        let same_boot = state.as_ref().is_none_or(|state| state.boot == boot());
        let since = state.map(|state| state.since);
        Ok(Self { path: path.into(), dir, layer, upper, source, since, same_boot })
    }

    /// The directory that the layer is mounted from.
    pub(crate) fn layer(&self) -> &OwnedFd {
        &self.layer
    }

    /// Whether times of the host can be compared with the time of the first run.
    pub(super) const fn is_of_this_boot(&self) -> bool {
        self.same_boot
    }

    /// Remembers when the first run began, in one go.
    pub(super) fn remember(&self, since: Since) -> Result<()> {
        if self.since.is_some() {
            return Ok(());
        }
        let state = State { version: VERSION, source: self.source, since, boot: boot() };
        let failed = |error: std::io::Error| {
            Error::internal(format!("write to {}", shown(&self.path)), error)
        };
        let text = serde_json::to_vec(&state).map_err(|error| failed(error.into()))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        let file = openat(&self.dir, FRESH, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(|errno| failed(errno.into()))?);
        file.write_all(&text).map_err(failed)?;
        renameat(&self.dir, FRESH, &self.dir, STATE).map_err(|errno| failed(errno.into()))
    }

    /// Leaves the directory as if there had been no run: everything is on the host now.
    pub(super) fn empty(&self) -> rustix::io::Result<()> {
        clear(&self.layer, 0)?;
        unlinkat(&self.dir, LAYER, AtFlags::REMOVEDIR)?;
        unlinkat(&self.dir, STATE, AtFlags::empty())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // An ordinary `rm -r` cannot enter what the kernel leaves in it. It is made anew when needed.
        if let Ok(work) = at::directory(&self.layer, "work") {
            let _ = clear(&work, 0);
            let _ = unlinkat(&self.layer, "work", AtFlags::REMOVEDIR);
        }
    }
}

const fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Which start of the machine this is (`random(4)`).
fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn read(dir: &OwnedFd) -> Result<Option<State>, String> {
    const LONGEST: u64 = 4096;
    let file = match at::file(dir, STATE) {
        Err(Errno::NOENT) => return Ok(None),
        file => file.map_err(|errno| format!("has a {STATE} that cannot be read: {errno}"))?,
    };
    let mut text = Vec::new();
    let wrong = |problem: String| format!("has a {STATE} that is wrong: {problem}");
    file.take(LONGEST).read_to_end(&mut text).map_err(|error| wrong(error.to_string()))?;
    let state: State = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if state.version != VERSION {
        return Err(wrong("another version of Fumehood wrote it".to_owned()));
    }
    Ok(Some(state))
}

/// A directory that the program's user owns. One that is there already stays as a program left it.
fn make(dir: &OwnedFd, name: &str, mode: u32, who: Identity) -> rustix::io::Result<OwnedFd> {
    match mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
        Err(Errno::EXIST) => return at::directory(dir, name),
        made => made?,
    }
    let made = at::directory(dir, name)?;
    let (uid, gid) = (Uid::from_raw(who.host_uid), Gid::from_raw(who.host_gid));
    rustix::fs::fchown(&made, Some(uid), Some(gid))?;
    at::change_mode(made.as_fd(), mode)?;
    Ok(made)
}

/// Overlays of users mark what they replace by attributes of users'.
fn can_mark(upper: &OwnedFd) -> Result<(), String> {
    const NAME: &str = "user.fumehood";
    match fsetxattr(upper, NAME, b"y", XattrFlags::empty()) {
        Ok(()) => {
            let _ = rustix::fs::fremovexattr(upper, NAME);
            Ok(())
        }
        Err(Errno::OPNOTSUPP) => {
            Err("is on a file system without attributes for users; ext4, XFS and Btrfs have them, \
                 and tmpfs since Linux 6.6"
                .to_owned())
        }
        Err(errno) => Err(format!("cannot keep the changes: {errno}")),
    }
}

/// Removes what is in a directory, whatever rights the program left on it.
pub(super) fn clear(dir: &OwnedFd, depth: usize) -> rustix::io::Result<()> {
    // As deep as a scan that was complete.
    const DEEPEST: usize = 160;
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    let (names, _) = at::names(dir, usize::MAX)?;
    for name in names {
        match unlinkat(dir, &name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {
                at::change_mode(at::place(dir, &name)?.as_fd(), 0o700)?;
                clear(&at::directory(dir, &name)?, depth + 1)?;
                unlinkat(dir, &name, AtFlags::REMOVEDIR)?;
            }
            done => done?,
        }
    }
    Ok(())
}

/// What belongs to the program in a layer that a scan had to open, by path and mode.
pub(super) fn close_again(upper: &OwnedFd, opened: &[(PathBuf, u32)]) {
    for (path, mode) in opened.iter().rev() {
        // From below, so that every directory on the way is still open.
        if let Ok(dir) = at::beneath(upper, path) {
            let _ = at::change_mode(dir.as_fd(), *mode);
        }
    }
}
