//! Files of a control group that are used for every run.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::dir::{Dir, failed, read_all};

/// A file that is read, or written to, again and again: opened the first time, and kept open as long as
/// descriptors are plenty.
#[derive(Debug, Default)]
pub(super) struct Gauge(OnceLock<Kept>);

/// A descriptor that is kept only to save the next opening.
#[derive(Debug)]
struct Kept(OwnedFd);

static KEPT: AtomicU64 = AtomicU64::new(0);

impl Kept {
    /// A quarter of what the process may have: others need some, too.
    fn is_allowed() -> bool {
        static MOST: OnceLock<u64> = OnceLock::new();
        let most = MOST.get_or_init(|| getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 4);
        KEPT.load(Ordering::Relaxed) < *most
    }

    fn new(fd: OwnedFd) -> Self {
        KEPT.fetch_add(1, Ordering::Relaxed);
        Self(fd)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Opened<'a> {
    Kept(BorrowedFd<'a>),
    Once(OwnedFd),
}

impl AsFd for Opened<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Kept(fd) => *fd,
            Self::Once(fd) => fd.as_fd(),
        }
    }
}

impl Gauge {
    fn open(&self, dir: &Dir, file: &str, flags: OFlags) -> io::Result<Opened<'_>> {
        if let Some(Kept(fd)) = self.0.get() {
            return Ok(Opened::Kept(fd.as_fd()));
        }
        let fd = dir.file(file, flags)?;
        if !Kept::is_allowed() {
            return Ok(Opened::Once(fd));
        }
        Ok(Opened::Kept(self.0.get_or_init(|| Kept::new(fd)).0.as_fd()))
    }

    /// What a file of one figure, or of a few lines, says.
    pub(super) fn read(&self, dir: &Dir, file: &str) -> io::Result<String> {
        self.read_as(dir, file, OFlags::RDONLY)
    }

    fn read_as(&self, dir: &Dir, file: &str, flags: OFlags) -> io::Result<String> {
        let fd = self.open(dir, file, flags)?;
        read_short(fd.as_fd()).map_err(|error| failed("read", &dir.path().join(file), error))
    }

    /// The content of a file that only some kernels have.
    pub(super) fn read_if_there(&self, dir: &Dir, file: &str) -> io::Result<Option<String>> {
        match self.read(dir, file) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A figure in a file that may also be written to.
    pub(super) fn number(&self, dir: &Dir, file: &str) -> io::Result<Option<u64>> {
        Ok(self.read_as(dir, file, OFlags::RDWR)?.trim().parse().ok())
    }

    /// Writes to the file from its start.
    pub(super) fn write(&self, dir: &Dir, file: &str, value: &str) -> io::Result<()> {
        let fd = self.open(dir, file, OFlags::RDWR)?;
        let written = rustix::io::pwrite(fd, value.as_bytes(), 0);
        written
            .map(drop)
            .map_err(|error| failed(&format!("write {value} to"), &dir.path().join(file), error))
    }

    /// A descriptor of the file for somebody who writes to it.
    pub(super) fn writer(&self, dir: &Dir, file: &str) -> io::Result<OwnedFd> {
        match self.open(dir, file, OFlags::WRONLY)? {
            Opened::Kept(fd) => fd.try_clone_to_owned(),
            Opened::Once(fd) => Ok(fd),
        }
    }

    /// Reads through `fd` from now on.
    pub(super) fn over(fd: OwnedFd) -> Self {
        Self(OnceLock::from(Kept::new(fd)))
    }
}

/// [`read_all`] of what the kernel says in one go: what does not fill the buffer is all of it.
fn read_short(fd: BorrowedFd<'_>) -> Result<String, Errno> {
    let mut chunk = [0; 512];
    let count = rustix::io::retry_on_intr(|| rustix::io::pread(fd, &mut chunk[..], 0))?;
    if count == chunk.len() {
        return read_all(fd);
    }
    Ok(String::from_utf8_lossy(&chunk[..count]).into_owned())
}
