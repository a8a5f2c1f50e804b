//! Moves bytes between the program's streams and the caller.
//!
//! The caller's own descriptors may be shared with other processes, so they are never switched to
//! non-blocking mode. They are asked before each call whether it would block instead, and pipes
//! promise that a write of up to `PIPE_BUF` bytes then does not (`pipe(7)`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;

use crate::backend::native::watch;
use crate::job::{Excess, Limit};
use crate::{ByteSize, Output};

const CHUNK: usize = 64 << 10;
const PIPE_BUF: usize = 4096;

/// Where a program's standard input comes from.
#[derive(Debug)]
pub(crate) enum Feed {
    Nothing,
    Bytes(Vec<u8>),
    Fd(OwnedFd),
    Piped(DuplexStream),
}

/// Where a program's output goes.
#[derive(Debug)]
pub(crate) enum Drain {
    Capture,
    Fd(OwnedFd),
    Piped(DuplexStream),
}

/// What a stream carried so far. Shared, so that it survives a pump that is given up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried(Arc<Mutex<Output>>);

impl Carried {
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Output {
        std::mem::take(&mut *self.lock())
    }

    /// Notes that something was read that nobody received.
    pub(crate) fn mark_truncated(&self) {
        self.lock().truncated = true;
    }

    /// Counts `chunk` and returns the part of it that is within the limit.
    fn admit<'a>(&self, chunk: &'a [u8], limit: Limit<ByteSize>, keep: bool) -> &'a [u8] {
        let mut output = self.lock();
        let room = limit.finite().map_or(u64::MAX, |limit| limit.0.saturating_sub(output.total));
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let within = chunk.get(..room).unwrap_or(chunk);
        output.total += chunk.len() as u64;
        output.truncated |= within.len() < chunk.len();
        if keep {
            output.data.extend_from_slice(within);
        }
        within
    }

    fn is_truncated(&self) -> bool {
        self.lock().truncated
    }
}

/// A limit of output and what to do beyond it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cap {
    pub(crate) limit: Limit<ByteSize>,
    pub(crate) excess: Excess,
}

/// Reads a program's output to its end, counts it, and passes on what is within the limit.
pub(crate) async fn drain(
    pipe: OwnedFd,
    mut to: Drain,
    cap: Cap,
    carried: &Carried,
    exceeded: &Notify,
) -> io::Result<()> {
    let pipe = Descriptor::new(pipe)?;
    let mut buffer = vec![0; CHUNK];
    let keep = matches!(to, Drain::Capture);
    loop {
        let len = match pipe.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            // What a terminal says when its last user is gone.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let within = carried.admit(buffer.get(..len).unwrap_or(&[]), cap.limit, keep);
        let is_over = carried.is_truncated() && cap.excess == Excess::Kill;
        if is_over {
            exceeded.notify_one();
        }
        if !pass_on(&mut to, within).await {
            // Nobody listens any more: the program goes on, its output goes nowhere.
            to = Drain::Capture;
        }
        if is_over {
            // Reading on would let a flood go on for as long as the kill takes.
            return Ok(());
        }
    }
}

/// False if the receiver is gone.
async fn pass_on(to: &mut Drain, bytes: &[u8]) -> bool {
    match to {
        Drain::Capture => true,
        Drain::Piped(writer) => writer.write_all(bytes).await.is_ok(),
        Drain::Fd(fd) => match Descriptor::borrowed(fd.as_fd()) {
            Ok(descriptor) => descriptor.write_politely(bytes).await.is_ok(),
            Err(_) => false,
        },
    }
}

/// Writes to a program's standard input until there is no more, or the program wants no more.
pub(crate) async fn feed(from: Feed, pipe: OwnedFd, terminal: bool) -> io::Result<()> {
    const END_OF_TRANSMISSION: &[u8] = b"\x04";
    let pipe = Descriptor::new(pipe)?;
    match from {
        Feed::Nothing => {}
        Feed::Bytes(bytes) => pipe.write(&bytes).await?,
        Feed::Fd(fd) => {
            let source = Descriptor::new(fd)?;
            let mut buffer = vec![0; CHUNK];
            loop {
                let len = source.read_politely(&mut buffer).await?;
                if len == 0 {
                    break;
                }
                pipe.write(buffer.get(..len).unwrap_or(&[])).await?;
            }
        }
        Feed::Piped(mut reader) => {
            let mut buffer = vec![0; CHUNK];
            loop {
                let len = reader.read(&mut buffer).await?;
                if len == 0 {
                    break;
                }
                pipe.write(buffer.get(..len).unwrap_or(&[])).await?;
            }
        }
    }
    if terminal {
        pipe.write(END_OF_TRANSMISSION).await?;
        // The end of a terminal is shared by input and output: it is closed with the output.
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// A descriptor that can be waited for, or one that never blocks, such as a regular file, which
/// epoll refuses.
#[derive(Debug)]
enum Descriptor<T: std::os::fd::AsRawFd> {
    Waits(AsyncFd<T>),
    Immediate(T),
}

impl Descriptor<OwnedFd> {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        match watch::owned(fd) {
            Ok(fd) => Ok(Self::Waits(fd)),
            Err((fd, error)) if never_waits(&error) => Ok(Self::Immediate(fd)),
            Err((_, error)) => Err(error),
        }
    }
}

impl<'a> Descriptor<BorrowedFd<'a>> {
    fn borrowed(fd: BorrowedFd<'a>) -> io::Result<Self> {
        match watch::writable(fd) {
            Ok(fd) => Ok(Self::Waits(fd)),
            Err(error) if never_waits(&error) => Ok(Self::Immediate(fd)),
            Err(error) => Err(error),
        }
    }
}

/// `EPERM` from `epoll_ctl(2)` means that the file never makes anyone wait.
fn never_waits(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
}

impl<T: AsFd + std::os::fd::AsRawFd> Descriptor<T> {
    /// Reads from a descriptor of ours, which does not block.
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Immediate(fd) => Ok(rustix::io::read(fd, buffer)?),
            Self::Waits(fd) => loop {
                let mut guard = fd.readable().await?;
                if let Ok(done) = guard.try_io(|fd| Ok(rustix::io::read(fd, &mut *buffer)?)) {
                    return done;
                }
            },
        }
    }

    /// Reads from a descriptor that may block if asked at the wrong time.
    async fn read_politely(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Immediate(fd) => Ok(rustix::io::read(fd, buffer)?),
            Self::Waits(fd) => loop {
                let mut guard = fd.readable().await?;
                if ready(fd.as_fd(), PollFlags::IN)? {
                    return Ok(rustix::io::read(fd, buffer)?);
                }
                guard.clear_ready();
            },
        }
    }

    /// Writes everything to a descriptor of ours, which does not block.
    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
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
    async fn write_politely(&self, mut bytes: &[u8]) -> io::Result<()> {
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

fn ready(fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut watched = [PollFd::from_borrowed_fd(fd, flags)];
    match rustix::event::poll(&mut watched, Some(&now)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
