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
    /// Whether the caller can turn into `nobody`: it is root, and both ids of `nobody` are mapped in
    /// its user namespace. In a namespace that maps only its root they are not.
    pub can_be_nobody: bool,
    /// Whether the caller's user id is 0 outside its user namespace too, as far as it can see.
    pub is_real_root: bool,
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

    fn probe() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let map = |file| IdMap::parse(&std::fs::read_to_string(file).unwrap_or_default());
        let (uids, gids) = if uid == 0 {
            (map("/proc/self/uid_map"), map("/proc/self/gid_map"))
        } else {
            Default::default()
        };
        Self {
            can_be_nobody: uid == 0 && uids.outside(NOBODY.0).and(gids.outside(NOBODY.1)).is_some(),
            // An unreadable map says nothing, so root is taken for root.
            is_real_root: uid == 0 && uids.outside(0).is_none_or(|outside| outside == 0),
            kernel: kernel_version(&rustix::system::uname().release().to_string_lossy()),
            uid,
            gid: rustix::process::getegid().as_raw(),
            landlock_abi: landlock_abi(),
        }
    }
}

/// The unprivileged host ids that a sandbox gets when root starts it: `nobody` and `nogroup`.
pub(crate) const NOBODY: (u32, u32) = (65534, 65534);

/// The lines of a `uid_map` or `gid_map` (`user_namespaces(7)`): first id inside, first id outside,
/// how many.
#[derive(Debug, Default)]
struct IdMap(Vec<[u32; 3]>);

impl IdMap {
    fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            Some([numbers.next()??, numbers.next()??, numbers.next()??])
        };
        Self(text.lines().filter_map(line).collect())
    }

    fn outside(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|&[inside, outside, count]| {
            let offset = id.checked_sub(inside).filter(|&offset| offset < count)?;
            outside.checked_add(offset)
        })
    }
}

fn landlock_abi() -> u32 {
    sys::landlock_abi().ok().and_then(|abi| u32::try_from(abi).ok()).unwrap_or(0)
}

/// Reads `6.1.0-18-amd64`; unreadable parts count as 0, the oldest.
pub(crate) fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::{IdMap, kernel_version};

    #[test]
    fn id_maps_say_who_is_who_outside() {
        let initial = IdMap::parse("         0          0 4294967295\n");
        assert_eq!((initial.outside(0), initial.outside(65534)), (Some(0), Some(65534)));
        let rootless = IdMap::parse("0 1000 1\n1 100000 65536\n");
        assert_eq!((rootless.outside(0), rootless.outside(65534)), (Some(1000), Some(165533)));
        let single = IdMap::parse("0 1000 1\n");
        assert_eq!((single.outside(0), single.outside(65534)), (Some(1000), None));
        assert_eq!(IdMap::parse("").outside(0), None);
    }

    #[test]
    fn kernel_versions_are_read_with_any_suffix() {
        assert_eq!(kernel_version("6.1.0-18-amd64"), (6, 1));
        assert_eq!(kernel_version("5.15"), (5, 15));
        assert_eq!(kernel_version("6.18.44+"), (6, 18));
        assert_eq!(kernel_version("odd"), (0, 0));
    }
}
