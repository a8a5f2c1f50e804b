//! Files by directory and name, never through a link.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat, chmod, openat, openat2, readlinkat, statat,
};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

/// How often a look-up is tried that the kernel gave up because something was renamed meanwhile
/// (`openat2(2)`, `EAGAIN`).
const TRIES: usize = 32;

/// Opens a directory below, on the same file system, without following a link. An empty path is the
/// directory itself.
pub(super) fn beneath(dir: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let mut tries = TRIES;
    loop {
        match openat2(&dir, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries > 0 => tries -= 1,
            other => return other,
        }
    }
}

/// Opens a directory in a directory.
pub(super) fn directory(dir: impl AsFd, name: impl Arg) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Opens a regular file in a directory for reading; anything else is `EINVAL`, and none of it is
/// waited for or set off by being opened.
pub(super) fn file(dir: impl AsFd, name: impl Arg) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let file = openat(dir, name, flags | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        Ok(File::from(file))
    } else {
        Err(Errno::INVAL)
    }
}

/// `fstatat(2)` of a name itself; `None` if there is none.
pub(super) fn stat(dir: impl AsFd, name: impl Arg) -> Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What a link says.
pub(super) fn link(dir: impl AsFd, name: impl Arg) -> Result<PathBuf> {
    let target = readlinkat(dir, name, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

/// The names in a directory, sorted, but for `.` and `..`; at most `most` of them, and whether that
/// was all.
pub(super) fn names(dir: impl AsFd, most: usize) -> Result<(Vec<OsString>, bool)> {
    let (names, all) = crate::workspace::beneath::names(dir, most)?;
    let text = |name: CString| OsString::from_vec(name.into_bytes());
    Ok((names.into_iter().map(text).collect(), all))
}

/// Changes the mode of whatever a descriptor is open on, if only as a place. What is meant cannot be
/// exchanged meanwhile, and it must not be a link.
pub(super) fn change_mode(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // fchmod(2) does not take a descriptor that was opened with O_PATH.
    chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), Mode::from_raw_mode(mode))
}

/// Opens something as a place only, without following a link.
pub(super) fn place(dir: impl AsFd, name: impl Arg) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Opens the host's directory itself, through whatever links its name has: the caller named it.
pub(super) fn named(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is mounted in a directory is not the directory's, and changes of it are nobody's to take.
    #[test]
    fn nothing_on_another_file_system_is_opened() {
        let root = named(Path::new("/")).unwrap();
        assert_eq!(beneath(&root, Path::new("proc")).unwrap_err(), Errno::XDEV);
        assert_eq!(beneath(&root, Path::new("proc/self")).unwrap_err(), Errno::XDEV);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let dir = named(dir.path()).unwrap();
        for path in ["", "sub"] {
            beneath(&dir, Path::new(path)).unwrap();
        }
    }
}
