//! The supervisor's end of the line to an init.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fumehood_child::wire::{HEADER_LEN, Kind};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::unix::AsyncFd;

use super::watch;

/// Bodies that an init sends are a few bytes per step: more than this is not from an init.
const MAX_BODY: usize = 1 << 20;
/// More descriptors than an init ever sends at a time.
const MAX_UNTAKEN: usize = 8;
/// What an init says fits into that; it lies on the stack and is cleared each time.
const CHUNK: usize = 2 << 10;

/// A stream socket to an init. It is watched for messages only: whatever the init takes makes room, and
/// there always was some.
#[derive(Debug)]
pub(crate) struct Control {
    socket: AsyncFd<OwnedFd>,
    /// Whether the init is gone and did not read all that it was sent.
    unread: bool,
    received: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

/// A message from an init or its launcher.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) body: Vec<u8>,
    pub(crate) fd: Option<OwnedFd>,
}

/// Sends a message, or fails where there is no room for all of it.
pub(super) fn send_at_once(
    socket: BorrowedFd<'_>,
    kind: Kind,
    body: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let len = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let sent = send_some(socket, [&kind.header(len), body], fds)?;
    let all = sent == HEADER_LEN + body.len();
    if all { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

impl Control {
    /// Takes a socket, which must be in non-blocking mode, into the current runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = watch::readable(socket).map_err(|(_, error)| error)?;
        Ok(Self { socket, unread: false, received: Vec::new(), fds: VecDeque::new() })
    }

    /// Sends one message with its descriptors.
    pub(crate) async fn send(
        &self,
        kind: Kind,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let len = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let header = kind.header(len);
        let mut sent = 0;
        let total = HEADER_LEN + body.len();
        while sent < total {
            let with = if sent == 0 { fds } else { &[] };
            let (head, rest) = rest_of(&header, body, sent);
            match send_some(self.as_fd(), [head, rest], with) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.room().await?,
                done => sent += done?,
            }
        }
        Ok(())
    }

    /// Waits until there is room.
    async fn room(&self) -> io::Result<()> {
        let again = self.as_fd().try_clone_to_owned()?;
        let watched = watch::writable(again).map_err(|(_, error)| error)?;
        watched.writable().await.map(drop)
    }

    /// The next message; `None` when the init is gone. Nothing is lost if the future is dropped.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(Some(message));
            }
            let mut guard = self.socket.readable().await?;
            let (received, fds) = (&mut self.received, &mut self.fds);
            match guard.try_io(|socket| receive_some(socket.as_fd(), received, fds)) {
                Ok(Ok(0)) => return Ok(None),
                // A socket that is closed with something in it resets the connection (unix(7)).
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    self.unread = true;
                    return Ok(None);
                }
                Ok(Err(error)) => return Err(error),
                Ok(Ok(_)) | Err(_) => {}
            }
        }
    }

    /// Whether the init is known to have ended without reading all that it was sent.
    pub(crate) const fn left_unread(&self) -> bool {
        self.unread
    }

    fn take_message(&mut self) -> io::Result<Option<Message>> {
        let Some(header) = self.received.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let (kind, len) = Kind::parse(header).ok_or(io::ErrorKind::InvalidData)?;
        let len = usize::try_from(len).ok().filter(|&len| len <= MAX_BODY);
        let len = len.ok_or(io::ErrorKind::InvalidData)?;
        let Some(body) = self.received.get(HEADER_LEN..HEADER_LEN + len) else { return Ok(None) };
        let body = body.to_vec();
        self.received.drain(..HEADER_LEN + len);
        let carries = matches!(
            kind,
            Kind::Spawned | Kind::Started | Kind::Changes | Kind::Root | Kind::Mounts
        );
        let fd = if carries { self.fds.pop_front() } else { None };
        Ok(Some(Message { kind, body, fd }))
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

/// What is left of header and body after `sent` bytes.
fn rest_of<'a>(header: &'a [u8], body: &'a [u8], sent: usize) -> (&'a [u8], &'a [u8]) {
    let head = header.get(sent..).unwrap_or(&[]);
    (head, body.get(sent.saturating_sub(header.len())..).unwrap_or(&[]))
}

fn send_some(
    socket: BorrowedFd<'_>,
    parts: [&[u8]; 2],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    // Room for three, which is what a program gets, is not worth an allocation.
    let mut few = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut many = Vec::new();
    let space = if fds.len() <= 8 {
        &mut few[..]
    } else {
        many.resize(rustix::cmsg_space!(ScmRights(253)), MaybeUninit::uninit());
        &mut many[..]
    };
    let mut ancillary = SendAncillaryBuffer::new(space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more than 253 descriptors"));
    }
    let parts = parts.map(IoSlice::new);
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(socket, &parts, &mut ancillary, flags)?)
}

fn receive_some(
    socket: BorrowedFd<'_>,
    received: &mut Vec<u8>,
    fds: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut chunk = [0; CHUNK];
    let message = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut chunk)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for control in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = control {
            fds.extend(rights);
        }
    }
    if fds.len() > MAX_UNTAKEN {
        return Err(io::ErrorKind::InvalidData.into());
    }
    received.extend_from_slice(chunk.get(..message.bytes).unwrap_or(&[]));
    Ok(message.bytes)
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
