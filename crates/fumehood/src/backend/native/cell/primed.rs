//! The line to a program that is begun before it is known.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use fumehood_child::wire::Kind;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use tokio::time::timeout;

use super::super::control::send_at_once;
use super::super::launch::PATIENCE;
use super::super::watch;
use super::{Cell, Script};

/// Where whoever will become a program waits for the rest of its steps.
#[derive(Debug)]
pub(super) struct Primed(OwnedFd);

impl Cell {
    /// Has somebody do the first steps of a program that will come. It takes the streams that the init of this
    /// cell [has](Self::furnish).
    ///
    /// # Errors
    /// There is no socket, or no init. The cell is what it was.
    pub(crate) fn prime(&mut self, script: &Script) -> io::Result<()> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let (ahead, _) = script.parts();
        send_at_once(self.init.control.as_fd(), Kind::Prime, ahead, &[theirs.as_fd()])?;
        self.primed = Some(Primed(ours));
        Ok(())
    }

    /// Has the files at hand by which a run in this cell will be accounted for.
    pub(crate) fn open_figures(&self) {
        if let Some(group) = &self.group {
            group.open_figures();
        }
    }

    /// Has them ended if they are not those of the program that comes.
    pub(crate) fn forget_primed(&mut self) {
        self.primed = None;
    }

    /// Sends the rest of its steps to a program that was begun. If there is none, or it is no more, it is to be
    /// started as any other.
    pub(super) fn send_rest(&mut self, script: &Script, stdio: &[OwnedFd]) -> bool {
        /// What is longer may not fit into a socket at once.
        const MOST: usize = 32 << 10;
        let (_, rest) = script.parts();
        let fds: Vec<_> = stdio.iter().map(AsFd::as_fd).collect();
        let primed = self.primed.as_ref().filter(|_| rest.len() <= MOST && !self.init.has_seat());
        let sent = primed.is_some_and(|Primed(line)| {
            send_at_once(line.as_fd(), Kind::Program, rest, &fds).is_ok()
        });
        if !sent {
            self.primed = None;
        }
        sent
    }
}

impl Primed {
    /// Whether the program that was begun ended without reading what it was sent. It has ended, is about to, or
    /// runs.
    pub(super) async fn left_unread(self) -> bool {
        // An init that ends closes its line before the kernel ends whoever is below it
        // (pid_namespaces(7)): what is known of a program then may not be all.
        let Ok(line) = watch::readable(self.0) else { return false };
        let closed = timeout(PATIENCE, line.readable()).await.is_ok_and(|closed| closed.is_ok());
        let mut byte = [0u8];
        // A socket that is closed with something in it resets the connection (unix(7)).
        closed && recv(&line, &mut byte, RecvFlags::DONTWAIT) == Err(Errno::CONNRESET)
    }
}
