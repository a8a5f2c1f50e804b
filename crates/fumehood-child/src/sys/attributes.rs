//! Attributes of the calling process (`prctl(2)`). Some options of that call take addresses, so the call
//! itself is nobody else's.

use core::ffi::CStr;

use linux_raw_sys::{general as nr, prctl as pr};

use super::{Errno, Result, call};

fn set(option: u32, value: usize) -> Result<()> {
    plain!(__NR_prctl, option, value, 0, 0, 0).map(drop)
}

/// Gives this process a name of at most 15 bytes, for whoever looks (`PR_SET_NAME`).
pub fn set_name(name: &CStr) {
    let _ = set(pr::PR_SET_NAME, name.as_ptr() as usize);
}

/// Has the kernel kill this process with its parent, that is, with the thread that made it
/// (`PR_SET_PDEATHSIG`). A parent that has ended before kills nobody.
///
/// # Errors
/// None that is known.
pub fn die_with_parent() -> Result<()> {
    const KILL: usize = 9;
    set(pr::PR_SET_PDEATHSIG, KILL)
}

/// Whether others of this user may look into this process (`PR_SET_DUMPABLE`).
///
/// # Errors
/// None that is known.
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    set(pr::PR_SET_DUMPABLE, dumpable.into())
}

/// Nothing that this process executes gives it privileges any more (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// None that is known.
pub fn no_new_privileges() -> Result<()> {
    set(pr::PR_SET_NO_NEW_PRIVS, 1)
}

/// Makes orphans among the descendants of this process its children (`PR_SET_CHILD_SUBREAPER`).
///
/// # Errors
/// None that is known.
pub fn adopt_orphans() -> Result<()> {
    set(pr::PR_SET_CHILD_SUBREAPER, 1)
}

/// Takes every capability out of the bounding set, and so from whatever is executed (`PR_CAPBSET_DROP`).
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn empty_bounding_set() -> Result<()> {
    // Past the last capability that this kernel knows it says EINVAL.
    for capability in 0..64 {
        match set(pr::PR_CAPBSET_DROP, capability) {
            Err(Errno::INVAL) if capability > 0 => break,
            other => other?,
        }
    }
    Ok(())
}

/// Clears the ambient capabilities (`PR_CAP_AMBIENT`).
///
/// # Errors
/// `EINVAL` before Linux 4.3.
pub fn clear_ambient_set() -> Result<()> {
    set(pr::PR_CAP_AMBIENT, pr::PR_CAP_AMBIENT_CLEAR_ALL as usize)
}

/// Sets the flags that say what user 0 and a change of user mean for capabilities (`PR_SET_SECUREBITS`).
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`, or for one that is locked.
pub fn set_securebits(bits: u8) -> Result<()> {
    set(pr::PR_SET_SECUREBITS, bits.into())
}
