//! Descriptors, and what is sent over them.

use core::mem::size_of;
use core::ptr;

use linux_raw_sys::general as nr;
use linux_raw_sys::net;

use super::{Errno, Fd, Result, call};

/// `close(2)`.
pub fn close(fd: Fd) {
    let _ = plain!(__NR_close, fd.word());
}

/// `close_range(2)`.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_range(first: u32, last: u32) -> Result<()> {
    plain!(__NR_close_range, first, last, 0).map(drop)
}

/// Closes every descriptor but one, which becomes number 0: whatever the process that was cloned had
/// open must not live on in the clone.
#[must_use]
pub fn keep_only(fd: Fd) -> Fd {
    let kept = Fd(0);
    if fd != kept {
        let _ = dup_onto(fd, kept);
    }
    let _ = close_range(1, u32::MAX);
    kept
}

/// `dup3(2)`; onto itself it clears close-on-exec, so that the caller needs no special case.
///
/// # Errors
/// `EBADF`.
pub fn dup_onto(fd: Fd, target: Fd) -> Result<()> {
    if fd == target {
        return plain!(__NR_fcntl, fd.word(), nr::F_SETFD, 0).map(drop);
    }
    plain!(__NR_dup3, fd.word(), target.word(), 0).map(drop)
}

/// Moves a descriptor to the lowest free number from `lowest` on, close-on-exec.
///
/// # Errors
/// `EMFILE`.
pub fn dup_above(fd: Fd, lowest: i32) -> Result<Fd> {
    plain!(__NR_fcntl, fd.word(), nr::F_DUPFD_CLOEXEC, lowest).map(|fd| Fd(fd as i32))
}

/// `read(2)`.
///
/// # Errors
/// Those of the descriptor.
pub fn read(fd: Fd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into `buffer`.
    unsafe { call(nr::__NR_read, [fd.word(), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) }
}

/// Goes back to the first byte of an open file.
///
/// # Errors
/// `ESPIPE` for what is no file.
pub fn rewind(fd: Fd) -> Result<()> {
    plain!(__NR_lseek, fd.0, 0, nr::SEEK_SET).map(drop)
}

/// `write(2)`.
///
/// # Errors
/// Those of the descriptor.
pub fn write(fd: Fd, bytes: &[u8]) -> Result<usize> {
    plain!(__NR_write, fd.word(), bytes.as_ptr(), bytes.len())
}

/// `pipe2(2)`, close-on-exec: reading end, writing end.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn pipe() -> Result<(Fd, Fd)> {
    let mut ends = [-1i32; 2];
    // SAFETY: the kernel writes two numbers into `ends`.
    unsafe {
        call(nr::__NR_pipe2, [ends.as_mut_ptr() as usize, nr::O_CLOEXEC as usize, 0, 0, 0, 0])
    }?;
    Ok((Fd(ends[0]), Fd(ends[1])))
}

/// What [`poll`] watches: a descriptor, the events asked for, the events seen.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PollFd {
    fd: i32,
    events: i16,
    /// What was seen: `POLLIN`, `POLLHUP`, …
    pub revents: i16,
}

impl PollFd {
    /// Watches for input, and for the other end to hang up.
    #[must_use]
    pub const fn readable(fd: Fd) -> Self {
        Self { fd: fd.0, events: nr::POLLIN as i16, revents: 0 }
    }

    /// Watches only for the other end to hang up, which is always reported.
    #[must_use]
    pub const fn hung_up(fd: Fd) -> Self {
        Self { fd: fd.0, events: 0, revents: 0 }
    }
}

/// `ppoll(2)` without a time limit.
///
/// # Errors
/// `EINTR`.
pub fn poll(fds: &mut [PollFd]) -> Result<usize> {
    poll_until(fds, 0)
}

/// `ppoll(2)` that does not wait.
///
/// # Errors
/// `EINTR`.
pub fn poll_now(fds: &mut [PollFd]) -> Result<usize> {
    let mut no_time = [0u64; 2];
    poll_until(fds, no_time.as_mut_ptr() as usize)
}

fn poll_until(fds: &mut [PollFd], timeout: usize) -> Result<usize> {
    // SAFETY: `fds` has the kernel's layout; the kernel writes only `revents` of its elements, and
    // to the timeout, which is none or outlives the call in the frame of the caller.
    unsafe { call(nr::__NR_ppoll, [fds.as_mut_ptr() as usize, fds.len(), timeout, 0, 0, 0]) }
}

/// Waits for that many milliseconds, or less if a signal comes.
pub fn sleep_ms(milliseconds: u32) {
    let time = [u64::from(milliseconds / 1000), u64::from(milliseconds % 1000) * 1_000_000];
    let _ = plain!(__NR_ppoll, 0, 0, time.as_ptr(), 0, 0);
}

/// How many descriptors one message can carry (`SCM_MAX_FD`, unix(7)).
pub const MAX_FDS: usize = 253;

const CONTROL_LEN: usize = 16 + MAX_FDS * 4 + 4;

#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

#[repr(C)]
struct MsgHdr {
    name: usize,
    namelen: u32,
    iov: usize,
    iovlen: usize,
    control: usize,
    controllen: usize,
    flags: i32,
}

/// `recvmsg(2)`: bytes, and descriptors into `fds`; the numbers of both.
///
/// # Errors
/// Those of the socket; `EPROTO` if descriptors had to be dropped.
pub fn receive(socket: Fd, buffer: &mut [u8], fds: &mut [Fd; MAX_FDS]) -> Result<(usize, usize)> {
    let mut control = Control([0; CONTROL_LEN]);
    let mut iov = [buffer.as_mut_ptr() as usize, buffer.len()];
    let mut msg = MsgHdr {
        name: 0,
        namelen: 0,
        iov: iov.as_mut_ptr() as usize,
        iovlen: 1,
        control: control.0.as_mut_ptr() as usize,
        controllen: CONTROL_LEN,
        flags: 0,
    };
    let flags = net::MSG_CMSG_CLOEXEC as usize;
    // SAFETY: `msg` points at `iov` and `control`, which outlive the call and have the lengths
    // that are given.
    let len = unsafe {
        call(nr::__NR_recvmsg, [socket.word(), ptr::from_mut(&mut msg) as usize, flags, 0, 0, 0])
    }?;
    if msg.flags as u32 & net::MSG_CTRUNC != 0 {
        return Err(Errno::PROTO);
    }
    let received = control.0.get(..msg.controllen).unwrap_or(&[]);
    Ok((len, descriptors(received, fds)))
}

/// Reads the first control message, which is the only one that a peer of ours sends.
fn descriptors(control: &[u8], fds: &mut [Fd; MAX_FDS]) -> usize {
    const HEADER: usize = 16;
    let Some(body) = control.get(HEADER..) else { return 0 };
    let mut count = 0;
    for (number, fd) in body.chunks_exact(4).zip(fds.iter_mut()) {
        let Ok(number) = <[u8; 4]>::try_from(number) else { return count };
        *fd = Fd(i32::from_ne_bytes(number));
        count += 1;
    }
    // The kernel pads the message to 8 bytes; `cmsg_len` says where it really ends.
    let length = control.get(..8).and_then(|len| <[u8; 8]>::try_from(len).ok());
    let length = length.map_or(0, usize::from_ne_bytes);
    count.min(length.saturating_sub(HEADER) / 4)
}

/// `sendmsg(2)` of two pieces of bytes and at most one descriptor, without `SIGPIPE`.
///
/// # Errors
/// Those of the socket.
pub fn send(socket: Fd, [first, second]: [&[u8]; 2], fd: Option<Fd>) -> Result<usize> {
    let iov = [first.as_ptr() as usize, first.len(), second.as_ptr() as usize, second.len()];
    // A control message: length 16 + 4, SOL_SOCKET, SCM_RIGHTS, the number, padding.
    let scm = (u64::from(net::SCM_RIGHTS) << 32) | u64::from(net::SOL_SOCKET);
    let control = [20u64, scm, fd.map_or(0, |fd| u64::from(fd.0 as u32))];
    let msg = MsgHdr {
        name: 0,
        namelen: 0,
        iov: iov.as_ptr() as usize,
        iovlen: 2,
        control: if fd.is_some() { control.as_ptr() as usize } else { 0 },
        controllen: if fd.is_some() { size_of::<[u64; 3]>() } else { 0 },
        flags: 0,
    };
    plain!(__NR_sendmsg, socket.word(), ptr::from_ref(&msg), net::MSG_NOSIGNAL)
}

/// `ioctl(2)` with a number argument.
///
/// # Errors
/// Those of the request.
pub fn ioctl(fd: Fd, request: u32, argument: usize) -> Result<usize> {
    plain!(__NR_ioctl, fd.word(), request, argument)
}

/// Maps private anonymous memory that lives as long as the process.
///
/// # Errors
/// `ENOMEM`.
pub fn map(len: usize) -> Result<&'static mut [u8]> {
    let prot = (nr::PROT_READ | nr::PROT_WRITE) as usize;
    let flags = (nr::MAP_PRIVATE | nr::MAP_ANONYMOUS) as usize;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory in use.
    let address = unsafe { call(nr::__NR_mmap, [0, len, prot, flags, (-1isize) as usize, 0]) }?;
    // SAFETY: the kernel just mapped `len` zeroed, writable bytes there; nothing else refers to
    // them and nothing unmaps them.
    Ok(unsafe { core::slice::from_raw_parts_mut(address as *mut u8, len) })
}

/// Puts a value where it stays as long as the process.
///
/// # Errors
/// `ENOMEM`.
pub fn keep<T>(value: T) -> Result<&'static T> {
    let place = map(size_of::<T>().max(1))?.as_mut_ptr().cast::<T>();
    // SAFETY: a mapping is page-aligned and has the size of a `T`, and nothing else refers to it.
    unsafe {
        place.write(value);
        Ok(&*place)
    }
}

/// [`map`] for words.
///
/// # Errors
/// `ENOMEM`.
pub fn map_words(count: usize) -> Result<&'static mut [usize]> {
    let bytes = map(count.max(1) * size_of::<usize>())?;
    // SAFETY: a mapping is page-aligned, has the length of `count` words, and zero is a word.
    Ok(unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count) })
}
