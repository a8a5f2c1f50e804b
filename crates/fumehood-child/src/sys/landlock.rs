//! Landlock.

use core::ptr;

use linux_raw_sys::general as nr;

use super::{Fd, Result, call};

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
