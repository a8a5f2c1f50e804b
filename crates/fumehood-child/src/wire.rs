//! What supervisor, zygote and init say to each other.
//!
//! Supervisor and init share a stream socket. Each message is a header of 8 bytes, kind and length
//! of the body, then the body; descriptors travel with the header.

use crate::step::{Field, Reader, Sink};
use crate::sys::{self, Errno, Fd, MAX_FDS, Result};

/// Length of a message's header.
pub const HEADER_LEN: usize = 8;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Supervisor to init: the steps of the cell. Descriptors: those that the steps name.
    Cell = 1,
    /// Supervisor to init: the steps of the program. Descriptors: its stdin, stdout and stderr, those
    /// that came before it ([`Self::Stdio`]) left out; none if it gets a terminal.
    Program = 2,
    /// Supervisor to init: send a signal to the program. Body: [`Signal`].
    Signal = 3,
    /// Supervisor to init, before the program: write the inputs. Descriptor: the stream of
    /// [`Record`](crate::stage::Record)s.
    Stage = 4,
    /// Supervisor to init, instead of a program: be a [template](crate::template). Body: 1, unless a
    /// test wants its networks to be lent again without a look. Descriptor: the packet socket for its
    /// requests.
    Template = 5,
    /// Supervisor to init, before the program: what its stdin, stdout and stderr will be. Descriptors:
    /// these three.
    Stdio = 6,
    /// Supervisor to init, before [`Self::Cell`]: the first of its steps, which need no descriptors.
    Opening = 7,
    /// Supervisor to init, after the program: say whether it runs by now. No body.
    Ask = 8,
    /// Supervisor to init, after [`Self::Stdio`]: a program will come, which begins with these steps. Who
    /// becomes it does them and waits for the rest, a [`Self::Program`] that comes with its stdin or
    /// without descriptors. Descriptor: the socket where that comes.
    Prime = 9,
    /// Launcher to supervisor: the init exists. Body: its process id. Descriptor: its pidfd.
    Spawned = 10,
    /// Launcher to supervisor: there is no init. Body: [`Failure`], whose index is a
    /// [`LaunchStep`](crate::launch::LaunchStep).
    NotSpawned = 11,
    /// Init to supervisor: the cell stands. Body: nanoseconds per step, 32 bits each.
    Ready = 12,
    /// Init to supervisor: a step of the cell failed. Body: [`Failure`].
    CellFailed = 13,
    /// Init to supervisor, when it is [asked](Self::Ask) or with [`Self::Ended`]; unasked where somebody
    /// watches what the program is denied, or it gets a terminal: the program runs, or has run. Body:
    /// its process id inside, since how many microseconds it does, then nanoseconds per step, 32 bits
    /// each. Descriptor: the terminal's controlling end, if there is one.
    Started = 14,
    /// Init to supervisor: a step of the program failed; it never ran. Body: [`Failure`].
    ProgramFailed = 15,
    /// Init to supervisor: the program and everything it started has ended. Body: [`Ended`].
    Ended = 16,
    /// Init to supervisor, before [`Self::Ready`] where a step asks for it: the directory that the
    /// changes to copy-on-write mounts go to. No body. Descriptor: that directory (`O_PATH`).
    Changes = 18,
    /// Init to supervisor, before [`Self::Ready`] where a step asks for it: the root of the cell. No
    /// body. Descriptor: the root, as a place only (`O_PATH`).
    Root = 17,
    /// Init to supervisor, after [`Self::Root`]: the mount namespace of the cell. As long as somebody
    /// has it open, its mounts are there, whether or not anybody lives in it. No body.
    Mounts = 21,
    /// Init to supervisor: the inputs are written. No body.
    Staged = 19,
    /// Init to supervisor: an input could not be written; nothing runs. Body: the errno in 32 bits,
    /// then the path, which is empty if the stream broke off.
    StageFailed = 20,
}

impl Kind {
    /// The kind of that number.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Cell,
            2 => Self::Program,
            3 => Self::Signal,
            4 => Self::Stage,
            5 => Self::Template,
            6 => Self::Stdio,
            7 => Self::Opening,
            8 => Self::Ask,
            9 => Self::Prime,
            10 => Self::Spawned,
            11 => Self::NotSpawned,
            12 => Self::Ready,
            13 => Self::CellFailed,
            14 => Self::Started,
            15 => Self::ProgramFailed,
            16 => Self::Ended,
            18 => Self::Changes,
            17 => Self::Root,
            19 => Self::Staged,
            20 => Self::StageFailed,
            21 => Self::Mounts,
            _ => return None,
        })
    }

    /// The header of a message of this kind.
    #[must_use]
    pub fn header(self, len: u32) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        for (byte, value) in
            header.iter_mut().zip((self as u32).to_le_bytes().into_iter().chain(len.to_le_bytes()))
        {
            *byte = value;
        }
        header
    }

    /// Kind and body length from a header.
    #[must_use]
    pub fn parse(header: &[u8; HEADER_LEN]) -> Option<(Self, u32)> {
        let mut reader = Reader::new(header);
        let kind = Self::from_number(reader.get()?)?;
        Some((kind, reader.get()?))
    }
}

macro_rules! body {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type),* }

        impl $name {
            /// Writes the body down.
            pub fn encode(&self, sink: &mut impl Sink) {
                $(Field::put(&self.$field, sink);)*
            }

            /// Reads the body.
            #[must_use]
            pub fn decode(bytes: &[u8]) -> Option<Self> {
                let mut reader = Reader::new(bytes);
                let body = Self { $($field: reader.get()?),* };
                reader.is_empty().then_some(body)
            }
        }
    };
}

body! {
    /// Which step failed and why.
    Failure {
        /// Index of the step in its list.
        index: u32,
        /// What the kernel said.
        errno: i32,
        /// For an execution that failed with `ENOENT`: whether the file exists, so that it must be
        /// its interpreter that does not.
        interpreter: bool,
    }
}

body! {
    /// A signal for the program.
    Signal {
        /// Its number.
        signal: i32,
        /// Whether every process of the sandbox gets it, or only the program's process group.
        all: bool,
    }
}

body! {
    /// How a program ended and what its whole tree used.
    Ended {
        /// Wait status of the program, as `wait4(2)` gives it.
        status: i32,
        /// User time of all processes that were waited for, in microseconds.
        user_us: u64,
        /// System time of the same, in microseconds.
        system_us: u64,
        /// Largest resident set of any one of them, in KiB.
        maxrss_kib: u64,
        /// Whether all was killed because a process made a call that the filter kills for.
        denied: bool,
        /// Whether it is known which, in the next two.
        call_known: bool,
        /// The number of that call.
        call: i32,
        /// Its calling convention, `AUDIT_ARCH_*`.
        convention: u32,
    }
}

/// A small buffer for encoded bodies.
#[derive(Debug)]
pub struct Buffer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Buffer<N> {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    /// What was put in.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl<const N: usize> Default for Buffer<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Sink for Buffer<N> {
    /// Bytes beyond the capacity are dropped: bodies of this crate are smaller than their buffers.
    fn put(&mut self, bytes: &[u8]) {
        if let Some(space) = self.bytes.get_mut(self.len..) {
            for (to, from) in space.iter_mut().zip(bytes) {
                *to = *from;
                self.len += 1;
            }
        }
    }
}

/// A message that came in.
#[derive(Debug)]
pub struct Message<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its body.
    pub body: &'a mut [u8],
}

/// Sends one message, with at most one descriptor.
///
/// # Errors
/// Those of `sendmsg(2)`: the supervisor is gone.
pub fn send(socket: Fd, kind: Kind, body: &[u8], fd: Option<Fd>) -> Result<()> {
    let header = kind.header(u32::try_from(body.len()).map_err(|_| Errno::TOOBIG)?);
    send_parts(socket, [&header, body, &[], &[]], fd)
}

/// Sends two messages in one call.
///
/// # Errors
/// As for [`send`].
pub fn send_both(socket: Fd, one: Kind, body: &[u8], other: Kind, other_body: &[u8]) -> Result<()> {
    let header = one.header(u32::try_from(body.len()).map_err(|_| Errno::TOOBIG)?);
    let other = other.header(u32::try_from(other_body.len()).map_err(|_| Errno::TOOBIG)?);
    send_parts(socket, [&header, body, &other, other_body], None)
}

fn send_parts(socket: Fd, mut parts: [&[u8]; 4], mut fd: Option<Fd>) -> Result<()> {
    while parts.iter().any(|part| !part.is_empty()) {
        match sys::send(socket, parts, fd) {
            Ok(sent) => {
                skip(&mut parts, sent);
                fd = None;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Takes off what was sent.
fn skip(parts: &mut [&[u8]; 4], mut sent: usize) {
    for part in parts {
        let len = part.len();
        *part = part.get(sent..).unwrap_or(&[]);
        sent = sent.saturating_sub(len);
    }
}

/// Receives one message and the descriptors that came with it; `None` at the end of the stream. Its body
/// stays in memory as long as the process.
///
/// # Errors
/// Those of `recvmsg(2)`; `EPROTO` for a header that does not decode, `ENOMEM`.
pub fn receive(socket: Fd, fds: &mut [Fd; MAX_FDS]) -> Result<Option<(Message<'static>, usize)>> {
    receive_to(socket, fds, |len| if len == 0 { Ok(&mut []) } else { sys::map(len) })
}

/// Room for the body of whatever comes to an init while its program runs: [`Signal`] at most.
pub const SHORT: usize = 8;

/// [`receive`] of a short message, whose body is put into `room`: one of many.
///
/// # Errors
/// The same; `EPROTO` for one that is longer than the room.
pub fn receive_short<'a>(
    socket: Fd,
    fds: &mut [Fd; MAX_FDS],
    room: &'a mut [u8],
) -> Result<Option<(Message<'a>, usize)>> {
    receive_to(socket, fds, |len| room.get_mut(..len).ok_or(Errno::PROTO))
}

/// [`receive`] of a message whose body is put into `room` if it fits.
///
/// # Errors
/// The same.
pub(crate) fn receive_into<'a>(
    socket: Fd,
    fds: &mut [Fd; MAX_FDS],
    room: &'a mut [u8],
) -> Result<Option<(Message<'a>, usize)>> {
    receive_to(socket, fds, |len| match room.get_mut(..len) {
        Some(room) => Ok(room),
        None => sys::map(len),
    })
}

fn receive_to<'a>(
    socket: Fd,
    fds: &mut [Fd; MAX_FDS],
    room: impl FnOnce(usize) -> Result<&'a mut [u8]>,
) -> Result<Option<(Message<'a>, usize)>> {
    let mut header = [0; HEADER_LEN];
    let (len, count) = receive_some(socket, &mut header, fds)?;
    if len == 0 {
        return Ok(None);
    }
    if !read_exact(socket, header.get_mut(len..).unwrap_or(&mut []))? {
        return Ok(None);
    }
    let (kind, len) = Kind::parse(&header).ok_or(Errno::PROTO)?;
    let len = usize::try_from(len).map_err(|_| Errno::TOOBIG)?;
    let body = room(len)?;
    Ok(read_exact(socket, body)?.then_some((Message { kind, body }, count)))
}

fn receive_some(socket: Fd, buffer: &mut [u8], fds: &mut [Fd; MAX_FDS]) -> Result<(usize, usize)> {
    loop {
        match sys::receive(socket, buffer, fds) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Fills `buffer`; false if the stream ends before.
fn read_exact(socket: Fd, mut buffer: &mut [u8]) -> Result<bool> {
    while !buffer.is_empty() {
        match sys::read(socket, buffer) {
            Ok(0) => return Ok(false),
            Ok(len) => buffer = buffer.get_mut(len..).unwrap_or(&mut []),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(true)
}
