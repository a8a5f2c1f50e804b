//! What this kernel and this user are, as far as a plan depends on it.

use std::sync::OnceLock;

use fumehood_child::sys;

/// What a plan needs to know of the host. Cheap to find out; whether namespaces can be made is
/// found out by making them, because no file says it reliably (`/proc/sys` may allow what a
/// security module or an outer container's filter forbids).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Host {
    /// Major and minor version of the kernel.
    pub kernel: (u32, u32),
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// The Landlock ABI, from 1 on; 0 where the kernel lacks Landlock or it is disabled.
    pub landlock_abi: u32,
}

impl Host {
    /// The host as it is now. The answer is kept: kernels do not change under a process.
    #[must_use]
    pub fn current() -> &'static Self {
        static CURRENT: OnceLock<Host> = OnceLock::new();
        CURRENT.get_or_init(Self::probe)
    }

    /// Whether the caller is root, so that the sandbox must become someone else.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.uid == 0
    }

    fn probe() -> Self {
        Self {
            kernel: kernel_version(&rustix::system::uname().release().to_string_lossy()),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            landlock_abi: landlock_abi(),
        }
    }
}

/// The unprivileged host ids that a sandbox gets when root starts it: `nobody` and `nogroup`.
pub(crate) const NOBODY: (u32, u32) = (65534, 65534);

fn landlock_abi() -> u32 {
    sys::landlock_abi().ok().and_then(|abi| u32::try_from(abi).ok()).unwrap_or(0)
}

/// Reads `6.1.0-18-amd64`; unreadable parts count as 0, the oldest.
fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::kernel_version;

    #[test]
    fn kernel_versions_are_read_with_any_suffix() {
        assert_eq!(kernel_version("6.1.0-18-amd64"), (6, 1));
        assert_eq!(kernel_version("5.15"), (5, 15));
        assert_eq!(kernel_version("6.18.44+"), (6, 18));
        assert_eq!(kernel_version("odd"), (0, 0));
    }
}
