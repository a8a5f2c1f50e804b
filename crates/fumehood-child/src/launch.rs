//! Clones the init of a cell.

use core::ffi::CStr;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use linux_raw_sys::general as nr;

use crate::prelude::Prelude;
use crate::step::Sink;
use crate::sys::{self, Cloned, Errno, Fd, Result};
use crate::wire::Buffer;

/// What an init is cloned with.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// `CLONE_NEW*` flags.
    pub flags: u64,
    /// Ids of the new user namespace, or none where it has none.
    pub ids: Option<IdMaps<'a>>,
    /// Control group (version 2) to be born in.
    pub cgroup: Option<Fd>,
    /// The init's end of the socket to its supervisor.
    pub socket: Fd,
    /// What the init does before anything is asked of it.
    pub prelude: Option<Prelude>,
    /// Whether it begins on another processor than its launcher's, which has to go on meanwhile.
    pub aside: bool,
}

/// Lines for the id maps of a user namespace (`user_namespaces(7)`).
#[derive(Clone, Copy, Debug)]
pub struct IdMaps<'a> {
    /// For `uid_map`.
    pub uid: &'a [u8],
    /// For `gid_map`.
    pub gid: &'a [u8],
    /// Whether `setgroups(2)` is denied first, which an unprivileged writer of `gid_map` must do.
    pub deny_setgroups: bool,
}

/// What a launch is made of, for error messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LaunchStep {
    /// `clone3(2)` with the namespaces.
    Clone = 0,
    /// Writing `/proc/PID/setgroups`.
    Setgroups = 1,
    /// Writing `/proc/PID/uid_map`.
    UidMap = 2,
    /// Writing `/proc/PID/gid_map`.
    GidMap = 3,
    /// Passing messages.
    Message = 4,
    /// Lending a network namespace.
    Network = 5,
}

impl LaunchStep {
    /// The step of that number.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Clone,
            1 => Self::Setgroups,
            2 => Self::UidMap,
            3 => Self::GidMap,
            5 => Self::Network,
            _ => Self::Message,
        }
    }

    /// The name used in reports and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clone => "clone",
            Self::Setgroups => "deny-setgroups",
            Self::UidMap => "uid-map",
            Self::GidMap => "gid-map",
            Self::Message => "message",
            Self::Network => "network",
        }
    }
}

/// Why there is no init.
pub type LaunchError = (LaunchStep, Errno);

/// An init that waits for the ids of its namespace.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: Fd,
    release: Fd,
}

impl Spawned {
    /// Lets the init go on.
    ///
    /// # Errors
    /// `EPIPE` if the init has died.
    pub fn release(self) -> Result<()> {
        let released = sys::write(self.release, b"1").map(drop);
        sys::close(self.release);
        released
    }

    /// Has the init end by itself.
    pub fn give_up(self) {
        sys::close(self.release);
    }
}

/// Clones an init and sets the ids of its user namespace. If that fails the init ends by itself.
///
/// # Errors
/// The step that failed and the kernel's errno.
pub fn launch(launch: &Launch<'_>) -> core::result::Result<Spawned, LaunchError> {
    let (waiting, release) = sys::pipe().map_err(|errno| (LaunchStep::Message, errno))?;
    let home = if launch.aside { sys::Processors::of_this_thread().ok() } else { None };
    let cloned = sys::fork(launch.flags, launch.cgroup);
    if let Ok(Cloned::Child) = cloned {
        // Held open here, the writing end would hide the launcher's death.
        sys::close(release);
        crate::init::main(launch.socket, waiting, launch.prelude.as_ref(), home.as_ref());
    }
    sys::close(waiting);
    let spawned = match cloned {
        Ok(Cloned::Parent { pid, pidfd }) => {
            set_aside(pid, home);
            Spawned { pid, pidfd, release }
        }
        Ok(Cloned::Child) => return Err((LaunchStep::Clone, Errno::INVAL)),
        Err(errno) => {
            sys::close(release);
            return Err((LaunchStep::Clone, errno));
        }
    };
    match launch.ids.map_or(Ok(()), |ids| write_maps(None, spawned.pid, &ids)) {
        Ok(()) => Ok(spawned),
        Err(error) => {
            sys::close(spawned.release);
            sys::close(spawned.pidfd);
            Err(error)
        }
    }
}

/// Moves an init to another processor. Not all kernels look for one that idles when they clone, and
/// then each waits while the other works. Where there is none, or the kernel refuses, nothing is lost.
fn set_aside(pid: i32, home: Option<sys::Processors>) {
    if let Some(others) = home.and_then(sys::Processors::others) {
        let _ = others.confine(pid);
    }
}

/// Where a launcher and an init that shares its descriptors tell each other how far they are.
///
/// A launcher with thousands of descriptors would have them copied for every init, only for that to
/// close them. An init that is cloned with `CLONE_FILES` takes those along that it wants.
#[derive(Debug)]
pub struct Parting {
    /// In memory that both have: one of the next three, or 0.
    said: &'static AtomicU32,
    /// The process file system that shows the inits.
    proc: Fd,
}

/// Where an init has the end of its process file system told, and where it says by which number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Farewell {
    pub(crate) there: Fd,
    pub(crate) said: &'static AtomicU32,
}

impl Farewell {
    /// Where it cannot be told nothing is said, and nothing follows.
    pub(crate) fn arrange(self) {
        if let Ok(number) = sys::tell_unmount(c"/proc", self.there) {
            self.said.store(number, Relaxed);
        }
        sys::close(self.there);
    }
}

/// The launcher: the init has its ids, and its supervisor knows of it.
const GO: u32 = 1;
/// The launcher: it is not to be.
const END: u32 = 2;
/// The init: it has descriptors of its own, and is done with this word.
const PARTED: u32 = 3;

/// The number at which an init finds its end of the line when it begins.
const LINE: Fd = Fd(1);

/// The number at which it finds where unmounts are told, if they are. It takes along what has no higher number.
pub(crate) const UNMOUNTS: Fd = Fd(2);

impl Parting {
    /// For a launcher whose descriptors but for 0 have higher numbers than these.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`.
    pub fn new(proc: Fd) -> Result<Self> {
        sys::dup_onto(Fd(0), LINE)?;
        let said = sys::map_shared(1)?.first().ok_or(Errno::INVAL)?;
        Ok(Self { said, proc })
    }

    fn say(&self, word: u32) {
        self.said.store(word, Release);
        sys::wake_other(self.said);
    }

    /// In the init: leaves the launcher's descriptors to the launcher, once it may go on. Until it says so,
    /// nobody else uses the word.
    fn part(&self, said: Option<&'static AtomicU32>) -> Result<(Fd, Option<Farewell>)> {
        const PATIENCE: u32 = 500;
        sys::unshare_above(UNMOUNTS)?;
        // A launcher that was killed says nothing any more.
        for _ in 0..PATIENCE {
            match self.said.load(Acquire) {
                GO => {
                    self.say(PARTED);
                    let Some(said) = said else { return Ok((sys::keep_only(LINE), None)) };
                    sys::dup_onto(LINE, Fd(0))?;
                    sys::close(LINE);
                    return Ok((Fd(0), Some(Farewell { there: UNMOUNTS, said })));
                }
                END => {
                    // Nobody else can be cloned as long as the launcher waits for this one.
                    self.say(PARTED);
                    break;
                }
                word => sys::wait_for_other(self.said, word, SOON),
            }
        }
        sys::exit(1)
    }

    /// In the launcher: waits until the init has parted, or is no more.
    fn wait(&self, init: Fd) {
        loop {
            match self.said.load(Acquire) {
                PARTED => return,
                word => sys::wait_for_other(self.said, word, SOON),
            }
            if matches!(sys::poll_now(&mut [sys::PollFd::readable(init)]), Ok(1)) {
                return;
            }
        }
    }
}

/// Milliseconds after which it is looked again.
const SOON: u32 = 20;

/// Clones an init that lets go of this process's descriptors rather than have copies of them, sets the
/// ids of its user namespace, and has somebody told of its process id and pidfd, before it does anything.
///
/// # Errors
/// As for [`launch`], and what telling says; there is no init then.
pub fn launch_parting(
    launch: &Launch<'_>,
    parting: &Parting,
    said: Option<&'static AtomicU32>,
    tell: impl FnOnce(i32, Fd) -> Result<()>,
) -> core::result::Result<Fd, LaunchError> {
    let message = |errno| (LaunchStep::Message, errno);
    sys::dup_onto(launch.socket, LINE).map_err(message)?;
    parting.said.store(0, Release);
    match sys::fork(launch.flags | u64::from(nr::CLONE_FILES), launch.cgroup) {
        Ok(Cloned::Child) => match parting.part(said) {
            Ok((line, farewell)) => {
                crate::init::main_in_template(line, launch.prelude.as_ref(), farewell)
            }
            Err(_) => sys::exit(1),
        },
        Ok(Cloned::Parent { pid, pidfd }) => {
            let proc = Some(parting.proc);
            let mapped = launch.ids.map_or(Ok(()), |ids| write_maps(proc, pid, &ids));
            let told = mapped.and_then(|()| tell(pid, pidfd).map_err(message));
            parting.say(if told.is_ok() { GO } else { END });
            parting.wait(pidfd);
            // Held open here, it would hide the supervisor's end from the init, and the init's from
            // the supervisor.
            let parted = sys::dup_onto(Fd(0), LINE).map_err(message);
            match told.and(parted) {
                Ok(()) => Ok(pidfd),
                Err(error) => {
                    sys::close(pidfd);
                    Err(error)
                }
            }
        }
        Err(errno) => Err((LaunchStep::Clone, errno)),
    }
}

/// `proc` is the process file system, unless it lies where it always does.
fn write_maps(
    proc: Option<Fd>,
    pid: i32,
    ids: &IdMaps<'_>,
) -> core::result::Result<(), LaunchError> {
    let write =
        |step, file, content| write_proc(proc, pid, file, content).map_err(|errno| (step, errno));
    if ids.deny_setgroups {
        write(LaunchStep::Setgroups, b"/setgroups\0", b"deny")?;
    }
    write(LaunchStep::UidMap, b"/uid_map\0", ids.uid)?;
    write(LaunchStep::GidMap, b"/gid_map\0", ids.gid)
}

/// Writes a file of `/proc/PID`; `file` starts with a slash and ends in NUL.
fn write_proc(proc: Option<Fd>, pid: i32, file: &[u8], content: &[u8]) -> Result<()> {
    let mut path = Buffer::<40>::new();
    if proc.is_none() {
        path.put(b"/proc/");
    }
    put_decimal(&mut path, pid.unsigned_abs());
    path.put(file);
    let path = CStr::from_bytes_with_nul(path.bytes()).map_err(|_| Errno::INVAL)?;
    let fd = sys::open_at(proc.unwrap_or(Fd::CWD), path, nr::O_WRONLY)?;
    let written = sys::write(fd, content).map(drop);
    sys::close(fd);
    written
}

fn put_decimal(sink: &mut impl Sink, number: u32) {
    let mut power = 1_000_000_000;
    while power > 1 && number < power {
        power /= 10;
    }
    while power > 0 {
        let digit = u8::try_from(number / power % 10).unwrap_or(0);
        sink.put(&[b'0'.saturating_add(digit)]);
        power /= 10;
    }
}
