//! Moves bytes between the program's streams and the caller.
//!
//! The caller's own descriptors may be shared with other processes, so they are never switched to
//! non-blocking mode. They are asked before each call whether it would block instead, and pipes
//! promise that a write of up to `PIPE_BUF` bytes then does not (`pipe(7)`).

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;

use crate::job::{Excess, Limit};
use crate::{ByteSize, Output};

mod descriptor;
mod terminal;

pub(crate) use descriptor::Descriptor;
use descriptor::LITTLE;
use terminal::Terminal;

const CHUNK: usize = 64 << 10;

/// How much is moved at once: what a pipe of an ordinary user can grow to (`pipe-max-size`).
const AT_ONCE: usize = 1 << 20;

/// Who prints that much has a larger pipe.
const MUCH: u64 = 256 << 10;

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

/// Bytes between a program and a caller that has its streams piped. Either end sees when the other is dropped.
const PIPED: usize = 64 << 10;

impl Feed {
    /// From somebody who writes to the other end as it likes.
    pub(crate) fn piped() -> (Self, DuplexStream) {
        let (reader, writer) = tokio::io::duplex(PIPED);
        (Self::Piped(reader), writer)
    }
}

impl Drain {
    /// To somebody who reads the other end as it comes.
    pub(crate) fn piped() -> (Self, DuplexStream) {
        let (reader, writer) = tokio::io::duplex(PIPED);
        (Self::Piped(writer), reader)
    }
}

/// A [`Feed`] that can be waited for.
#[derive(Debug)]
pub(crate) enum Inlet {
    Nothing,
    Bytes(Vec<u8>),
    Fd(Descriptor),
    Piped(DuplexStream),
    /// It cannot be watched.
    Broken(io::Error),
}

impl Inlet {
    /// Has the runtime watch it.
    pub(crate) fn watch(feed: Feed) -> Self {
        match feed {
            Feed::Nothing => Self::Nothing,
            Feed::Bytes(bytes) => Self::Bytes(bytes),
            Feed::Fd(fd) => Descriptor::new(fd).map_or_else(Self::Broken, Self::Fd),
            Feed::Piped(reader) => Self::Piped(reader),
        }
    }
}

/// Why some of a stream did not arrive. Apart from the pump, which may be given up.
#[derive(Debug, Default)]
pub(crate) struct Breakage(Mutex<Option<String>>);

impl Breakage {
    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first reason counts; a receiver that goes away had enough, which is none.
    pub(crate) fn note(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.lock().get_or_insert_with(|| error.to_string());
        }
    }

    pub(crate) fn take(&self) -> Option<String> {
        self.lock().take()
    }
}

/// What an output carried so far. Apart from the pump, like a [`Breakage`].
#[derive(Debug, Default)]
pub(crate) struct Carried {
    output: Mutex<Output>,
    pub(crate) breakage: Breakage,
}

impl Carried {
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Output {
        std::mem::take(&mut self.lock())
    }

    /// Notes that something was read that nobody received.
    pub(crate) fn mark_truncated(&self) {
        self.lock().truncated = true;
    }

    /// The same, with the reason.
    pub(crate) fn mark_undelivered(&self, error: &io::Error) {
        self.mark_truncated();
        self.breakage.note(error);
    }

    /// Counts `chunk` and returns the part of it that is within the limit.
    fn admit<'a>(&self, chunk: &'a [u8], limit: Limit<ByteSize>, keep: bool) -> &'a [u8] {
        let room = usize::try_from(self.room(limit)).unwrap_or(usize::MAX);
        let mut output = self.lock();
        let within = chunk.get(..room).unwrap_or(chunk);
        output.total += chunk.len() as u64;
        output.truncated |= within.len() < chunk.len();
        if keep {
            output.data.extend_from_slice(within);
        }
        within
    }

    /// How many bytes are left before the limit.
    fn room(&self, limit: Limit<ByteSize>) -> u64 {
        limit.finite().map_or(u64::MAX, |limit| limit.0.saturating_sub(self.lock().total))
    }

    /// Counts bytes that were passed on unseen, and gives their sum.
    fn count(&self, bytes: usize) -> u64 {
        let mut output = self.lock();
        output.total += bytes as u64;
        output.total
    }
}

/// Whether everybody is dead who could have written more. Their pipes end all the same only when the init
/// closes them, which is not waited for.
#[derive(Debug, Default)]
pub(crate) struct Over(AtomicBool);

impl Over {
    /// Whoever says so polls those next who wait for it.
    pub(crate) fn declare(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    async fn wait(&self) {
        poll_fn(|_| if self.0.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }
}

/// A limit of output and what to do beyond it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cap {
    pub(crate) limit: Limit<ByteSize>,
    pub(crate) excess: Excess,
}

/// Reads a program's output to its end, counts it, and passes on what is within the limit. What was read to
/// its end comes back; what was given up is closed, so that nobody goes on writing.
pub(crate) async fn drain(
    pipe: Descriptor,
    mut to: Outlet,
    cap: Cap,
    carried: &Carried,
    exceeded: &Notify,
    over: &Over,
) -> io::Result<Option<Descriptor>> {
    let keep = matches!(to, Outlet::Kept);
    let moves = matches!(to, Outlet::Pipe(_)) && pipe.is_pipe();
    let mut buffer = Vec::new();
    let mut since_turn = 0;
    loop {
        if moves && splice(&pipe, &mut to, cap.limit, carried, over).await? == Spliced::End {
            return Ok(Some(pipe));
        }
        // Who prints more than a little at a time prints much.
        let prints_much = buffer.len() >= LITTLE;
        buffer.clear();
        if prints_much {
            buffer.reserve(CHUNK);
        }
        match pipe.read(&mut buffer, over).await {
            Ok(0) => return Ok(Some(pipe)),
            Ok(_) => {}
            // What a terminal says when its last user is gone.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                return Ok(Some(pipe));
            }
            Err(error) => return Err(error),
        }
        since_turn += buffer.len();
        let within = carried.admit(&buffer, cap.limit, keep);
        let is_over = within.len() < buffer.len() && cap.excess == Excess::Kill;
        if is_over {
            exceeded.notify_one();
        }
        if let Err(error) = to.pass_on(within).await {
            carried.mark_undelivered(&error);
            if error.kind() == io::ErrorKind::BrokenPipe && pipe.is_pipe() {
                // The program is told by its next write, as it would be without us (`signal(7)`,
                // SIGPIPE).
                return Ok(None);
            }
            // The program goes on, its output goes nowhere.
            to = Outlet::None;
        }
        if is_over {
            // Reading on would let a flood go on for as long as the kill takes.
            return Ok(None);
        }
        if since_turn >= CHUNK {
            // Whoever prints without end always has more to read: the runtime by itself would let 128
            // such reads go before others have their turn on this thread, milliseconds.
            tokio::task::yield_now().await;
            since_turn = 0;
        }
    }
}

/// A [`Drain`] that can be waited for.
#[derive(Debug)]
pub(crate) enum Outlet {
    None,
    Kept,
    Piped(DuplexStream),
    Fd(Descriptor),
    /// A pipe of the caller's, to which a pipe's pages can be moved.
    Pipe(Descriptor),
    Terminal(Terminal),
    /// It cannot be watched.
    Broken(io::Error),
}

impl Outlet {
    /// Has the runtime watch it.
    pub(crate) fn watch(drain: Drain) -> Self {
        match drain {
            Drain::Capture => Self::Kept,
            Drain::Piped(writer) => Self::Piped(writer),
            Drain::Fd(fd) if rustix::termios::isatty(&fd) => {
                Self::Terminal(Terminal::Untouched(fd))
            }
            Drain::Fd(fd) => match Descriptor::for_output(fd) {
                Ok(to) if to.is_pipe() => Self::Pipe(to),
                Ok(to) => Self::Fd(to),
                Err(error) => Self::Broken(error),
            },
        }
    }

    /// Gives up moving pages.
    fn copy_from_now_on(&mut self) {
        *self = match std::mem::replace(self, Self::None) {
            Self::Pipe(to) => Self::Fd(to),
            other => other,
        };
    }

    /// `BrokenPipe` if the receiver is gone.
    async fn pass_on(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::None | Self::Kept => Ok(()),
            Self::Piped(writer) => writer.write_all(bytes).await,
            Self::Fd(to) | Self::Pipe(to) => to.write_politely(bytes).await,
            Self::Terminal(to) => to.write(bytes).await,
            Self::Broken(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }
}

/// How far a stream could be moved from pipe to pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spliced {
    /// It is at its end.
    End,
    /// The rest, if there is any, has to be looked at: it is beyond the limit, or there is nobody
    /// to whom it could be moved.
    Rest,
}

/// Moves output from pipe to pipe up to the limit, and not a byte beyond.
async fn splice(
    pipe: &Descriptor,
    to: &mut Outlet,
    limit: Limit<ByteSize>,
    carried: &Carried,
    over: &Over,
) -> io::Result<Spliced> {
    let mut has_grown = false;
    while let Outlet::Pipe(next) = to {
        let room = usize::try_from(carried.room(limit)).unwrap_or(usize::MAX);
        if room == 0 {
            break;
        }
        match pipe.splice(next, room.min(AT_ONCE), over).await {
            Ok(0) => return Ok(Spliced::End),
            Ok(len) => {
                let total = carried.count(len);
                if total > MUCH && !has_grown {
                    pipe.grow(AT_ONCE);
                    has_grown = true;
                }
            }
            // Whatever it is, reading and writing says it better, or can do without.
            Err(_) => to.copy_from_now_on(),
        }
    }
    Ok(Spliced::Rest)
}

/// Writes to a program's standard input until there is no more, or the program wants no more. An error is
/// one of the source.
pub(crate) async fn feed(from: Inlet, pipe: Descriptor, terminal: bool) -> io::Result<()> {
    const END_OF_TRANSMISSION: &[u8] = b"\x04";
    let mut buffer = Vec::new();
    match from {
        Inlet::Nothing => {}
        Inlet::Bytes(bytes) => drop(pipe.write(&bytes).await),
        Inlet::Fd(source) => {
            buffer.reserve(CHUNK);
            while source.read_politely(&mut buffer).await? > 0 && pipe.write(&buffer).await.is_ok()
            {
                buffer.clear();
            }
        }
        Inlet::Piped(mut reader) => {
            buffer.reserve(CHUNK);
            while reader.read_buf(&mut buffer).await? > 0 && pipe.write(&buffer).await.is_ok() {
                buffer.clear();
            }
        }
        Inlet::Broken(error) => return Err(error),
    }
    if terminal {
        // A program that wants no more may have closed it.
        let _ = pipe.write(END_OF_TRANSMISSION).await;
        // The end of a terminal is shared by input and output: it is closed with the output.
        std::future::pending::<()>().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// What neither epoll nor `read` and `write` know how to use (`open(2)`, `O_PATH`).
    fn unusable() -> OwnedFd {
        use rustix::fs::{Mode, OFlags};
        rustix::fs::open("/dev/null", OFlags::PATH, Mode::empty()).unwrap()
    }

    #[tokio::test]
    async fn an_output_that_cannot_be_watched_is_told_and_read_all_the_same() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&writer, b"unheard").unwrap();
        drop(writer);
        let pipe = Descriptor::new(reader).unwrap();
        let to = Outlet::watch(Drain::Fd(unusable()));
        let cap = Cap { limit: Limit::Unlimited, excess: Excess::Kill };
        let (carried, exceeded, over) = (Carried::default(), Notify::new(), Over::default());
        let ended = drain(pipe, to, cap, &carried, &exceeded, &over).await.unwrap();
        assert!(ended.is_some(), "it is read to its end");
        let output = carried.take();
        assert_eq!((output.total, output.truncated), (7, true));
        let reason = carried.breakage.take();
        assert!(reason.as_deref().is_some_and(|it| it.contains("Bad file")), "{reason:?}");
    }

    #[tokio::test]
    async fn an_input_that_cannot_be_watched_is_an_error() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let pipe = Descriptor::new(writer).unwrap();
        let fed = feed(Inlet::watch(Feed::Fd(unusable())), pipe, false).await;
        assert_eq!(fed.unwrap_err().raw_os_error(), Some(Errno::BADF.raw_os_error()));
        assert_eq!(rustix::io::read(&reader, &mut [0; 8]).unwrap(), 0, "it is at its end");
    }

    /// A stream that always has more to read, beside something else to do on the same thread.
    #[tokio::test]
    async fn a_flood_lets_others_have_their_turn() {
        const TURNS: usize = 32;
        let zero = Descriptor::new(std::fs::File::open("/dev/zero").unwrap().into()).unwrap();
        let limit = ByteSize((TURNS * CHUNK) as u64).into();
        let cap = Cap { limit, excess: Excess::Kill };
        let (carried, exceeded, turns) = (Carried::default(), Notify::new(), AtomicUsize::new(0));
        let over = Over::default();
        let flood = drain(zero, Outlet::Kept, cap, &carried, &exceeded, &over);
        let others = async {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            done = flood => assert!(done.unwrap().is_none(), "it is given up"),
            () = others => unreachable!("it has no end"),
        }
        let output = carried.take();
        assert!(output.truncated);
        assert_eq!(output.data.len(), TURNS * CHUNK);
        // The first reads, of which one is small, are one turn.
        assert!(turns.into_inner() >= TURNS - 1, "others had too few turns");
    }
}
