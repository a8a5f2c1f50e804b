//! Whether a file system is gone: nobody has it mounted, and nobody has any file of it (`inotify(7)`).

use core::ffi::CStr;

use linux_raw_sys::general as nr;

use super::{Fd, Result, call};

/// Where it is told.
///
/// # Errors
/// `EMFILE` where a user has as many of these as it may.
pub fn unmounts() -> Result<Fd> {
    plain!(__NR_inotify_init1, nr::IN_NONBLOCK | nr::IN_CLOEXEC).map(|fd| Fd(fd as i32))
}

/// Has the end of a file system told there by this number. That it is waited for does not keep it.
///
/// # Errors
/// Those of `inotify_add_watch(2)`.
pub fn tell_unmount(of: &CStr, there: Fd) -> Result<u32> {
    plain!(__NR_inotify_add_watch, there.word(), of.as_ptr(), nr::IN_UNMOUNT).map(|wd| wd as u32)
}

/// The numbers of those that are gone by now. What the kernel could not tell is not told.
pub fn hear_unmounts(there: Fd, mut hear: impl FnMut(u32)) {
    /// Of an event: number, what, and two words that are of files with a name.
    const EVENT: usize = 16;
    let mut events = [0; 32 * EVENT];
    while let Ok(len @ 1..) = super::read(there, &mut events) {
        let events = events.get(..len).unwrap_or(&[]);
        for event in events.chunks_exact(EVENT) {
            let word = |at: usize| {
                let word = event.get(at..).and_then(|rest| rest.first_chunk());
                word.map_or(0, |word| u32::from_ne_bytes(*word))
            };
            if word(4) & nr::IN_UNMOUNT != 0 {
                hear(word(0));
            }
        }
    }
}
