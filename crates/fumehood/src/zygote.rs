//! The process that clones inits for this one.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use fumehood_child::step::Sink;
use fumehood_child::zygote::{MAX_REQUEST, Request};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::sabotage::leaves_out;
use crate::{Error, ErrorKind, Result};

/// First argument of a process that is to become a zygote.
const ZYGOTE: &str = "__fumehood-zygote";

static INITIALIZED: AtomicBool = AtomicBool::new(false);

/// Makes this program able to launch sandboxes. Call it first in `main`, before threads exist.
///
/// The library never clones a process that may be large, threaded, or full of secrets. It starts
/// this program once more instead, as a small helper (the zygote) that clones on its behalf: in
/// that helper this function does not return. Neither does it as process 1 of a container that an engine
/// makes for a run. Everywhere else it returns at once.
///
/// A program that does not call it needs the `fumehood` binary: in the `PATH`, or named by the
/// environment variable `FUMEHOOD_BIN`.
pub fn init() {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == ZYGOTE) && is_asked() {
        let owner = std::env::args().nth(2).and_then(|pid| pid.parse().ok());
        fumehood_child::zygote::main(fumehood_child::Fd(0), owner, heap());
    }
    #[cfg(feature = "engine")]
    if crate::backend::engine::inside::is_asked() {
        crate::backend::engine::inside::main();
    }
    #[cfg(feature = "engine")]
    if crate::backend::engine::inside::is_nothing() {
        #[expect(clippy::exit, reason = "that is all that it is to do")]
        std::process::exit(0);
    }
    INITIALIZED.store(true, Ordering::Relaxed);
}

/// Where the heap of this process is, if it has one (`proc_pid_maps(5)`).
fn heap() -> Option<Range<usize>> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find_map(|line| line.strip_suffix("[heap]"))?;
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some(address(start)?..address(end)?)
}

/// Whether standard input is the packet socket that only an owner passes: an argument alone could
/// come from anywhere.
fn is_asked() -> bool {
    rustix::net::sockopt::socket_type(io::stdin()).is_ok_and(|kind| kind == SocketType::SEQPACKET)
}

/// A running zygote, with its warden. They end when this is dropped, and every init of theirs too.
#[derive(Debug)]
pub(crate) struct Zygote {
    socket: OwnedFd,
    /// The pidfd of the warden, and who waits for it.
    warden: Option<(OwnedFd, JoinHandle<()>)>,
}

impl Zygote {
    /// Starts a zygote from this program, if [`init`] was called, or from the installed binary.
    pub(crate) fn start() -> Result<Self> {
        let program = program().ok_or(ErrorKind::NoLauncher)?;
        Self::start_from(&program).map_err(|error| Error::internal("start the zygote", error))
    }

    fn start_from(program: &PathBuf) -> io::Result<Self> {
        let (ours, theirs) = packets()?;
        let mut command = Command::new(program);
        command.arg0("fumehood-zygote").arg(ZYGOTE).env_clear();
        // Where the C library has restartable sequences, the kernel writes to a page of every process that
        // is cloned, and of its parent, which would be theirs alone for nothing else.
        command.env("GLIBC_TUNABLES", "glibc.pthread.rseq=0");
        if !leaves_out("die-with-owner") {
            command.arg(std::process::id().to_string());
        }
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let waits = std::thread::Builder::new()
            .name(NAME.to_owned())
            .stack_size(STACK)
            .spawn(move || start_and_wait(command, &tell))?;
        let warden = told.recv().map_err(|_| io::ErrorKind::BrokenPipe)??;
        Ok(Self { socket: ours, warden: Some((warden, waits)) })
    }

    /// Nobody who answers.
    #[cfg(test)]
    pub(crate) const fn fake(socket: OwnedFd) -> Self {
        Self { socket, warden: None }
    }

    #[cfg(test)]
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Asks for an init, whose end of the line to the supervisor goes along, and its control group.
    pub(crate) fn request(
        &self,
        request: &Request<'_>,
        init: BorrowedFd<'_>,
        group: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        ask(self.socket.as_fd(), request, init, group)
    }
}

/// What a thread of this process is called that does nothing but wait for its warden.
const NAME: &str = "fumehood-warden";
const STACK: usize = 256 << 10;

/// Whoever starts a warden must be there for as long as the process: the kernel kills a child that wants
/// it so with the *thread* that is its parent (`PR_SET_PDEATHSIG`, prctl(2)), and threads of a runtime
/// come and go. So a thread does it that then waits for the warden, which somebody has to anyway.
fn start_and_wait(mut command: Command, tell: &SyncSender<io::Result<OwnedFd>>) {
    let started = command.spawn().and_then(|process| {
        let pidfd = pidfd_open(Pid::from_child(&process), PidfdFlags::empty())?;
        Ok((process, pidfd))
    });
    // Its end of the socket, which hid its death from us.
    drop(command);
    match started {
        Ok((mut process, pidfd)) => {
            let _ = tell.send(Ok(pidfd));
            let _ = process.wait();
        }
        Err(error) => drop(tell.send(Err(error))),
    }
}

/// Asks a zygote, or a template, over its packet socket.
pub(crate) fn ask(
    socket: BorrowedFd<'_>,
    request: &Request<'_>,
    init: BorrowedFd<'_>,
    group: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut packet = Packet(Vec::with_capacity(MAX_REQUEST));
    request.encode(&mut packet);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = [init].into_iter().chain(group).collect();
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let parts = [io::IoSlice::new(&packet.0)];
    sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A pair of packet sockets: ours, and that of whoever answers requests.
pub(crate) fn packets() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // It also ends by itself at the end of its socket; the kill makes the wait short.
        if let Some((warden, waits)) = self.warden.take() {
            let _ = pidfd_send_signal(&warden, Signal::KILL);
            let _ = waits.join();
        }
    }
}

struct Packet(Vec<u8>);

impl Sink for Packet {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

pub(crate) fn program() -> Option<PathBuf> {
    if INITIALIZED.load(Ordering::Relaxed) {
        return Some("/proc/self/exe".into());
    }
    if let Some(named) = std::env::var_os("FUMEHOOD_BIN") {
        return Some(named.into());
    }
    in_path(&std::env::var_os("PATH")?)
}

fn in_path(path: &OsString) -> Option<PathBuf> {
    std::env::split_paths(path).map(|dir| dir.join("fumehood")).find(|file| file.is_file())
}
