//! A process that outlives its owner and removes the control groups that were left behind.
//!
//! Everything else that a run makes ends with its processes. A control group is a directory, and an
//! owner that is killed cannot remove it.

use crate::sys::{self, Errno, Fd, PollFd, Result};
use crate::wire::Buffer;

/// How many hierarchies there are at most.
pub const MAX_DIRS: usize = 8;

/// Length of the longest prefix.
pub const MAX_PREFIX: usize = 96;

const STACK_LEN: usize = 16 * 1024;

/// The kernel takes milliseconds to be done with a killed process; after this many of them there is
/// something that cannot be killed.
const PATIENCE_MS: u32 = 10_000;

/// What there is to do when the owner is gone.
#[derive(Debug)]
pub struct Duty {
    /// Ends when the owner does: a socket whose other end only the owner has. What the owner puts into
    /// it is never taken out, and so is let go of when this process ends.
    pub line: Fd,
    /// The directories below which groups were made; unused places are -1.
    pub dirs: [Fd; MAX_DIRS],
    /// What the names of the owner's groups, and of no others, begin with.
    pub prefix: Buffer<MAX_PREFIX>,
}

/// Starts the process. It shares the caller's memory, which costs no copy, and uses nothing of it
/// but `duty` and a stack of its own.
///
/// # Errors
/// Those of `mmap(2)` and `clone3(2)`.
pub fn start(duty: &'static Duty) -> Result<()> {
    sys::share(sys::map(STACK_LEN)?, enter, duty).map(drop)
}

extern "C" fn enter(duty: &Duty) -> ! {
    // A handler of the owner's must never run here.
    sys::block_signals();
    let _ = sys::setsid();
    keep(duty);
    let mut line = [PollFd::hung_up(duty.line)];
    while matches!(sys::poll(&mut line), Err(Errno::INTR)) {}
    for _ in 0..PATIENCE_MS {
        // Every directory is tried, whatever became of the one before.
        let left = dirs(duty).filter(|&dir| !is_swept(dir, duty.prefix.bytes())).count();
        if left == 0 {
            break;
        }
        sys::sleep_ms(1);
    }
    sys::exit(0)
}

fn dirs(duty: &Duty) -> impl Iterator<Item = Fd> {
    duty.dirs.iter().copied().filter(|dir| *dir != Fd(-1))
}

/// Closes all descriptors that are not needed: the owner's must end with the owner.
fn keep(duty: &Duty) {
    let needed = |from: u32| {
        let needed = dirs(duty).chain([duty.line]).filter_map(|fd| u32::try_from(fd.0).ok());
        needed.filter(|&fd| fd >= from).min()
    };
    let mut from = 0;
    while let Some(kept) = needed(from) {
        if kept > from {
            let _ = sys::close_range(from, kept.saturating_sub(1));
        }
        from = kept.saturating_add(1);
    }
    let _ = sys::close_range(from, u32::MAX);
}

/// Removes the groups in one directory; whether none is left.
fn is_swept(dir: Fd, prefix: &[u8]) -> bool {
    let Ok(list) = sys::open_list(dir) else { return true };
    let mut swept = true;
    let mut entries = [0; 2048];
    while let Ok(len @ 1..) = sys::list(list, &mut entries) {
        for name in sys::Names::new(entries.get(..len).unwrap_or(&[])) {
            if name.to_bytes().starts_with(prefix) {
                swept &= !matches!(sys::remove_dir(dir, name), Err(Errno::BUSY));
            }
        }
    }
    sys::close(list);
    swept
}
