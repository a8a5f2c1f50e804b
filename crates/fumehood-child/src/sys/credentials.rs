//! Credentials, limits, filters and signals of the calling process.

use core::ptr;

use linux_raw_sys::general as nr;

use super::{Errno, Fd, Result, call};

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

/// `setfsuid(2)`: with whose rights this thread, and no other, uses files. An id other than root's also
/// takes it the capabilities that read past them, and root's gives them back.
///
/// # Errors
/// `EPERM` if it was not set: the call itself never says so.
pub fn set_fs_uid(uid: u32) -> Result<()> {
    plain!(__NR_setfsuid, uid)?;
    is_now(uid, plain!(__NR_setfsuid, u32::MAX)?)
}

/// `setfsgid(2)`, likewise.
///
/// # Errors
/// `EPERM` if it was not set: the call itself never says so.
pub fn set_fs_gid(gid: u32) -> Result<()> {
    plain!(__NR_setfsgid, gid)?;
    is_now(gid, plain!(__NR_setfsgid, u32::MAX)?)
}

/// Both give the id that was set before, and no id has the largest number.
fn is_now(wanted: u32, now: usize) -> Result<()> {
    if now as u32 == wanted { Ok(()) } else { Err(Errno::PERM) }
}

/// `setgroups(2)` to the empty list, of this thread.
///
/// # Errors
/// `EPERM` where the user namespace denies it.
pub fn clear_groups() -> Result<()> {
    plain!(__NR_setgroups, 0, 0).map(drop)
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

/// Allows this process as many descriptors as it may allow itself.
pub fn raise_descriptors() {
    let mut limit = [0u64; 2];
    // SAFETY: the kernel writes two words into `limit`, which outlives the call.
    let got = unsafe {
        let address = limit.as_mut_ptr() as usize;
        call(nr::__NR_prlimit64, [0, nr::RLIMIT_NOFILE as usize, 0, address, 0, 0])
    };
    if got.is_ok() {
        let _ = set_rlimit(nr::RLIMIT_NOFILE, limit[1], limit[1]);
    }
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
    install(instructions, flags).map(drop)
}

/// `seccomp(2)`: installs a filter, and opens a listener for the calls on which it asks a
/// supervisor (`SECCOMP_RET_USER_NOTIF`, `seccomp_unotify(2)`).
///
/// # Errors
/// Those of [`set_filter`]; `EBUSY` where another filter has a listener, `EMFILE`. Nothing is
/// installed then.
pub fn set_listening_filter(instructions: &[u8], flags: u32) -> Result<Fd> {
    const TSYNC: u32 = 1;
    const NEW_LISTENER: u32 = 8;
    // The two exclude each other, and a process with one thread has no other to synchronize.
    install(instructions, flags & !TSYNC | NEW_LISTENER).map(|fd| Fd(fd as i32))
}

fn install(instructions: &[u8], flags: u32) -> Result<usize> {
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const u8,
    }
    let program = Program { len: (instructions.len() / 8) as u16, filter: instructions.as_ptr() };
    plain!(__NR_seccomp, 1, flags, ptr::from_ref(&program))
}

/// Waits for a call on which a filter asks, and gives its number and calling convention
/// (`SECCOMP_IOCTL_NOTIF_RECV`).
///
/// # Errors
/// `ENOENT` if whoever made the call is gone or went on after a signal, and since Linux 6.11 when
/// nobody is left under the filter; `EINTR`.
pub fn asked(listener: Fd) -> Result<(i32, u32)> {
    // _IOWR('!', 0, struct seccomp_notif): 80 bytes that must be zero, id, pid, flags, then the
    // call: number, convention, instruction pointer, six arguments.
    const RECV: usize = 0xc050_2100;
    let mut words = [0u64; 10];
    // SAFETY: the kernel writes 80 bytes, as the request says, into 80 that outlive the call.
    unsafe {
        let words = words.as_mut_ptr() as usize;
        call(nr::__NR_ioctl, [listener.word(), RECV, words, 0, 0, 0])
    }?;
    Ok((words[2] as i32, (words[2] >> 32) as u32))
}

/// Unblocks every signal.
pub fn unblock_signals() {
    let none = 0u64;
    let _ = plain!(__NR_rt_sigprocmask, nr::SIG_SETMASK, ptr::from_ref(&none), 0, 8);
}

/// Blocks every signal.
pub fn block_signals() {
    let all = u64::MAX;
    let _ = plain!(__NR_rt_sigprocmask, nr::SIG_SETMASK, ptr::from_ref(&all), 0, 8);
}

/// Puts every signal back to its default.
pub fn default_signals() {
    (1..=64).for_each(default_signal);
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
