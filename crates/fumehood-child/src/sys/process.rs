//! Processes: cloning, executing, waiting, ending.

use core::ffi::CStr;
use core::mem::size_of;
use core::ptr;
use core::sync::atomic::AtomicU32;

use linux_raw_sys::general as nr;

use super::{Errno, Fd, Result, arch, call, check};

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
    /// Address of the child's process id in each namespace that it is to be chosen in, as `i32`s.
    pub set_tid: u64,
    /// How many these are.
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
/// `CLONE_VM` is refused: the child would run on the caller's stack. With `CLONE_PARENT` it is a child
/// of the caller's parent, and its end is told to that one as the caller's would be. Where a filter hides
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
    let sibling = flags & u64::from(nr::CLONE_PARENT) != 0;
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: flags | u64::from(nr::CLONE_PIDFD),
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        // A sibling has its sibling's; to name one as well is an error (clone(2)).
        exit_signal: if sibling { 0 } else { u64::from(nr::SIGCHLD) },
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
/// and waits until the child has executed a program or exited, as `vfork(2)` does. With
/// `shares_fds` it shares the descriptors of this thread until it executes (`CLONE_FILES`).
///
/// # Errors
/// Those of `clone3(2)`.
pub(crate) fn vfork<T>(
    stack: &mut [u8],
    shares_fds: bool,
    entry: extern "C" fn(&T) -> !,
    argument: &T,
) -> Result<i32> {
    let files = if shares_fds { nr::CLONE_FILES } else { 0 };
    let flags = u64::from(nr::CLONE_VM | nr::CLONE_VFORK | files);
    // SAFETY: `stack` is borrowed exclusively until the child no longer uses it (CLONE_VFORK
    // suspends this thread until then), `entry` never returns, and `argument` outlives the child's
    // use of it for the same reason.
    unsafe { clone_sharing(flags, nr::SIGCHLD, stack, entry, argument) }
}

/// [`vfork`] of a child that is process 1 of a process namespace of its own, with this process's
/// descriptors. The namespace ends with it.
///
/// # Errors
/// Those of `clone3(2)`.
pub(crate) fn vfork_apart<T>(
    stack: &mut [u8],
    entry: extern "C" fn(&T) -> !,
    argument: &T,
) -> Result<i32> {
    let flags = nr::CLONE_VM | nr::CLONE_VFORK | nr::CLONE_FILES | nr::CLONE_NEWPID;
    // SAFETY: as for `vfork`.
    unsafe { clone_sharing(u64::from(flags), nr::SIGCHLD, stack, entry, argument) }
}

/// Starts a thread of this process that runs `entry(argument)` on that stack. It has descriptors
/// and a directory of its own, copies of those of its maker; its signal mask is its maker's.
///
/// # Errors
/// Those of `clone3(2)`.
pub(crate) fn thread<T: Sync>(
    stack: &'static mut [u8],
    entry: extern "C" fn(&T) -> !,
    argument: &'static T,
) -> Result<()> {
    let flags = u64::from(nr::CLONE_VM | nr::CLONE_SIGHAND | nr::CLONE_THREAD);
    // SAFETY: as for `share`.
    unsafe { clone_sharing(flags, 0, stack, entry, argument) }.map(drop)
}

/// Runs `entry(argument)` in a child that shares this process's memory, on a stack of its own, at
/// the same time as this process. Its end is told to nobody.
///
/// # Errors
/// Those of `clone3(2)`.
pub(crate) fn share<T: Sync>(
    stack: &'static mut [u8],
    entry: extern "C" fn(&T) -> !,
    argument: &'static T,
) -> Result<i32> {
    // SAFETY: stack and argument live as long as the memory does, the stack is nobody else's, `entry`
    // never returns, and code of this crate uses neither libc nor thread-local storage, so that it
    // may run beside any other thread of this memory.
    unsafe { clone_sharing(u64::from(nr::CLONE_VM), 0, stack, entry, argument) }
}

/// [`share`] with a child whose end is told by `SIGCHLD`, and that has to be waited for. The kernel sets
/// `shares` to zero, and wakes [who waits for it](wait_for_other), when the child shares the memory no longer:
/// it has executed a program, or has ended.
///
/// # Errors
/// Those of `clone(2)`.
pub(crate) fn share_told<T: Sync>(
    stack: &'static mut [u8],
    entry: extern "C" fn(&T) -> !,
    argument: &'static T,
    shares: &'static AtomicU32,
) -> Result<i32> {
    let flags = u64::from(nr::CLONE_VM | nr::CLONE_CHILD_CLEARTID);
    // SAFETY: as for `share`; the word is there as long as the memory is, and may change at any time.
    unsafe { clone_clearing(flags, nr::SIGCHLD, stack, entry, argument, shares.as_ptr()) }
}

/// [`share`] with this process's descriptors, too, in a child that has the given process id in its
/// namespace. The next child gets the same one as without it. Somebody has to [wait](wait_for) for it.
///
/// # Errors
/// Those of `clone3(2)`: `EEXIST` if somebody has that id, `EPERM` without `CAP_SYS_ADMIN` over the
/// process namespace, `ENOSYS` where a filter hides the call.
pub(crate) fn share_as<T: Sync>(
    pid: i32,
    stack: &'static mut [u8],
    entry: extern "C" fn(&T) -> !,
    argument: &'static T,
) -> Result<()> {
    let args = CloneArgs {
        flags: u64::from(nr::CLONE_VM | nr::CLONE_FILES),
        stack: stack.as_mut_ptr() as u64,
        stack_size: (stack.len() & !15) as u64,
        set_tid: ptr::from_ref(&pid) as u64,
        set_tid_size: 1,
        ..CloneArgs::default()
    };
    // SAFETY: as for `share`; `args` and `pid` outlive the call, and a mapping begins at a multiple of 16,
    // so that the stack ends at one.
    let ret = unsafe {
        arch::clone_with_stack(
            nr::__NR_clone3 as usize,
            ptr::from_ref(&args) as usize,
            size_of::<CloneArgs>(),
            entry as usize,
            ptr::from_ref(argument) as usize,
            0,
        )
    };
    check(ret).map(drop)
}

/// SAFETY for callers: `flags` have CLONE_VM; the child has `stack` to itself and `argument` stays
/// valid until it executes a program or exits; `entry` never returns.
unsafe fn clone_sharing<T>(
    flags: u64,
    exit_signal: u32,
    stack: &mut [u8],
    entry: extern "C" fn(&T) -> !,
    argument: &T,
) -> Result<i32> {
    // SAFETY: as the caller says.
    unsafe { clone_clearing(flags, exit_signal, stack, entry, argument, ptr::null_mut()) }
}

/// SAFETY for callers: as for [`clone_sharing`]; with CLONE_CHILD_CLEARTID the kernel may write to `cleared`
/// as long as the memory is there.
unsafe fn clone_clearing<T>(
    flags: u64,
    exit_signal: u32,
    stack: &mut [u8],
    entry: extern "C" fn(&T) -> !,
    argument: &T,
    cleared: *mut u32,
) -> Result<i32> {
    let top = (stack.as_mut_ptr() as usize + stack.len()) & !15;
    // Not clone3(2), which filters hide whose flags they could not see, our own among them. SAFETY: as the
    // caller says. The function pointer and the reference are both one word; flags, the top of the stack
    // and the word are all that the flags that are used want.
    let ret = unsafe {
        arch::clone_with_stack(
            nr::__NR_clone as usize,
            (flags | u64::from(exit_signal)) as usize,
            top,
            entry as usize,
            ptr::from_ref(argument) as usize,
            cleared as usize,
        )
    };
    check(ret).map(|pid| pid as i32)
}

/// Waits until the word is no longer `value` (`futex(2)`); it may return early.
pub fn wait_while(word: &AtomicU32, value: u32) {
    let wait = nr::FUTEX_WAIT | nr::FUTEX_PRIVATE_FLAG;
    let _ = plain!(__NR_futex, word.as_ptr(), wait, value, 0);
}

/// Wakes who waits for that word to change.
pub fn wake(word: &AtomicU32) {
    let _ = plain!(__NR_futex, word.as_ptr(), nr::FUTEX_WAKE | nr::FUTEX_PRIVATE_FLAG, i32::MAX);
}

/// [`wait_while`] for a word that another process writes (it lies in [shared memory](super::map_shared)),
/// for at most so many milliseconds.
pub fn wait_for_other(word: &AtomicU32, value: u32, milliseconds: u32) {
    let time = [0u64, u64::from(milliseconds) * 1_000_000];
    let _ = plain!(__NR_futex, word.as_ptr(), nr::FUTEX_WAIT, value, time.as_ptr());
}

/// Wakes another process that waits for that word to change.
pub fn wake_other(word: &AtomicU32) {
    let _ = plain!(__NR_futex, word.as_ptr(), nr::FUTEX_WAKE, 1);
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

/// Enters a namespace (`setns(2)`); `kind` is its `CLONE_NEW*` flag.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` over the namespace.
pub fn enter(namespace: Fd, kind: u32) -> Result<()> {
    plain!(__NR_setns, namespace.0, kind).map(drop)
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

/// `getppid(2)`.
#[must_use]
pub fn getppid() -> i32 {
    plain!(__NR_getppid).map_or(0, |pid| pid as i32)
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

/// Waits until a child has ended, whatever its end is told by, and lets go of it (`wait4(2)`).
///
/// # Errors
/// `ECHILD` if it is no child.
pub fn wait_for(pid: i32) -> Result<()> {
    loop {
        match plain!(__NR_wait4, pid as isize, 0, nr::__WALL) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
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
