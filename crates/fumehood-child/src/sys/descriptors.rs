//! Descriptors, and what is sent over them.

use core::mem::{align_of, size_of};
use core::ops::Range;
use core::ptr;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicUsize};

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

/// Stops sharing descriptors with other processes, and has those up to this number for itself, and no
/// others (`close_range(2)`).
///
/// # Errors
/// `ENOMEM`, `ENOSYS` before Linux 5.9.
pub fn unshare_above(last: Fd) -> Result<()> {
    const CLOSE_RANGE_UNSHARE: u32 = 1 << 1;
    let first = last.0.saturating_add(1);
    plain!(__NR_close_range, first, u32::MAX, CLOSE_RANGE_UNSHARE).map(drop)
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

/// `pread64(2)`: reads from that place on.
///
/// # Errors
/// Those of the descriptor; `ESPIPE` for what is no file.
pub fn read_at(fd: Fd, buffer: &mut [u8], offset: usize) -> Result<usize> {
    let address = buffer.as_mut_ptr() as usize;
    // SAFETY: the kernel writes at most `buffer.len()` bytes into `buffer`.
    unsafe { call(nr::__NR_pread64, [fd.word(), address, buffer.len(), offset, 0, 0]) }
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

/// `ppoll(2)` that waits for that many milliseconds at most, and gives 0 when they are over.
///
/// # Errors
/// `EINTR`.
pub fn poll_for(fds: &mut [PollFd], milliseconds: u32) -> Result<usize> {
    let mut time = timespec(milliseconds);
    poll_until(fds, time.as_mut_ptr() as usize)
}

/// The kernel's `struct timespec`.
fn timespec(milliseconds: u32) -> [u64; 2] {
    [u64::from(milliseconds / 1000), u64::from(milliseconds % 1000) * 1_000_000]
}

fn poll_until(fds: &mut [PollFd], timeout: usize) -> Result<usize> {
    // SAFETY: `fds` has the kernel's layout; the kernel writes only `revents` of its elements, and
    // to the timeout, which is none or outlives the call in the frame of the caller.
    unsafe { call(nr::__NR_ppoll, [fds.as_mut_ptr() as usize, fds.len(), timeout, 0, 0, 0]) }
}

/// `epoll_create1(2)`, close-on-exec: a set of descriptors that says which of them are ready.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn epoll() -> Result<Fd> {
    plain!(__NR_epoll_create1, nr::EPOLL_CLOEXEC).map(|fd| Fd(fd as i32))
}

/// Has a set watch a descriptor for input, under a number (`epoll_ctl(2)`).
///
/// # Errors
/// `ENOSPC` where the user watches too many.
pub fn epoll_watch(set: Fd, fd: Fd, number: usize) -> Result<()> {
    let event = nr::epoll_event { events: nr::EPOLLIN, data: number as u64 };
    plain!(__NR_epoll_ctl, set.word(), nr::EPOLL_CTL_ADD, fd.word(), ptr::from_ref(&event))
        .map(drop)
}

/// Has a set watch a descriptor no longer. To close it is not enough where others have it open.
pub fn epoll_forget(set: Fd, fd: Fd) {
    let _ = plain!(__NR_epoll_ctl, set.word(), nr::EPOLL_CTL_DEL, fd.word(), 0);
}

/// The number of a watched descriptor that is ready; none if there is none now (`epoll_pwait(2)`).
#[must_use]
pub fn epoll_next(set: Fd) -> Option<usize> {
    let mut event = nr::epoll_event { events: 0, data: 0 };
    // SAFETY: the kernel writes at most one event, which outlives the call; no signal mask.
    let ready = unsafe {
        let event = ptr::from_mut(&mut event) as usize;
        call(nr::__NR_epoll_pwait, [set.word(), event, 1, 0, 0, 0])
    };
    (ready == Ok(1)).then_some(event.data as usize)
}

/// Waits for that many milliseconds, or less if a signal comes.
pub fn sleep_ms(milliseconds: u32) {
    let _ = poll_for(&mut [], milliseconds);
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

/// `sendmsg(2)` of four pieces of bytes and at most one descriptor, without `SIGPIPE`.
///
/// # Errors
/// Those of the socket.
pub fn send(socket: Fd, parts: [&[u8]; 4], fd: Option<Fd>) -> Result<usize> {
    let iov = parts.map(|part| [part.as_ptr() as usize, part.len()]);
    // A control message: length 16 + 4, SOL_SOCKET, SCM_RIGHTS, the number, padding.
    let scm = (u64::from(net::SCM_RIGHTS) << 32) | u64::from(net::SOL_SOCKET);
    let control = [20u64, scm, fd.map_or(0, |fd| u64::from(fd.0 as u32))];
    let msg = MsgHdr {
        name: 0,
        namelen: 0,
        iov: iov.as_ptr() as usize,
        iovlen: iov.len(),
        control: if fd.is_some() { control.as_ptr() as usize } else { 0 },
        controllen: if fd.is_some() { size_of::<[u64; 3]>() } else { 0 },
        flags: 0,
    };
    plain!(__NR_sendmsg, socket.word(), ptr::from_ref(&msg), net::MSG_NOSIGNAL)
}

/// `ioctl(2)` of a request whose argument is a number, or that has none.
///
/// # Errors
/// Those of the request.
pub(super) fn ioctl(fd: Fd, request: u32, argument: u32) -> Result<usize> {
    plain!(__NR_ioctl, fd.word(), request, argument)
}

/// Where [`map`] takes memory from before it asks the kernel, and where that ends.
static RESERVED: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Sets memory aside for [`map`], which takes a system call and a page fault less for each piece then.
/// As long as this process touches none of it, processes that are cloned from it have it untouched.
///
/// # Errors
/// `ENOMEM`.
pub fn reserve(len: usize) -> Result<()> {
    let memory = map_anew(len)?;
    let start = memory.as_ptr() as usize;
    let [next, end] = &RESERVED;
    end.store(start.saturating_add(len), Relaxed);
    next.store(start, Relaxed);
    Ok(())
}

/// A piece of what was set aside, if there is enough of it.
fn reserved(len: usize) -> Option<&'static mut [u8]> {
    const LINE: usize = 64;
    let [next, end] = &RESERVED;
    let size = len.checked_next_multiple_of(LINE)?;
    let after = |start: usize| {
        let after = start.checked_add(size)?;
        (start != 0 && after <= end.load(Relaxed)).then_some(after)
    };
    let start = next.fetch_update(Relaxed, Relaxed, after).ok()?;
    // SAFETY: these bytes were mapped, zeroed and writable, and nothing unmaps them; nobody else gets
    // them, since `next` only grows, also where two processes share this memory.
    Some(unsafe { core::slice::from_raw_parts_mut(start as *mut u8, len) })
}

/// Gives private anonymous memory, zeroed, that lives as long as the process; at a multiple of 64.
///
/// # Errors
/// `ENOMEM`.
pub fn map(len: usize) -> Result<&'static mut [u8]> {
    match reserved(len) {
        Some(memory) => Ok(memory),
        None => map_anew(len),
    }
}

fn map_anew(len: usize) -> Result<&'static mut [u8]> {
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
    const { assert!(align_of::<T>() <= 64, "memory is given at multiples of 64") };
    let place = map(size_of::<T>().max(1))?.as_mut_ptr().cast::<T>();
    // SAFETY: the place has the alignment and the size of a `T`, and nothing else refers to it.
    unsafe {
        place.write(value);
        Ok(&*place)
    }
}

/// [`map`], where processes that are cloned from this one have nothing (`MADV_DONTFORK`): neither is
/// there anything to copy for them, nor to part from them when this one writes to it.
///
/// # Errors
/// `ENOMEM`.
pub fn map_apart(len: usize) -> Result<&'static mut [u8]> {
    let memory = map_anew(len)?;
    plain!(__NR_madvise, memory.as_ptr(), len, nr::MADV_DONTFORK)?;
    Ok(memory)
}

/// Has processes that are cloned from this one have nothing where this one has these bytes
/// (`MADV_DONTFORK`). Whoever uses them there all the same dies of that, and harms nobody else.
///
/// # Errors
/// `ENOMEM` where something in between is mapped to nothing, `EINVAL` for what does not begin with a page.
pub fn leave_behind(bytes: Range<usize>) -> Result<()> {
    let len = bytes.end.saturating_sub(bytes.start);
    plain!(__NR_madvise, bytes.start, len, nr::MADV_DONTFORK).map(drop)
}

/// Words that processes which are cloned from this one have in common with it, and which are 0.
///
/// # Errors
/// `ENOMEM`.
pub fn map_shared(count: usize) -> Result<&'static [AtomicU32]> {
    let prot = (nr::PROT_READ | nr::PROT_WRITE) as usize;
    let flags = (nr::MAP_SHARED | nr::MAP_ANONYMOUS) as usize;
    let len = count.checked_mul(size_of::<AtomicU32>()).ok_or(Errno::INVAL)?;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory in use.
    let address = unsafe { call(nr::__NR_mmap, [0, len, prot, flags, (-1isize) as usize, 0]) }?;
    // SAFETY: the kernel just mapped that many zeroed bytes there, which nothing unmaps; whoever else has
    // them gets at them by this function's result, too.
    Ok(unsafe { core::slice::from_raw_parts(address as *const AtomicU32, count) })
}

/// Puts a value where it stays as long as the process, and where processes that are cloned from this
/// one have no copy of it: they must not have a reference to it, or not use it.
///
/// # Errors
/// `ENOMEM`.
pub fn keep_apart<T>(value: T) -> Result<&'static mut T> {
    let place = map_apart(size_of::<T>().max(1))?.as_mut_ptr().cast::<T>();
    // SAFETY: a mapping is page-aligned and has the size of a `T`, and nothing else refers to it. A
    // child that uses it all the same dies of that, and harms nobody else.
    unsafe {
        place.write(value);
        Ok(&mut *place)
    }
}

/// [`map`] for words.
///
/// # Errors
/// `ENOMEM`.
pub fn map_words(count: usize) -> Result<&'static mut [usize]> {
    let bytes = map(count.max(1) * size_of::<usize>())?;
    // SAFETY: the place is aligned for words, has the length of `count` of them, and zero is a word.
    Ok(unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count) })
}
