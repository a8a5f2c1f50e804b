//! Credentials, limits, filters and signals of the calling process.

use core::ptr;

use linux_raw_sys::general as nr;

use super::{Fd, Result, call};

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
    (1..=64).for_each(default_signal);
    let none = 0u64;
    let _ = plain!(__NR_rt_sigprocmask, nr::SIG_SETMASK, ptr::from_ref(&none), 0, 8);
}

/// Blocks every signal.
pub fn block_signals() {
    let all = u64::MAX;
    let _ = plain!(__NR_rt_sigprocmask, nr::SIG_SETMASK, ptr::from_ref(&all), 0, 8);
}

/// Puts one signal back to its default.
pub fn default_signal(signal: u32) {
    let default = [0u64; 4];
    let _ = plain!(__NR_rt_sigaction, signal, default.as_ptr(), 0, 8);
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
