//! Small single-threaded processes that clone inits on behalf of a large or threaded one.
//!
//! There are two of them. The *zygote* answers requests: each is one packet with the init's end of a
//! socket to the supervisor; the answer goes to the supervisor over that socket. The *warden* is its
//! parent, and the parent of everything that it clones (`CLONE_PARENT`), and does nothing but wait: for
//! the zygote to end, which makes it clone another, and for its owner to end, which ends all. So what
//! can fail, because it does something, takes nothing along; and what everybody dies with does nothing
//! that could fail.
//!
//! That the end of the owner is the end of all takes no line of code of ours: the kernel kills the
//! warden with the thread of its owner that started it, and with the warden its children, whether they
//! wait, are stopped, or would listen. The end of their sockets tells them as well, where no copy of the
//! owner keeps those open.

use core::ops::Range;
use core::sync::atomic::AtomicU32;

use linux_raw_sys::general as nr;

use crate::launch::{IdMaps, Launch, LaunchStep, Parting, launch, launch_parting};
use crate::prelude::Prelude;
use crate::step::{Field, Reader, Sink};
use crate::sys::{self, Cloned, Errno, Fd, MAX_FDS, PollFd};
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
        Launch { flags: self.flags, ids, cgroup, socket, prelude: self.prelude, aside: false }
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

/// Lives the life of a warden; `socket` is a packet socket to its owner, which is that process. The
/// kernel kills it with the thread that started it, which must live as long as the owner, unless no owner
/// is named, as in tests. What was allocated lies in `heap`, and is used no more.
pub fn main(socket: Fd, owner: Option<i32>, heap: Option<Range<usize>>) -> ! {
    sys::set_name(c"fumehood-warden");
    if let Some(heap) = heap {
        // Its tables of pages, of 12 KiB, would be each init's.
        let _ = sys::leave_behind(heap);
    }
    // The terminal's signals are for the owner.
    let _ = sys::setsid();
    sys::block_signals();
    // Children are reaped by the kernel.
    sys::ignore_signal(nr::SIGCHLD);
    let _ = sys::chdir(c"/");
    let socket = sys::keep_only(socket);
    if let Some(owner) = owner {
        die_with(owner);
    }
    let own = sys::getpid();
    loop {
        match sys::fork(0, None) {
            Ok(Cloned::Child) => answer_as_zygote(socket, own),
            Ok(Cloned::Parent { pidfd, .. }) => keep(socket, pidfd),
            Err(_) => sys::exit(1),
        }
        // One that dies at once shall not keep a processor busy.
        sys::sleep_ms(1);
    }
}

/// Ends with the parent, also if that has ended before.
fn die_with(parent: i32) {
    if sys::die_with_parent().is_err() || sys::getppid() != parent {
        sys::exit(1);
    }
}

/// Waits for the zygote to end. The end of the owner is its own.
fn keep(socket: Fd, zygote: Fd) {
    loop {
        let mut watched = [PollFd::hung_up(socket), PollFd::readable(zygote)];
        if sys::poll(&mut watched).is_err() {
            continue;
        }
        let [owner_ended, zygote_ended] = watched.map(|fd| fd.revents != 0);
        if owner_ended {
            sys::exit(0);
        }
        if zygote_ended {
            return sys::close(zygote);
        }
    }
}

fn answer_as_zygote(socket: Fd, warden: i32) -> ! {
    sys::set_name(c"fumehood-zygote");
    die_with(warden);
    // What it is cloned with an init begins with: all signals at their default, and blocked.
    sys::default_signals();
    answer_requests(sys::keep_only(socket), &mut Zygote)
}

/// Who clones inits on request.
pub(crate) trait Cloner {
    /// Clones one, with its end of the line to its supervisor and its control group.
    fn clone(&mut self, request: &Request<'_>, line: Fd, cgroup: Option<Fd>)
    -> Result<(), Refused>;

    /// What there is to do while nobody asks; over as soon as somebody does, on this socket.
    fn rest(&mut self, _socket: Fd) {}
}

struct Zygote;

impl Cloner for Zygote {
    fn clone(
        &mut self,
        request: &Request<'_>,
        line: Fd,
        cgroup: Option<Fd>,
    ) -> Result<(), Refused> {
        clone(request, line, cgroup).map(sys::close)
    }
}

/// Why there is no init.
pub(crate) type Refused = (LaunchStep, Errno);

/// Answers requests until the socket is closed at its other end.
pub(crate) fn answer_requests(socket: Fd, cloner: &mut impl Cloner) -> ! {
    loop {
        cloner.rest(socket);
        let mut packet = [0; MAX_REQUEST];
        let mut fds = [Fd(-1); MAX_FDS];
        match sys::receive(socket, &mut packet, &mut fds) {
            Ok((0, _)) => sys::exit(0),
            Ok((len, count)) => {
                let fds = fds.get(..count).unwrap_or(&[]);
                answer(packet.get(..len).unwrap_or(&[]), fds, cloner);
                fds.iter().copied().for_each(sys::close);
            }
            Err(Errno::INTR) => {}
            Err(_) => sys::exit(1),
        }
    }
}

fn answer(packet: &[u8], fds: &[Fd], cloner: &mut impl Cloner) {
    let Some(&socket) = fds.first() else { return };
    if has_hung_up(socket) {
        return;
    }
    let cloned = match Request::decode(packet) {
        Some(request) => cloner.clone(&request, socket, fds.get(1).copied()),
        None => Err((LaunchStep::Message, Errno::PROTO)),
    };
    if let Err(error) = cloned {
        refuse(socket, error);
    }
}

/// Whether the supervisor that asked is there no more: others wait for theirs.
fn has_hung_up(socket: Fd) -> bool {
    matches!(sys::poll_now(&mut [PollFd::hung_up(socket)]), Ok(1..))
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
    said: Option<&'static AtomicU32>,
) -> Result<Fd, Refused> {
    let launch = request.launch(socket, None);
    launch_parting(&launch, parting, said, |pid, pidfd| tell(socket, pid, pidfd))
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
