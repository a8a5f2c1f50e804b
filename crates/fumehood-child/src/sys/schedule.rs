//! Who gets a processor first.

use linux_raw_sys::general as nr;

use super::{Result, call};

/// `struct sched_attr` in its first version (`sched_setattr(2)`).
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Nanoseconds; the slice, where the policy is an ordinary one (Linux 6.12).
    runtime: u64,
    deadline: u64,
    period: u64,
}

impl Attributes {
    const SIZE: u32 = 48;

    const NONE: Self = Self {
        size: Self::SIZE,
        policy: 0,
        flags: 0,
        nice: 0,
        priority: 0,
        runtime: 0,
        deadline: 0,
        period: 0,
    };
}

/// `SCHED_FLAG_KEEP_POLICY`: whoever was started at a policy that is not the usual one keeps it.
const KEEP_POLICY: u64 = 0x08;

/// Lets whoever else waits for this processor go first (`sched_yield(2)`).
pub fn give_way_once() {
    let _ = plain!(__NR_sched_yield);
}

/// Sets the nice value of this thread and how long it may run before others have their turn, in
/// nanoseconds; 0 for as long as the kernel gives by itself.
///
/// A shorter slice is no smaller share: it is had in smaller pieces, and each of them sooner. Kernels
/// before Linux 6.12 ignore it.
///
/// # Errors
/// `EINVAL` for a thread of a real-time policy, `EACCES` for a nice value below the one that it has.
pub fn set_schedule(nice: i32, slice: u64) -> Result<()> {
    let attributes = Attributes { flags: KEEP_POLICY, nice, runtime: slice, ..Attributes::NONE };
    plain!(__NR_sched_setattr, 0, &raw const attributes, 0).map(drop)
}

/// The slice of this thread in nanoseconds; 0 where the kernel does not tell.
///
/// # Errors
/// `ENOSYS` where a filter has it so.
pub fn slice() -> Result<u64> {
    let mut attributes = Attributes::NONE;
    let to = &raw mut attributes as usize;
    // SAFETY: the kernel writes at most as many bytes as it is told there are, to a structure of
    // that size that outlives the call and takes any bytes.
    unsafe { call(nr::__NR_sched_getattr, [0, to, Attributes::SIZE as usize, 0, 0, 0]) }?;
    Ok(attributes.runtime)
}

/// Gives up a real-time or a deadline policy for the ordinary one, which takes no privilege (`sched(7)`).
/// Any other policy stays.
///
/// # Errors
/// `EPERM` where a filter has it so.
pub fn leave_real_time() -> Result<()> {
    let no_priority = 0u32;
    let policy = plain!(__NR_sched_getscheduler, 0)? as u32 & !nr::SCHED_RESET_ON_FORK;
    if matches!(policy, nr::SCHED_FIFO | nr::SCHED_RR | nr::SCHED_DEADLINE) {
        plain!(__NR_sched_setscheduler, 0, nr::SCHED_NORMAL, &raw const no_priority)?;
    }
    Ok(())
}

/// Has this process give way to others, by its nice value and without a slice of its own. One of
/// a real-time policy, which has neither, keeps the value for when it gets an ordinary one
/// (`setpriority(2)`).
///
/// # Errors
/// `EACCES` for a value below the one that it has.
pub fn give_way(nice: u32) -> Result<()> {
    set_schedule(nice.cast_signed(), 0)
        .or_else(|_| plain!(__NR_setpriority, nr::PRIO_PROCESS, 0, nice).map(drop))
}

const _: () = assert!(size_of::<Attributes>() == Attributes::SIZE as usize);
