//! The process that clones inits for this one.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use fumehood_child::step::Sink;
use fumehood_child::zygote::{MAX_REQUEST, Request};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};

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
        fumehood_child::zygote::main(fumehood_child::Fd(0));
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

/// Whether standard input is the packet socket that only an owner passes: an argument alone could
/// come from anywhere.
fn is_asked() -> bool {
    rustix::net::sockopt::socket_type(io::stdin()).is_ok_and(|kind| kind == SocketType::SEQPACKET)
}

/// A running zygote. It ends when this is dropped, and every init of it too.
#[derive(Debug)]
pub(crate) struct Zygote {
    socket: OwnedFd,
    process: Child,
}

impl Zygote {
    /// Starts a zygote from this program, if [`init`] was called, or from the installed binary.
    pub(crate) fn start() -> Result<Self> {
        let program = program().ok_or(ErrorKind::NoLauncher)?;
        Self::start_from(&program).map_err(|error| Error::internal("start the zygote", error))
    }

    fn start_from(program: &PathBuf) -> io::Result<Self> {
        let (ours, theirs) = packets()?;
        let process = Command::new(program)
            .arg0("fumehood-zygote")
            .arg(ZYGOTE)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { socket: ours, process })
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
        let _ = self.process.kill();
        let _ = self.process.wait();
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
