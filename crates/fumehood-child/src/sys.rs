//! Raw system calls: the only unsafe code of the crate.
//!
//! Every call goes straight to the kernel and returns its errno as a value. libc is not used: its
//! wrappers may take locks, cache process ids, or signal other threads (`set*id`), none of which
//! is right in a process that was cloned behind libc's back.
#![expect(unsafe_code, reason = "system calls; each block names its invariant")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "registers are untyped words: the kernel reads back the width it declares"
)]

use core::ffi::CStr;
use core::mem::size_of;
use core::ptr;

use linux_raw_sys::general as nr;
use linux_raw_sys::net;

#[cfg(target_arch = "x86_64")]
#[path = "sys/x86_64.rs"]
mod arch;
#[cfg(target_arch = "aarch64")]
#[path = "sys/aarch64.rs"]
mod arch;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("Fumehood knows the system call conventions of x86-64 and aarch64 only");

use arch::syscall6;

/// An error number of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// No such file or directory.
    pub const NOENT: Self = Self(2);
    /// Interrupted system call.
    pub const INTR: Self = Self(4);
    /// Argument list or environment too long.
    pub const TOOBIG: Self = Self(7);
    /// No child processes.
    pub const CHILD: Self = Self(10);
    /// Permission denied.
    pub const ACCES: Self = Self(13);
    /// File exists.
    pub const EXIST: Self = Self(17);
    /// Not a directory.
    pub const NOTDIR: Self = Self(20);
    /// Invalid argument.
    pub const INVAL: Self = Self(22);
    /// The kernel, or a filter on its behalf, does not know the call.
    pub const NOSYS: Self = Self(38);
    /// Protocol error: a message that does not decode.
    pub const PROTO: Self = Self(71);
}

/// What a system call returned.
pub type Result<T> = core::result::Result<T, Errno>;

/// A file descriptor number. It is not closed when dropped: the process exits or executes instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fd(pub i32);

impl Fd {
    /// The current directory, in calls that take a directory.
    pub const CWD: Self = Self(nr::AT_FDCWD);

    fn word(self) -> usize {
        self.0 as isize as usize
    }
}

fn check(ret: isize) -> Result<usize> {
    if (-4095..0).contains(&ret) { Err(Errno(-ret as i32)) } else { Ok(ret as usize) }
}

/// SAFETY for callers: the arguments must be what the kernel expects of call `number`; pointers
/// must be valid for what the call reads and writes.
unsafe fn call(number: u32, a: [usize; 6]) -> Result<usize> {
    // SAFETY: the caller keeps the contract of the call.
    check(unsafe { syscall6(number as usize, a[0], a[1], a[2], a[3], a[4], a[5]) })
}

/// A call whose arguments are plain numbers and strings: nothing is written to our memory.
macro_rules! plain {
    ($number:ident $(, $arg:expr)*) => {{
        let words = [$($arg as usize),*];
        let mut a = [0usize; 6];
        let mut index = 0;
        while index < words.len() {
            a[index] = words[index];
            index += 1;
        }
        // SAFETY: every pointer among the arguments comes from a reference that outlives the
        // call, and the kernel only reads through it.
        unsafe { call(nr::$number, a) }
    }};
}

// ---------------------------------------------------------------------------------------------
// Processes

/// Arguments of `clone3(2)`, the fields that are used here.
#[repr(C)]
#[derive(Debug, Default)]
pub struct CloneArgs {
    /// `CLONE_*` flags.
    pub flags: u64,
    /// Where the kernel puts a pidfd, as an address of an `i32`.
    pub pidfd: u64,
    /// Unused.
    pub child_tid: u64,
    /// Unused.
    pub parent_tid: u64,
    /// Signal that the parent gets at the child's end.
    pub exit_signal: u64,
    /// Lowest address of the child's stack, or 0 to go on with a copy of the parent's.
    pub stack: u64,
    /// Size of that stack.
    pub stack_size: u64,
    /// Unused.
    pub tls: u64,
    /// Unused.
    pub set_tid: u64,
    /// Unused.
    pub set_tid_size: u64,
    /// Descriptor of a version 2 control group, with `CLONE_INTO_CGROUP`.
    pub cgroup: u64,
}

/// Which side of a clone this is.
#[derive(Clone, Copy, Debug)]
pub enum Cloned {
    /// The caller; the child's process id and pidfd.
    Parent {
        /// Process id as the caller's namespace sees it.
        pid: i32,
        /// The child's pidfd, close-on-exec.
        pidfd: Fd,
    },
    /// The new process, with copies of all memory and descriptors.
    Child,
}

/// Clones the calling process with a copy of its memory, as `fork(2)` does but without libc.
///
/// `CLONE_VM` is refused: the child would run on the caller's stack. Where a filter hides
/// `clone3(2)`, as those of container engines do, the older `clone(2)` takes its place; only a
/// control group needs the newer one.
///
/// # Errors
/// Those of `clone3(2)`: `EPERM` where user namespaces are forbidden, `ENOSPC` and `EUSERS` where
/// their number is used up, `EAGAIN` at a limit of processes.
pub fn fork(flags: u64, cgroup: Option<Fd>) -> Result<Cloned> {
    if flags & u64::from(nr::CLONE_VM) != 0 {
        return Err(Errno::INVAL);
    }
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: flags | u64::from(nr::CLONE_PIDFD),
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        exit_signal: u64::from(nr::SIGCHLD),
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= nr::CLONE_INTO_CGROUP;
        args.cgroup = cgroup.0 as u64;
    }
    // SAFETY: without CLONE_VM the child has its own copy of all memory, this stack included, so
    // returning twice is returning once in each of two processes. `args` and `pidfd` outlive the
    // call.
    let cloned = unsafe {
        call(nr::__NR_clone3, [ptr::from_ref(&args) as usize, size_of::<CloneArgs>(), 0, 0, 0, 0])
    };
    let pid = match cloned {
        Err(Errno::NOSYS) if cgroup.is_none() => {
            let flags = (args.flags | args.exit_signal) as usize;
            // SAFETY: as above; stack 0 goes on with the copy of this one. The kernel writes the
            // pidfd to the third argument.
            unsafe { call(nr::__NR_clone, [flags, 0, args.pidfd as usize, 0, 0, 0]) }?
        }
        other => other?,
    };
    Ok(if pid == 0 { Cloned::Child } else { Cloned::Parent { pid: pid as i32, pidfd: Fd(pidfd) } })
}

/// Runs `entry(argument)` in a child that shares this process's memory, on a stack of its own,
/// and waits until the child has executed a program or exited, as `vfork(2)` does.
///
/// # Errors
/// Those of `clone3(2)`.
pub fn vfork<T>(stack: &mut [u8], entry: extern "C" fn(&T) -> !, argument: &T) -> Result<i32> {
    let base = stack.as_mut_ptr() as usize;
    let top = (base + stack.len()) & !15;
    let args = CloneArgs {
        flags: u64::from(nr::CLONE_VM | nr::CLONE_VFORK),
        exit_signal: u64::from(nr::SIGCHLD),
        stack: base as u64,
        stack_size: (top - base) as u64,
        ..CloneArgs::default()
    };
    // SAFETY: `stack` is borrowed exclusively until the child no longer uses it (CLONE_VFORK
    // suspends this process until then), `entry` never returns, and `argument` outlives the child's
    // use of it for the same reason. The function pointer and the reference are both one word.
    let ret = unsafe {
        arch::clone_with_stack(
            nr::__NR_clone3 as usize,
            ptr::from_ref(&args) as usize,
            size_of::<CloneArgs>(),
            entry as usize,
            ptr::from_ref(argument) as usize,
        )
    };
    if check(ret) != Err(Errno::NOSYS) {
        return check(ret).map(|pid| pid as i32);
    }
    // SAFETY: as above. clone(2) takes the flags and the top of the stack; its other arguments
    // belong to flags that are not set.
    let ret = unsafe {
        arch::clone_with_stack(
            nr::__NR_clone as usize,
            (args.flags | args.exit_signal) as usize,
            top,
            entry as usize,
            ptr::from_ref(argument) as usize,
        )
    };
    check(ret).map(|pid| pid as i32)
}

/// `execve(2)`. Returns only on failure.
///
/// `argv` and `envp` are arrays of string addresses that end in 0.
pub fn execve(path: &CStr, argv: &[usize], envp: &[usize]) -> Errno {
    if argv.last() != Some(&0) || envp.last() != Some(&0) {
        return Errno::INVAL;
    }
    match plain!(__NR_execve, path.as_ptr(), argv.as_ptr(), envp.as_ptr()) {
        Ok(_) => Errno::INVAL,
        Err(errno) => errno,
    }
}

/// `exit_group(2)`.
pub fn exit(status: i32) -> ! {
    loop {
        let _ = plain!(__NR_exit_group, status);
    }
}

/// `unshare(2)`.
///
/// # Errors
/// `EPERM`, `EINVAL`, `ENOSPC`.
pub fn unshare(flags: u64) -> Result<()> {
    plain!(__NR_unshare, flags).map(drop)
}

/// `getpid(2)`.
#[must_use]
pub fn getpid() -> i32 {
    plain!(__NR_getpid).map_or(0, |pid| pid as i32)
}

/// `kill(2)`.
///
/// # Errors
/// `ESRCH`, `EPERM`, `EINVAL`.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    plain!(__NR_kill, pid as isize, signal).map(drop)
}

/// `setsid(2)`.
///
/// # Errors
/// `EPERM` for a process group leader.
pub fn setsid() -> Result<()> {
    plain!(__NR_setsid).map(drop)
}

/// User and system time and other counts of `getrusage(2)`, in the kernel's layout.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Rusage {
    /// User time: seconds, microseconds.
    pub user: [i64; 2],
    /// System time: seconds, microseconds.
    pub system: [i64; 2],
    /// Largest resident set of any one process, in KiB.
    pub maxrss: i64,
    rest: [i64; 13],
}

/// `wait4(2)` for any child: its process id and wait status, or `None` if none has ended.
///
/// # Errors
/// `ECHILD` if there is no child.
pub fn wait_any(block: bool) -> Result<Option<(i32, i32)>> {
    let mut status: i32 = 0;
    let options = nr::__WALL as usize | if block { 0 } else { nr::WNOHANG as usize };
    // SAFETY: `status` is written by the kernel and outlives the call.
    let pid = unsafe {
        call(
            nr::__NR_wait4,
            [(-1isize) as usize, ptr::from_mut(&mut status) as usize, options, 0, 0, 0],
        )
    }?;
    Ok((pid != 0).then_some((pid as i32, status)))
}

/// Whether a child has ended, which leaves it to be waited for (`waitid(2)` with `WNOWAIT`).
#[must_use]
pub fn has_ended(pid: i32) -> bool {
    let options = nr::WEXITED | nr::WNOHANG | nr::WNOWAIT;
    let mut info = [0u64; 16];
    // SAFETY: `info` has the size of a siginfo_t, is written by the kernel and outlives the call.
    let waited = unsafe {
        let info = info.as_mut_ptr() as usize;
        call(nr::__NR_waitid, [nr::P_PID as usize, pid as usize, info, options as usize, 0, 0])
    };
    // The first field is the signal number: SIGCHLD, or 0 where no child has ended.
    waited.is_ok() && info[0] as u32 == nr::SIGCHLD
}

/// `getrusage(RUSAGE_CHILDREN)`: all children that have been waited for, and theirs.
#[must_use]
pub fn rusage_children() -> Rusage {
    const RUSAGE_CHILDREN: isize = -1;
    let mut usage = Rusage::default();
    // SAFETY: `usage` has the kernel's layout and outlives the call.
    let ret = unsafe {
        call(
            nr::__NR_getrusage,
            [RUSAGE_CHILDREN as usize, ptr::from_mut(&mut usage) as usize, 0, 0, 0, 0],
        )
    };
    if ret.is_ok() { usage } else { Rusage::default() }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[must_use]
pub fn now() -> u64 {
    let mut time = [0i64; 2];
    // SAFETY: `time` has the layout of a timespec on 64-bit kernels and outlives the call.
    let _ = unsafe {
        call(
            nr::__NR_clock_gettime,
            [nr::CLOCK_MONOTONIC as usize, ptr::from_mut(&mut time) as usize, 0, 0, 0, 0],
        )
    };
    (time[0] as u64).wrapping_mul(1_000_000_000).wrapping_add(time[1] as u64)
}

// ---------------------------------------------------------------------------------------------
// Credentials and limits

/// `setresuid(2)` of this thread, all three ids.
///
/// # Errors
/// `EINVAL` for an id that is not mapped, `EPERM`.
pub fn set_uid(uid: u32) -> Result<()> {
    plain!(__NR_setresuid, uid, uid, uid).map(drop)
}

/// `setresgid(2)` of this thread, all three ids.
///
/// # Errors
/// `EINVAL` for an id that is not mapped, `EPERM`.
pub fn set_gid(gid: u32) -> Result<()> {
    plain!(__NR_setresgid, gid, gid, gid).map(drop)
}

/// `setgroups(2)` to the empty list.
///
/// # Errors
/// `EPERM` where the user namespace denies it.
pub fn clear_groups() -> Result<()> {
    plain!(__NR_setgroups, 0, 0).map(drop)
}

/// `prctl(2)` with number arguments.
///
/// # Errors
/// Those of the option.
pub fn prctl(option: u32, a: usize, b: usize) -> Result<usize> {
    plain!(__NR_prctl, option, a, b, 0, 0)
}

/// `capset(2)` to empty sets.
///
/// # Errors
/// None that a process can provoke on itself.
pub fn drop_capabilities() -> Result<()> {
    let header = [nr::_LINUX_CAPABILITY_VERSION_3, 0];
    let sets = [0u32; 6];
    plain!(__NR_capset, header.as_ptr(), sets.as_ptr()).map(drop)
}

/// `prlimit64(2)` on this process.
///
/// # Errors
/// `EINVAL` where soft exceeds hard, `EPERM` where hard is raised.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = [soft, hard];
    plain!(__NR_prlimit64, 0, resource, limit.as_ptr(), 0).map(drop)
}

/// `umask(2)`.
pub fn umask(mask: u32) {
    let _ = plain!(__NR_umask, mask);
}

/// `seccomp(2)`: installs a filter, an array of 8-byte instructions.
///
/// # Errors
/// `EINVAL` for a filter that the kernel refuses, `EACCES` without `no_new_privs`.
pub fn set_filter(instructions: &[u8], flags: u32) -> Result<()> {
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const u8,
    }
    let program = Program { len: (instructions.len() / 8) as u16, filter: instructions.as_ptr() };
    plain!(__NR_seccomp, 1, flags, ptr::from_ref(&program)).map(drop)
}

/// Puts every signal back to its default and unblocks them all: neither handlers nor ignored
/// signals nor a mask of the supervisor reach the program.
pub fn reset_signals() {
    let default = [0u64; 4];
    for signal in 1..=64 {
        let _ = plain!(__NR_rt_sigaction, signal, default.as_ptr(), 0, 8);
    }
    let none = 0u64;
    let _ = plain!(__NR_rt_sigprocmask, nr::SIG_SETMASK, ptr::from_ref(&none), 0, 8);
}

/// Blocks every signal.
pub fn block_signals() {
    let all = u64::MAX;
    let _ = plain!(__NR_rt_sigprocmask, nr::SIG_SETMASK, ptr::from_ref(&all), 0, 8);
}

/// Sets one signal to be ignored.
pub fn ignore_signal(signal: u32) {
    let ignore = [1u64, 0, 0, 0];
    let _ = plain!(__NR_rt_sigaction, signal, ignore.as_ptr(), 0, 8);
}

/// `signalfd4(2)` for one signal.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn signalfd(signal: u32) -> Result<Fd> {
    let mask = 1u64 << (signal - 1);
    plain!(__NR_signalfd4, -1isize, ptr::from_ref(&mask), 8, nr::O_CLOEXEC | nr::O_NONBLOCK)
        .map(|fd| Fd(fd as i32))
}

// ---------------------------------------------------------------------------------------------
// Descriptors

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
}

/// `ppoll(2)` without a time limit.
///
/// # Errors
/// `EINTR`.
pub fn poll(fds: &mut [PollFd]) -> Result<usize> {
    // SAFETY: `fds` has the kernel's layout; the kernel writes only `revents` of its elements.
    unsafe { call(nr::__NR_ppoll, [fds.as_mut_ptr() as usize, fds.len(), 0, 0, 0, 0]) }
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

/// `sendmsg(2)` of bytes and at most one descriptor, without `SIGPIPE`.
///
/// # Errors
/// Those of the socket.
pub fn send(socket: Fd, bytes: &[u8], fd: Option<Fd>) -> Result<usize> {
    let iov = [bytes.as_ptr() as usize, bytes.len()];
    // A control message: length 16 + 4, SOL_SOCKET, SCM_RIGHTS, the number, padding.
    let scm = (u64::from(net::SCM_RIGHTS) << 32) | u64::from(net::SOL_SOCKET);
    let control = [20u64, scm, fd.map_or(0, |fd| u64::from(fd.0 as u32))];
    let msg = MsgHdr {
        name: 0,
        namelen: 0,
        iov: iov.as_ptr() as usize,
        iovlen: 1,
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

/// [`map`] for words.
///
/// # Errors
/// `ENOMEM`.
pub fn map_words(count: usize) -> Result<&'static mut [usize]> {
    let bytes = map(count.max(1) * size_of::<usize>())?;
    // SAFETY: a mapping is page-aligned, has the length of `count` words, and zero is a word.
    Ok(unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count) })
}

// ---------------------------------------------------------------------------------------------
// Files and mounts

/// `openat(2)`.
///
/// # Errors
/// Those of the path.
pub fn open(path: &CStr, flags: u32) -> Result<Fd> {
    plain!(__NR_openat, Fd::CWD.word(), path.as_ptr(), flags | nr::O_CLOEXEC, 0)
        .map(|fd| Fd(fd as i32))
}

/// `openat2(2)` below `dir`, which is `/` for the path, without following any symbolic link.
///
/// # Errors
/// `ELOOP` for a symbolic link in the path, and those of the path.
pub fn open_beneath(dir: Fd, path: &CStr, flags: u32, mode: u32) -> Result<Fd> {
    let resolve = nr::RESOLVE_IN_ROOT | nr::RESOLVE_NO_SYMLINKS | nr::RESOLVE_NO_MAGICLINKS;
    let how = [u64::from(flags | nr::O_CLOEXEC), u64::from(mode), u64::from(resolve)];
    plain!(__NR_openat2, dir.word(), path.as_ptr(), how.as_ptr(), size_of::<[u64; 3]>())
        .map(|fd| Fd(fd as i32))
}

/// `mkdirat(2)`.
///
/// # Errors
/// Those of the path.
pub fn mkdir(dir: Fd, path: &CStr, mode: u32) -> Result<()> {
    plain!(__NR_mkdirat, dir.word(), path.as_ptr(), mode).map(drop)
}

/// `mknodat(2)` of an empty regular file.
///
/// # Errors
/// Those of the path.
pub fn make_file(dir: Fd, path: &CStr) -> Result<()> {
    plain!(__NR_mknodat, dir.word(), path.as_ptr(), nr::S_IFREG | 0o644, 0).map(drop)
}

/// `symlinkat(2)`.
///
/// # Errors
/// Those of the path.
pub fn symlink(target: &CStr, dir: Fd, path: &CStr) -> Result<()> {
    plain!(__NR_symlinkat, target.as_ptr(), dir.word(), path.as_ptr()).map(drop)
}

/// `faccessat(2)`, for existence only.
#[must_use]
pub fn exists(path: &CStr) -> bool {
    plain!(__NR_faccessat, Fd::CWD.word(), path.as_ptr(), 0).is_ok()
}

/// `chdir(2)`.
///
/// # Errors
/// Those of the path.
pub fn chdir(path: &CStr) -> Result<()> {
    plain!(__NR_chdir, path.as_ptr()).map(drop)
}

/// `fchdir(2)`.
///
/// # Errors
/// Those of the descriptor.
pub fn fchdir(dir: Fd) -> Result<()> {
    plain!(__NR_fchdir, dir.word()).map(drop)
}

/// Makes all mounts of this mount namespace private: nothing propagates either way.
///
/// # Errors
/// `EPERM` where a security module forbids mounting.
pub fn make_mounts_private() -> Result<()> {
    let flags = nr::MS_REC | nr::MS_PRIVATE;
    plain!(__NR_mount, 0, c"/".as_ptr(), 0, flags, 0).map(drop)
}

/// `open_tree(2)` with `OPEN_TREE_CLONE`: a detached copy of the mount at `path`.
///
/// # Errors
/// Those of the path; `EPERM`.
pub fn clone_tree(path: &CStr, recursive: bool) -> Result<Fd> {
    let recursive = if recursive { nr::AT_RECURSIVE } else { 0 };
    let flags = nr::OPEN_TREE_CLONE | nr::OPEN_TREE_CLOEXEC | recursive;
    plain!(__NR_open_tree, Fd::CWD.word(), path.as_ptr(), flags).map(|fd| Fd(fd as i32))
}

/// `mount_setattr(2)`: sets attributes on a mount, or on it and all below it.
///
/// # Errors
/// `ENOSYS` before Linux 5.12, `EPERM`.
pub fn set_mount_attr(mount: Fd, attributes: u64, recursive: bool) -> Result<()> {
    let recursive = if recursive { nr::AT_RECURSIVE } else { 0 };
    let attr = [attributes, 0, 0, 0];
    plain!(
        __NR_mount_setattr,
        mount.word(),
        c"".as_ptr(),
        nr::AT_EMPTY_PATH | recursive,
        attr.as_ptr(),
        size_of::<[u64; 4]>()
    )
    .map(drop)
}

/// `move_mount(2)` of a detached mount onto an open directory or file.
///
/// # Errors
/// `EINVAL`, `EPERM`, `ENOTDIR`.
pub fn attach(mount: Fd, target: Fd) -> Result<()> {
    let flags = nr::MOVE_MOUNT_F_EMPTY_PATH | nr::MOVE_MOUNT_T_EMPTY_PATH;
    plain!(__NR_move_mount, mount.word(), c"".as_ptr(), target.word(), c"".as_ptr(), flags)
        .map(drop)
}

/// `move_mount(2)` of a detached mount onto a path below `dir`, without following a link in its last
/// component.
///
/// # Errors
/// Those of the path; `EINVAL`, `EPERM`.
pub fn attach_at(mount: Fd, dir: Fd, path: &CStr) -> Result<()> {
    plain!(
        __NR_move_mount,
        mount.word(),
        c"".as_ptr(),
        dir.word(),
        path.as_ptr(),
        nr::MOVE_MOUNT_F_EMPTY_PATH
    )
    .map(drop)
}

/// Mounts a new file system, detached: `fsopen(2)`, `fsconfig(2)` per option, `fsmount(2)`.
///
/// # Errors
/// `EPERM` where the mount is forbidden, `EINVAL` for an option.
pub fn new_mount<'a>(
    kind: &CStr,
    options: impl Iterator<Item = (&'a CStr, &'a CStr)>,
    attributes: u64,
) -> Result<Fd> {
    const SET_STRING: u32 = 1;
    const CREATE: u32 = 6;
    let context = plain!(__NR_fsopen, kind.as_ptr(), nr::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        plain!(__NR_fsconfig, context, SET_STRING, key.as_ptr(), value.as_ptr(), 0)?;
    }
    plain!(__NR_fsconfig, context, CREATE, 0, 0, 0)?;
    let mount = plain!(__NR_fsmount, context, nr::FSMOUNT_CLOEXEC, attributes)?;
    close(Fd(context as i32));
    Ok(Fd(mount as i32))
}

/// `pivot_root(".", ".")`, detaches the old root, and enters the new one.
///
/// # Errors
/// `EINVAL` where the current root is the initial ramfs.
pub fn pivot_here() -> Result<()> {
    plain!(__NR_pivot_root, c".".as_ptr(), c".".as_ptr())?;
    plain!(__NR_umount2, c".".as_ptr(), nr::MNT_DETACH)?;
    chdir(c"/")
}

/// `sethostname(2)`.
///
/// # Errors
/// `EPERM`.
pub fn set_hostname(name: &[u8]) -> Result<()> {
    plain!(__NR_sethostname, name.as_ptr(), name.len()).map(drop)
}

/// Brings the loopback interface up; some kernels have it up from the start and refuse to touch it.
///
/// # Errors
/// `EPERM` where capabilities were taken away in the new network namespace.
pub fn loopback_up() -> Result<()> {
    const SIOCGIFFLAGS: u32 = 0x8913;
    const SIOCSIFFLAGS: u32 = 0x8914;
    const IFF_UP: u8 = 1;
    let socket = plain!(__NR_socket, net::AF_UNIX, net::SOCK_DGRAM | nr::O_CLOEXEC, 0)?;
    let socket = Fd(socket as i32);
    // struct ifreq: 16 bytes of name, then the flags IFF_UP | IFF_RUNNING.
    let mut request = [0u8; 40];
    (request[0], request[1], request[16]) = (b'l', b'o', 0x41);
    let mut up = ioctl(socket, SIOCSIFFLAGS, request.as_ptr() as usize);
    if up.is_err() && ioctl(socket, SIOCGIFFLAGS, request.as_mut_ptr() as usize).is_ok() {
        up = if request[16] & IFF_UP != 0 { Ok(0) } else { up };
    }
    close(socket);
    up.map(drop)
}

// ---------------------------------------------------------------------------------------------
// Landlock

/// The Landlock ABI that the kernel offers, from 1 on.
///
/// # Errors
/// `ENOSYS` where the kernel lacks it, `EOPNOTSUPP` where it is disabled at boot.
pub fn landlock_abi() -> Result<usize> {
    const VERSION: u32 = 1;
    plain!(__NR_landlock_create_ruleset, 0, 0, VERSION)
}

/// `landlock_create_ruleset(2)`.
///
/// # Errors
/// `EOPNOTSUPP` where Landlock is disabled, `EINVAL` for rights that the kernel does not know.
pub fn landlock_ruleset(fs: u64, net: u64, scoped: u64) -> Result<Fd> {
    let attr = [fs, net, scoped];
    // Kernels before the network and scope rights accept a shorter structure only.
    let len = if scoped != 0 {
        24
    } else if net != 0 {
        16
    } else {
        8
    };
    plain!(__NR_landlock_create_ruleset, attr.as_ptr(), len, 0).map(|fd| Fd(fd as i32))
}

/// `landlock_add_rule(2)`: allows `access` below an open path.
///
/// # Errors
/// `EINVAL` for rights that the ruleset does not handle.
pub fn landlock_allow(ruleset: Fd, access: u64, beneath: Fd) -> Result<()> {
    #[repr(C, packed)]
    struct PathBeneath {
        access: u64,
        fd: i32,
    }
    let rule = PathBeneath { access, fd: beneath.0 };
    plain!(__NR_landlock_add_rule, ruleset.word(), 1, ptr::from_ref(&rule), 0).map(drop)
}

/// `landlock_restrict_self(2)`.
///
/// # Errors
/// `EPERM` without `no_new_privs`, `E2BIG` at sixteen layers.
pub fn landlock_restrict(ruleset: Fd) -> Result<()> {
    plain!(__NR_landlock_restrict_self, ruleset.word(), 0).map(drop)
}
