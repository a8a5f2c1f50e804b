//! The line to an init.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use fumehood_child::wire::{self, Kind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::super::cgroup::entrust;
use super::super::control::{Control, Message};
use super::super::watch;
use crate::apart::Seat;

/// The line to an init, and the certainty that it ends.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(super) control: Control,
    pub(super) pidfd: Arc<OwnedFd>,
    pub(crate) pid: i32,
    /// Where its program runs.
    seat: Option<Seat>,
}

impl Handle {
    pub(super) const fn new(control: Control, pidfd: Arc<OwnedFd>, pid: i32) -> Self {
        Self { control, pidfd, pid, seat: None }
    }

    /// Gives the program, which is not there yet, its part of the processors, unless it has one.
    pub(super) fn take_seat(&mut self) {
        if self.seat.is_none() {
            self.seat = Seat::of(self.pid);
        }
    }

    /// Whether its program has a part of the processors.
    pub(super) const fn has_seat(&self) -> bool {
        self.seat.is_some()
    }

    /// The next message; `None` when the init is gone.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Message>> {
        let message = self.control.receive().await?;
        if message.as_ref().is_none_or(|message| message.kind == Kind::Ended) {
            // While the init is on its way out its place is free for the next program.
            self.seat = None;
        }
        Ok(message)
    }

    /// Has the init send a signal to the program, or to every process of the cell.
    pub(crate) async fn signal(&self, signal: i32, all: bool) -> io::Result<()> {
        let mut body = wire::Buffer::<{ wire::SHORT }>::new();
        wire::Signal { signal, all }.encode(&mut body);
        self.control.send(Kind::Signal, body.bytes(), &[]).await
    }

    /// Lets the init go.
    pub(crate) fn hang_up(&self) {
        let _ = rustix::net::shutdown(self.control.as_fd(), rustix::net::Shutdown::Both);
    }

    /// Lets the init go, and waits until it is no more.
    pub(crate) async fn ended(&mut self) {
        self.hang_up();
        let Ok(pidfd) = self.pidfd.try_clone() else { return };
        if let Ok(watched) = watch::owned(pidfd) {
            let _ = watched.readable().await;
        }
    }

    /// A second descriptor of the init, which tells when it is gone.
    pub(crate) fn pidfd(&self) -> Option<OwnedFd> {
        self.pidfd.try_clone().ok()
    }

    /// Leaves the end of its mounts, which is most of its own, to somebody for whom nobody waits.
    pub(super) fn leave_mounts(&self) {
        let mounts = std::fs::File::open(format!("/proc/{}/ns/mnt", self.pid));
        // Where it may not be opened they end with the init.
        if let Ok(mounts) = mounts {
            entrust(mounts.as_fd());
        }
    }

    /// Sends a message.
    pub(in crate::backend::native) async fn send_with(
        &self,
        kind: Kind,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.control.send(kind, body, fds).await
    }

    /// Whether the init still lives.
    pub(crate) fn is_alive(&self) -> bool {
        // The pidfd of a process that has ended is readable (pidfd_open(2)).
        let mut watched = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Where a signal comes in between, nothing is known, and it lived a moment ago.
        !poll(&mut watched, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Kills the init, and with it everything in its process namespace.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // An init without a process namespace must stay to kill what it watches over; it does so
        // when the line closes, which happens now.
        self.hang_up();
    }
}
