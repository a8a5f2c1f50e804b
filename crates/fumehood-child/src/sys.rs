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

use linux_raw_sys::general as nr;

#[cfg(target_arch = "x86_64")]
#[path = "sys/x86_64.rs"]
pub(crate) mod arch;
#[cfg(target_arch = "aarch64")]
#[path = "sys/aarch64.rs"]
pub(crate) mod arch;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("Fumehood knows the system call conventions of x86-64 and aarch64 only");

use arch::syscall6;

/// An error number of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Operation not permitted.
    pub const PERM: Self = Self(1);
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
    /// In use.
    pub const BUSY: Self = Self(16);
    /// File exists.
    pub const EXIST: Self = Self(17);
    /// Not a directory.
    pub const NOTDIR: Self = Self(20);
    /// Invalid argument.
    pub const INVAL: Self = Self(22);
    /// Read-only file system.
    pub const ROFS: Self = Self(30);
    /// File name too long.
    pub const NAMETOOLONG: Self = Self(36);
    /// The kernel, or a filter on its behalf, does not know the call.
    pub const NOSYS: Self = Self(38);
    /// Protocol error: a message that does not decode.
    pub const PROTO: Self = Self(71);
    /// Too many of them.
    pub const USERS: Self = Self(87);
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

mod attributes;
mod credentials;
mod descriptors;
mod landlock;
mod listing;
mod mounts;
mod process;
mod processors;
mod schedule;
mod terminals;
mod unmounts;

pub use attributes::*;
pub use credentials::*;
pub use descriptors::*;
pub use landlock::*;
pub use listing::*;
pub use mounts::*;
pub use process::*;
pub use processors::*;
pub use schedule::*;
pub use terminals::*;
pub use unmounts::*;
