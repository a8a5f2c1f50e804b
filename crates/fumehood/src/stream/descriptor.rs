//! Descriptors that are read and written without blocking, whatever mode they are in.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use super::Over;

use crate::backend::native::watch;

const PIPE_BUF: usize = 4096;

/// A descriptor that can be waited for, or one that never blocks, such as a regular file, which
/// epoll refuses.
#[derive(Debug)]
pub(crate) enum Descriptor {
    Waits(AsyncFd<OwnedFd>),
    Immediate(OwnedFd),
}

impl Descriptor {
    /// Watches for both directions.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Self::watched(watch::owned(fd))
    }

    /// Watches for room to write only: a terminal that somebody types on is no reason to wake up.
    pub(super) fn for_output(fd: OwnedFd) -> io::Result<Self> {
        Self::watched(watch::writable(fd))
    }

    fn watched(watched: Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)>) -> io::Result<Self> {
        match watched {
            Ok(fd) => Ok(Self::Waits(fd)),
            Err((fd, error)) if never_waits(&error) => Ok(Self::Immediate(fd)),
            Err((_, error)) => Err(error),
        }
    }

    /// Whether it is an end of a pipe, or a FIFO, that can be waited for.
    pub(super) fn is_pipe(&self) -> bool {
        let Self::Waits(fd) = self else { return false };
        let is_fifo = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode).is_fifo();
        rustix::fs::fstat(fd).is_ok_and(is_fifo)
    }

    /// Reads from a descriptor of ours, which does not block, into the room that a buffer has left, or a
    /// [`LITTLE`] where it has less; 0 at the end, or when there is no more and nobody is left to write
    /// more. Memory that nothing is read into is not touched: most programs print less than a page.
    pub(crate) async fn read(&self, buffer: &mut Vec<u8>, over: &Over) -> io::Result<usize> {
        match self {
            Self::Immediate(fd) => Ok(read_into(fd.as_fd(), buffer)?),
            Self::Waits(fd) => loop {
                let Some(mut guard) = readable(fd, over).await? else {
                    return match read_into(fd.as_fd(), buffer) {
                        Err(Errno::AGAIN) => Ok(0),
                        read => Ok(read?),
                    };
                };
                let done = guard.try_io(|fd| Ok(read_into(fd.as_fd(), buffer)?));
                if let Ok(done) = done {
                    return done;
                }
            },
        }
    }

    /// Reads from a descriptor that may block if asked at the wrong time.
    pub(super) async fn read_politely(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Immediate(fd) => Ok(rustix::io::read(fd, spare_capacity(buffer))?),
            Self::Waits(fd) => loop {
                let mut guard = fd.readable().await?;
                if ready(fd.as_fd(), PollFlags::IN)? {
                    return Ok(rustix::io::read(fd, spare_capacity(buffer))?);
                }
                guard.clear_ready();
            },
        }
    }

    /// Gives a pipe more room, if the user has any left (`pipe(7)`).
    pub(super) fn grow(&self, size: usize) {
        if let Self::Waits(fd) = self {
            let _ = rustix::pipe::fcntl_setpipe_size(fd, size);
        }
    }

    /// Moves up to `len` bytes on to another pipe without copying them (`splice(2)`); 0 as for
    /// [`read`](Self::read).
    ///
    /// Between two pipes `SPLICE_F_NONBLOCK` keeps either from blocking, whatever mode they are in.
    pub(super) async fn splice(&self, to: &Self, len: usize, over: &Over) -> io::Result<usize> {
        let (Self::Waits(from), Self::Waits(to)) = (self, to) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        loop {
            // Also the place where others of this thread get their turn.
            let guard = readable(from, over).await?;
            match rustix::pipe::splice(from, None, to, None, len, SpliceFlags::NONBLOCK) {
                Err(Errno::AGAIN) if ready(from.as_fd(), PollFlags::IN)? => writable(to).await?,
                Err(Errno::AGAIN) => match guard {
                    Some(mut guard) => guard.clear_ready(),
                    None => return Ok(0),
                },
                moved => return Ok(moved?),
            }
        }
    }

    /// Writes everything to a descriptor of ours, which does not block.
    pub(crate) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let len = match self {
                Self::Immediate(fd) => rustix::io::write(fd, bytes)?,
                Self::Waits(fd) => {
                    let mut guard = fd.writable().await?;
                    match guard.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                        Ok(len) => len?,
                        Err(_would_block) => continue,
                    }
                }
            };
            bytes = bytes.get(len..).unwrap_or(&[]);
        }
        Ok(())
    }

    /// Writes everything to a descriptor that may block if asked at the wrong time.
    pub(super) async fn write_politely(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let len = match self {
                Self::Immediate(fd) => rustix::io::write(fd, bytes)?,
                Self::Waits(fd) => {
                    let mut guard = fd.writable().await?;
                    if !ready(fd.as_fd(), PollFlags::OUT)? {
                        guard.clear_ready();
                        continue;
                    }
                    rustix::io::write(fd, bytes.get(..PIPE_BUF).unwrap_or(bytes))?
                }
            };
            bytes = bytes.get(len..).unwrap_or(&[]);
        }
        Ok(())
    }
}

/// What is read where nobody has made room. A program that prints nothing needs none.
pub(super) const LITTLE: usize = 4 << 10;

fn read_into(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
    if buffer.capacity() - buffer.len() >= LITTLE {
        return rustix::io::read(fd, spare_capacity(buffer));
    }
    let mut little = [MaybeUninit::<u8>::uninit(); LITTLE];
    let (read, _) = rustix::io::read(fd, &mut little)?;
    buffer.extend_from_slice(read);
    Ok(read.len())
}

/// Waits until there is something to read, or the end; none if nobody is left to write: what is there now
/// is the rest.
async fn readable<'a>(
    fd: &'a AsyncFd<OwnedFd>,
    over: &Over,
) -> io::Result<Option<AsyncFdReadyGuard<'a, OwnedFd>>> {
    tokio::select! {
        biased;
        guard = fd.readable() => Ok(Some(guard?)),
        () = over.wait() => Ok(None),
    }
}

/// Waits until there is room.
async fn writable(fd: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut guard = fd.writable().await?;
        if ready(fd.as_fd(), PollFlags::OUT)? {
            return Ok(());
        }
        guard.clear_ready();
    }
}

fn ready(fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut watched = [PollFd::from_borrowed_fd(fd, flags)];
    match rustix::event::poll(&mut watched, Some(&now)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// `EPERM` from `epoll_ctl(2)` means that the file never makes anyone wait.
fn never_waits(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::PERM.raw_os_error())
}
