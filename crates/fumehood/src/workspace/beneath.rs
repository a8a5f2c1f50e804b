//! Looking below a directory without ever leaving it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Dir, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// How often a look-up is tried that the kernel gave up because something was renamed meanwhile.
const TRIES: usize = 32;

/// A directory that was opened once: whatever is opened below it is below it, however names change
/// meanwhile.
#[derive(Debug)]
pub(crate) struct Tree(OwnedFd);

impl Tree {
    /// Opens the directory itself, through whatever links its name has: the caller named it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Opens a directory below; an empty path is the tree itself. No link is followed.
    #[cfg(any(feature = "export", test))]
    pub(crate) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(self.resolve(path, OFlags::DIRECTORY)?)
    }

    /// Opens something below for reading, without following a link and without waiting for whoever
    /// writes to it: a FIFO opens at once. What was opened is for the caller to look at.
    pub(crate) fn file(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(self.resolve(path, OFlags::NONBLOCK | OFlags::NOCTTY)?)
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // openat2(2): EAGAIN if the kernel cannot be sure that a name did not leave the tree.
        for _ in 1..TRIES {
            match openat2(&self.0, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
        openat2(&self.0, path, flags, Mode::empty(), resolve)
    }
}

/// The names in a directory but for `.` and `..`, in the order of their bytes, so that nothing depends
/// on luck; at most `most` of them, and whether that was all.
pub(crate) fn names(dir: impl AsFd, most: usize) -> Result<(Vec<CString>, bool), Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if names.len() >= most {
            names.sort_unstable();
            return Ok((names, false));
        }
        names.push(name.to_owned());
    }
    names.sort_unstable();
    Ok((names, true))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_path_leads_out() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), "secret").unwrap();
        fs::create_dir(inside.path().join("dir")).unwrap();
        fs::write(inside.path().join("dir/file"), "file").unwrap();
        symlink(outside.path(), inside.path().join("out")).unwrap();
        symlink("dir", inside.path().join("in")).unwrap();
        symlink("dir/file", inside.path().join("link")).unwrap();
        let tree = Tree::open(inside.path()).unwrap();
        tree.file(Path::new("dir/file")).unwrap();
        tree.directory(Path::new("")).unwrap();
        let errno = |error: io::Error| Errno::from_io_error(&error).unwrap();
        for path in ["out/secret", "in/file", "link"] {
            assert_eq!(errno(tree.file(Path::new(path)).unwrap_err()), Errno::LOOP, "{path}");
        }
        for path in ["..", "dir/../../x", "/etc/passwd"] {
            assert_eq!(errno(tree.file(Path::new(path)).unwrap_err()), Errno::XDEV, "{path}");
        }
    }
}
