//! A small single-threaded process that clones inits on behalf of a large or threaded one.
//!
//! Each request is one packet with the init's end of a socket to the supervisor; the answer goes
//! to the supervisor over that socket. The zygote ends when its owner closes the other end of the
//! packet socket, and takes every init with it, because inits die with their parent.

use linux_raw_sys::general as nr;

use crate::launch::{IdMaps, Launch, LaunchStep, Parting, launch, launch_parting};
use crate::prelude::Prelude;
use crate::step::{Field, Reader, Sink};
use crate::sys::{self, Errno, Fd, MAX_FDS};
use crate::wire::{self, Buffer, Failure, Kind};

/// Longest request, in bytes.
pub const MAX_REQUEST: usize = 1024;

/// What a supervisor asks of a zygote. Descriptors: the init's end of the socket, then the control
/// group if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// `CLONE_NEW*` flags.
    pub flags: u64,
    /// Whether there is a user namespace, whose ids follow.
    pub maps_ids: bool,
    /// Line for `uid_map`.
    pub uid_map: &'a [u8],
    /// Line for `gid_map`.
    pub gid_map: &'a [u8],
    /// Whether `setgroups(2)` is denied.
    pub deny_setgroups: bool,
    /// What the init does unasked.
    pub prelude: Option<Prelude>,
}

impl<'a> Request<'a> {
    /// What is asked for, with the init's end of the line and its control group.
    fn launch(&self, socket: Fd, cgroup: Option<Fd>) -> Launch<'a> {
        let ids = self.maps_ids.then_some(IdMaps {
            uid: self.uid_map,
            gid: self.gid_map,
            deny_setgroups: self.deny_setgroups,
        });
        Launch { flags: self.flags, ids, cgroup, socket, prelude: self.prelude }
    }

    /// Writes the request down.
    pub fn encode(&self, sink: &mut impl Sink) {
        self.flags.put(sink);
        self.maps_ids.put(sink);
        self.uid_map.put(sink);
        self.gid_map.put(sink);
        self.deny_setgroups.put(sink);
        if let Some(prelude) = &self.prelude {
            prelude.encode(sink);
        }
    }

    /// Reads a request.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let request = Self {
            flags: reader.get()?,
            maps_ids: reader.get()?,
            uid_map: reader.get()?,
            gid_map: reader.get()?,
            deny_setgroups: reader.get()?,
            prelude: None,
        };
        if reader.is_empty() {
            return Some(request);
        }
        let prelude = Some(Prelude::decode(&mut reader)?);
        reader.is_empty().then_some(Self { prelude, ..request })
    }
}

/// Lives the life of a zygote; `socket` is a packet socket to its owner.
pub fn main(socket: Fd) -> ! {
    const INT: u32 = 2;
    const QUIT: u32 = 3;
    const TERM: u32 = 15;
    const PIPE: u32 = 13;
    // The terminal's signals are for the owner. Children are reaped by the kernel.
    let _ = sys::setsid();
    for signal in &[INT, QUIT, TERM, PIPE, nr::SIGCHLD] {
        sys::ignore_signal(*signal);
    }
    let _ = sys::chdir(c"/");
    answer_requests(sys::keep_only(socket), |request, socket, cgroup| {
        let pidfd = clone(request, socket, cgroup)?;
        sys::close(pidfd);
        Ok(())
    })
}

/// Why there is no init.
pub(crate) type Refused = (LaunchStep, Errno);

/// Answers requests until the socket is closed at its other end.
pub(crate) fn answer_requests(
    socket: Fd,
    mut clone: impl FnMut(&Request<'_>, Fd, Option<Fd>) -> Result<(), Refused>,
) -> ! {
    loop {
        let mut packet = [0; MAX_REQUEST];
        let mut fds = [Fd(-1); MAX_FDS];
        match sys::receive(socket, &mut packet, &mut fds) {
            Ok((0, _)) => sys::exit(0),
            Ok((len, count)) => {
                let fds = fds.get(..count).unwrap_or(&[]);
                answer(packet.get(..len).unwrap_or(&[]), fds, &mut clone);
                fds.iter().copied().for_each(sys::close);
            }
            Err(Errno::INTR) => {}
            Err(_) => sys::exit(1),
        }
    }
}

fn answer(
    packet: &[u8],
    fds: &[Fd],
    clone: &mut impl FnMut(&Request<'_>, Fd, Option<Fd>) -> Result<(), Refused>,
) {
    let Some(&socket) = fds.first() else { return };
    let cloned = match Request::decode(packet) {
        Some(request) => clone(&request, socket, fds.get(1).copied()),
        None => Err((LaunchStep::Message, Errno::PROTO)),
    };
    if let Err(error) = cloned {
        refuse(socket, error);
    }
}

fn refuse(socket: Fd, (step, errno): Refused) {
    let mut body = Buffer::<16>::new();
    Failure { index: step as u32, errno: errno.0, interpreter: false }.encode(&mut body);
    let _ = wire::send(socket, Kind::NotSpawned, body.bytes(), None);
}

/// Clones an init, whose end of the line to its supervisor is `socket`, and tells the supervisor;
/// the init's pidfd.
pub(crate) fn clone(request: &Request<'_>, socket: Fd, cgroup: Option<Fd>) -> Result<Fd, Refused> {
    let spawned = launch(&request.launch(socket, cgroup))?;
    let pidfd = spawned.pidfd;
    let released = match tell(socket, spawned.pid, pidfd) {
        Ok(()) => spawned.release(),
        Err(errno) => {
            spawned.give_up();
            Err(errno)
        }
    };
    released_or_closed(pidfd, released)
}

/// [`clone`] for a launcher with many descriptors.
pub(crate) fn clone_parting(
    request: &Request<'_>,
    socket: Fd,
    parting: &Parting,
) -> Result<Fd, Refused> {
    let (pid, pidfd) = launch_parting(&request.launch(socket, None), parting)?;
    released_or_closed(pidfd, tell(socket, pid, pidfd))
}

fn tell(socket: Fd, pid: i32, pidfd: Fd) -> sys::Result<()> {
    let mut body = Buffer::<4>::new();
    pid.put(&mut body);
    wire::send(socket, Kind::Spawned, body.bytes(), Some(pidfd))
}

fn released_or_closed(pidfd: Fd, released: sys::Result<()>) -> Result<Fd, Refused> {
    match released {
        Ok(()) => Ok(pidfd),
        Err(errno) => {
            sys::close(pidfd);
            Err((LaunchStep::Message, errno))
        }
    }
}
