//! A directory of a home, written to from outside before its tool runs.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chmodat, chownat, fchmod,
    mkdirat, openat2, statat, symlinkat,
};
use rustix::io::Errno;

use crate::{Error, Result};

/// Paths in it are relative; nothing on the way is a link, for nobody else has written there yet.
#[derive(Debug)]
pub(in crate::backend) struct Place(OwnedFd);

const WITHIN: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

impl Place {
    /// The directory at an absolute path of a root.
    pub(in crate::backend) fn open(root: BorrowedFd<'_>, path: &Path) -> Result<Self> {
        let path = path.strip_prefix("/").unwrap_or(path);
        directory(root, path).map(Self).map_err(|errno| failed("open", path, errno))
    }

    /// Its own descriptor.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// A directory below it.
    pub(in crate::backend) fn below(&self, path: &Path) -> Result<OwnedFd> {
        directory(self.0.as_fd(), path).map_err(|errno| failed("open", path, errno))
    }

    /// Makes a directory and those above it.
    pub(in crate::backend) fn dir(&self, path: &Path, mode: u32) -> Result<()> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
            && statat(&self.0, parent, AtFlags::SYMLINK_NOFOLLOW).is_err()
        {
            self.dir(parent, 0o755)?;
        }
        let mode = Mode::from_raw_mode(mode);
        let made = mkdirat(&self.0, path, mode);
        match made.and_then(|()| chmodat(&self.0, path, mode, AtFlags::empty())) {
            Err(Errno::EXIST) => Ok(()),
            other => other.map_err(|errno| failed("make", path, errno)),
        }
    }

    /// Makes a symbolic link.
    pub(in crate::backend) fn link(&self, path: &Path, target: &Path) -> Result<()> {
        symlinkat(target, &self.0, path).map_err(|errno| failed("link", path, errno))
    }

    /// Makes a file.
    pub(in crate::backend) fn file(&self, path: &Path, data: &[u8]) -> Result<()> {
        self.write(path, data, 0o644)
    }

    /// Makes a file that can be executed.
    pub(in crate::backend) fn program(&self, path: &Path, data: &[u8]) -> Result<()> {
        self.write(path, data, 0o755)
    }

    fn write(&self, path: &Path, data: &[u8], mode: u32) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = openat2(&self.0, path, flags, Mode::from_raw_mode(mode), WITHIN)
            .map_err(|errno| failed("write", path, errno))?;
        fill(file, path, data, mode)
    }

    /// Makes a file unless something is there: in writable mounts of the host that is the host's, and
    /// never written to.
    pub(super) fn new_file(&self, path: &Path, data: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match openat2(&self.0, path, flags, Mode::from_raw_mode(0o644), WITHIN) {
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed("make", path, errno)),
            Ok(file) => fill(file, path, data, 0o644),
        }
    }

    /// Whether there is a file of this name with something in it.
    pub(super) fn has(&self, name: &str) -> bool {
        statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_size > 0)
    }

    /// Whether there is something that may be executed; of a link nobody asks where it leads.
    pub(in crate::backend) fn has_program(&self, path: &Path) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = openat2(&self.0, path, flags, Mode::empty(), WITHIN);
        let stat = found.and_then(rustix::fs::fstat);
        stat.is_ok_and(|stat| {
            !FileType::from_raw_mode(stat.st_mode).is_dir() && stat.st_mode & 0o111 != 0
        })
    }

    /// What a file holds, as far as it is text; none if it is not there.
    pub(in crate::backend) fn read(&self, path: &str) -> Option<String> {
        text(&self.opened(path).ok()?)
    }

    /// A file to read from, whatever becomes of its mode afterwards.
    pub(super) fn opened(&self, path: &str) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat2(&self.0, path, flags, Mode::empty(), WITHIN);
        file.map(File::from).map_err(|errno| failed("open", Path::new(path), errno))
    }

    /// Gives a file to somebody.
    pub(in crate::backend) fn give_one(&self, path: &Path, (uid, gid): (u32, u32)) -> Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        chownat(&self.0, path, owner(uid), group(gid), flags)
            .map_err(|errno| failed("give away", path, errno))
    }

    /// Gives a directory and everything below it, on the same file system, to somebody.
    pub(in crate::backend) fn give(&self, path: &Path, ids: (u32, u32)) -> Result<()> {
        let dir = self.below(path)?;
        let device = rustix::fs::fstat(&dir).map(|stat| stat.st_dev);
        let given = device.and_then(|device| {
            chownat(&dir, c"", owner(ids.0), group(ids.1), AtFlags::EMPTY_PATH)?;
            give_below(&dir, device, ids)
        });
        given.map_err(|errno| failed("give away", path, errno))
    }
}

/// No log of a runtime is longer than is worth reading.
const LONGEST: u64 = 64 << 10;

/// What a file holds from its beginning, as far as it is text.
pub(super) fn text(mut file: &File) -> Option<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    Read::take(file, LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn directory(dir: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(dir, path, flags, Mode::empty(), WITHIN)
}

/// Writes a new file. Its mode is as told: whose processes see it is not up to the caller's umask.
fn fill(file: OwnedFd, path: &Path, data: &[u8], mode: u32) -> Result<()> {
    fchmod(&file, Mode::from_raw_mode(mode)).map_err(|errno| failed("write", path, errno))?;
    io::Write::write_all(&mut File::from(file), data)
        .map_err(|error| Error::internal(format!("write {}", path.display()), error))
}

fn owner(uid: u32) -> Option<Uid> {
    Some(Uid::from_raw(uid))
}

fn group(gid: u32) -> Option<Gid> {
    Some(Gid::from_raw(gid))
}

fn give_below(dir: &OwnedFd, device: u64, (uid, gid): (u32, u32)) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listed = openat2(dir, ".", flags, Mode::empty(), WITHIN)?;
    for entry in Dir::read_from(&listed)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_dev != device {
            // Something of the host that is shown there.
            continue;
        }
        chownat(dir, name, owner(uid), group(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode).is_dir() {
            let below = directory(dir.as_fd(), Path::new(OsStr::from_bytes(name.to_bytes())))?;
            give_below(&below, device, (uid, gid))?;
        }
    }
    Ok(())
}

fn failed(doing: &str, path: &Path, errno: Errno) -> Error {
    Error::internal(format!("{doing} {} in the home of a runtime", path.display()), errno)
}
