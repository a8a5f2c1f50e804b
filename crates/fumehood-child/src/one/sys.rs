//! The system calls of process 1, and the memory that it was started with: its only unsafe code.
#![expect(unsafe_code, reason = "system calls; each block names its invariant")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "registers are untyped words: the kernel reads back the width it declares"
)]

use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ptr;

use super::arch::{clone_with_stack, syscall6};
use super::numbers as nr;

/// What a system call returned: a number, or an error number of the kernel.
pub(super) type Result<T> = core::result::Result<T, i32>;

fn check(ret: isize) -> Result<usize> {
    if (-4095..0).contains(&ret) { Err(-ret as i32) } else { Ok(ret as usize) }
}

/// SAFETY for callers: the arguments must be what the kernel expects of call `number`; pointers must be
/// valid for what the call reads and writes.
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> Result<usize> {
    // SAFETY: the caller keeps the contract of the call; none here has more than four arguments but
    // `prctl(2)` and `clone(2)`, whose others are 0.
    check(unsafe { syscall6(number, a, b, c, d, 0, 0) })
}

/// The arguments and the variables that the kernel started this process with, as addresses of strings;
/// each list ends in 0.
pub(super) struct Started {
    pub(super) args: &'static [usize],
    pub(super) env: &'static mut [usize],
}

/// Finds them at the place where the kernel put them.
pub(super) fn started_with(stack: *mut usize) -> Started {
    // SAFETY: `stack` is what the stack pointer was when the kernel started this process: the number of
    // arguments, as many addresses, 0, addresses of variables, 0. Nobody else refers to them.
    unsafe {
        let count = *stack + 1;
        let env = stack.add(1 + count);
        let mut last = 0;
        while *env.add(last) != 0 {
            last += 1;
        }
        Started {
            args: core::slice::from_raw_parts(stack.add(1), count),
            env: core::slice::from_raw_parts_mut(env, last + 1),
        }
    }
}

/// A string of those; the empty one at the end of a list.
pub(super) fn string(address: usize) -> &'static CStr {
    if address == 0 {
        return c"";
    }
    // SAFETY: addresses come from the lists above, whose strings live as long as the process. One that
    // is erased keeps its end.
    unsafe { CStr::from_ptr(address as *const _) }
}

/// Writes zeros over a string of those, which nobody has a reference to any more.
pub(super) fn erase(address: usize) {
    let len = string(address).to_bytes().len();
    for index in 0..len {
        // SAFETY: within the string, as its length says; volatile, because nobody reads it any more.
        unsafe { ptr::write_volatile((address as *mut u8).add(index), 0) };
    }
}

/// `exit_group(2)`.
pub(super) fn exit(status: i32) -> ! {
    loop {
        // SAFETY: a number.
        let _ = unsafe { call(nr::NR_EXIT_GROUP, status as usize, 0, 0, 0) };
    }
}

/// `getpid(2)`.
pub(super) fn getpid() -> i32 {
    // SAFETY: no arguments.
    unsafe { call(nr::NR_GETPID, 0, 0, 0, 0) }.map_or(0, |pid| pid as i32)
}

/// Keeps others from tracing this process and from reading its memory and variables (`prctl(2)`).
pub(super) fn become_undumpable() -> Result<()> {
    // SAFETY: numbers.
    unsafe { call(nr::NR_PRCTL, nr::PR_SET_DUMPABLE, 0, 0, 0) }.map(drop)
}

/// Opens a file that is there for writing, close-on-exec.
pub(super) fn open(path: &CStr) -> Result<usize> {
    let flags = nr::O_WRONLY | nr::O_CLOEXEC;
    // SAFETY: the kernel reads the path, which ends in 0.
    unsafe { call(nr::NR_OPENAT, nr::AT_FDCWD as usize, path.as_ptr() as usize, flags, 0) }
}

/// Writes these bytes over what a file begins with. Only where that fails, for somebody has used up the
/// space with the very file, all else in it goes: to say so takes an application kernel a millisecond.
pub(super) fn write_over(file: usize, bytes: &[u8]) -> Result<()> {
    // SAFETY: numbers; the kernel reads the bytes.
    let write = || unsafe { call(nr::NR_PWRITE64, file, bytes.as_ptr() as usize, bytes.len(), 0) };
    let written = write().or_else(|_| {
        // SAFETY: numbers.
        unsafe { call(nr::NR_FTRUNCATE, file, 0, 0, 0) }?;
        write()
    });
    if written? == bytes.len() { Ok(()) } else { Err(0) }
}

/// Whether there is something at a path that ends in 0 (`faccessat(2)`).
pub(super) fn is_there(path: &[u8]) -> bool {
    if path.last() != Some(&0) {
        return false;
    }
    // SAFETY: the kernel reads the path, which ends in 0.
    unsafe { call(nr::NR_FACCESSAT, nr::AT_FDCWD as usize, path.as_ptr() as usize, 0, 0) }.is_ok()
}

/// Puts a signal back to its default.
pub(super) fn default_signal(signal: usize) {
    let default = [0usize; 4];
    // SAFETY: the kernel reads one `struct sigaction`, four words, with a mask of 8 bytes.
    let _ = unsafe { call(nr::NR_RT_SIGACTION, signal, default.as_ptr() as usize, 0, 8) };
}

/// Holds these signals back, and no others: bit 0 is signal 1.
pub(super) fn hold_back(signals: u64) {
    // SAFETY: the kernel reads 8 bytes.
    let _ = unsafe {
        call(nr::NR_RT_SIGPROCMASK, nr::SIG_SETMASK, ptr::from_ref(&signals) as usize, 0, 8)
    };
}

/// Waits for one of these signals, which are held back, and takes it.
pub(super) fn next_signal(signals: u64) -> Result<usize> {
    // SAFETY: the kernel reads 8 bytes, and neither says more about the signal nor ends by time.
    unsafe { call(nr::NR_RT_SIGTIMEDWAIT, ptr::from_ref(&signals) as usize, 0, 0, 8) }
}

/// `kill(2)`.
pub(super) fn kill(pid: i32, signal: usize) {
    // SAFETY: numbers.
    let _ = unsafe { call(nr::NR_KILL, pid as isize as usize, signal, 0, 0) };
}

/// Puts this process in a group of its own.
pub(super) fn lead_group() {
    // SAFETY: numbers.
    let _ = unsafe { call(nr::NR_SETPGID, 0, 0, 0, 0) };
}

/// `wait4(2)` for any child: its process id and wait status, or `None` if none has ended.
pub(super) fn wait_any(block: bool) -> Result<Option<(i32, i32)>> {
    let mut status = 0i32;
    let options = nr::WALL | if block { 0 } else { nr::WNOHANG };
    // SAFETY: the kernel writes the status, which outlives the call.
    let pid = unsafe {
        call(nr::NR_WAIT4, (-1isize) as usize, ptr::from_mut(&mut status) as usize, options, 0)
    }?;
    Ok((pid != 0).then_some((pid as i32, status)))
}

/// User time, system time (each in seconds and microseconds) and peak memory in KiB of all children that
/// were waited for, and of theirs.
pub(super) fn usage_of_children() -> [i64; 5] {
    const RUSAGE_CHILDREN: isize = -1;
    let mut usage = MaybeUninit::<[i64; 18]>::uninit();
    // SAFETY: the kernel writes one `struct rusage`, eighteen words; if it does not, none is read.
    unsafe {
        let place = usage.as_mut_ptr() as usize;
        match call(nr::NR_GETRUSAGE, RUSAGE_CHILDREN as usize, place, 0, 0) {
            Ok(_) => {
                let [a, b, c, d, e, ..] = usage.assume_init();
                [a, b, c, d, e]
            }
            Err(_) => [0; 5],
        }
    }
}

/// `execve(2)` of a path and lists that end in 0. Returns only on failure.
pub(super) fn execve(path: &[u8], args: &[usize], env: &[usize]) -> i32 {
    const INVALID: i32 = 22;
    if path.last() != Some(&0) || args.last() != Some(&0) || env.last() != Some(&0) {
        return INVALID;
    }
    // SAFETY: the path ends in 0, and so do the lists, of addresses of strings that do.
    let ret = unsafe {
        let (path, args, env) = (path.as_ptr(), args.as_ptr(), env.as_ptr());
        call(nr::NR_EXECVE, path as usize, args as usize, env as usize, 0)
    };
    ret.err().unwrap_or(INVALID)
}

/// How much stack a child has until it executes: more than the longest path.
const STACK: usize = 16 << 10;

#[repr(C, align(16))]
struct Stack(MaybeUninit<[u8; STACK]>);

/// Runs `entry(argument)` in a child that shares all memory, and waits until it has executed a program
/// or exited, as `vfork(2)` does. The child's number.
pub(super) fn vfork<T>(entry: extern "C" fn(&T) -> !, argument: &T) -> Result<usize> {
    let mut stack = Stack(MaybeUninit::uninit());
    let top = stack.0.as_mut_ptr() as usize + STACK;
    let flags = nr::CLONE_VM | nr::CLONE_VFORK | nr::SIGCHLD;
    // SAFETY: the child has the stack to itself, and both it and the argument outlive the child's use of
    // them, for this process waits until then (CLONE_VFORK); `entry` never returns.
    check(unsafe {
        let argument = ptr::from_ref(argument) as usize;
        clone_with_stack(nr::NR_CLONE, flags, top, entry as usize, argument, 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_variables_are_where_the_kernel_puts_them() {
        let [name, argument, variable] =
            [c"init", c"true", c"PATH=/bin"].map(|string| string.as_ptr() as usize);
        let mut stack = [2, name, argument, 0, variable, 0, usize::MAX];
        let Started { args, env } = started_with(stack.as_mut_ptr());
        assert_eq!((args, &*env), (&[name, argument, 0][..], &[variable, 0][..]));
        assert_eq!((string(args[1]), string(args[2])), (c"true", c""));
    }
}
