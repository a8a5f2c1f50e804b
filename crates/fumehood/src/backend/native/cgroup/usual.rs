//! Where hierarchies are on nearly every machine. To look there is a call for each; the list of all
//! mounts takes the kernel longer than to make some of the namespaces.

use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statfs};

use super::locate::{CgroupMount, Membership, Version, places};
use super::v1::Controller;

const ROOT: &str = "/sys/fs/cgroup";

/// `f_type` of both versions (`statfs(2)`).
pub(super) const CGROUP_SUPER_MAGIC: u64 = 0x0027_e0eb;
pub(crate) const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// The mounts that show the groups of these memberships, each with the whole of its hierarchy; none
/// unless each is where it usually is and can be written to. That another group of that name is shown, as where a part of a
/// hierarchy is mounted, is for the caller to find out.
pub(super) fn mounts(memberships: &[Membership]) -> Option<Vec<CgroupMount>> {
    let is_wanted = |one: &&Membership| !Controller::among(&one.controllers).is_empty();
    let legacy: Vec<_> = memberships.iter().filter(is_wanted).collect();
    if !legacy.is_empty() {
        return legacy.into_iter().map(|one| mount(one, one.controllers.join(","))).collect();
    }
    // Beside a hierarchy of version 1, even a named one, version 2 may lie anywhere.
    let [only] = memberships else { return None };
    mount(only, String::new()).map(|mount| vec![mount])
}

fn mount(membership: &Membership, name: String) -> Option<CgroupMount> {
    let mount = CgroupMount {
        version: membership.version(),
        options: membership.controllers.clone(),
        root: "/".to_owned(),
        point: if name.is_empty() { PathBuf::from(ROOT) } else { Path::new(ROOT).join(name) },
        writable: true,
    };
    let place = places(membership, std::slice::from_ref(&mount)).pop()?;
    let magic = match mount.version {
        Version::V1 => CGROUP_SUPER_MAGIC,
        Version::V2 => CGROUP2_SUPER_MAGIC,
    };
    let found = statfs(&place.dir).ok()?;
    // The flags of the mount are those of statvfs(3), which makes the same call (statfs(2)).
    let flags = StatVfsMountFlags::from_bits_retain(found.f_flags.cast_unsigned());
    let is_fit =
        found.f_type.cast_unsigned() == magic && !flags.contains(StatVfsMountFlags::RDONLY);
    is_fit.then_some(mount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::native::cgroup::dir::read_proc;
    use crate::backend::native::cgroup::locate::{parse_memberships, parse_mounts};

    fn here() -> (Vec<Membership>, Vec<CgroupMount>) {
        let memberships = parse_memberships(&read_proc("/proc/self/cgroup").unwrap());
        (memberships, parse_mounts(&read_proc("/proc/self/mountinfo").unwrap()))
    }

    #[test]
    fn what_is_found_where_it_usually_is_is_what_the_kernel_lists() {
        let (memberships, listed) = here();
        let Some(usual) = mounts(&memberships) else {
            eprintln!("skipped: no hierarchy is where it usually is");
            return;
        };
        for one in &memberships {
            for place in places(one, &usual) {
                assert!(places(one, &listed).contains(&place), "{place:?} of {listed:?}");
            }
        }
    }

    #[test]
    fn a_group_that_is_not_there_is_looked_for_elsewhere() {
        let (mut memberships, _) = here();
        for one in &mut memberships {
            one.path = "/fumehood-no-such-group".to_owned();
        }
        assert_eq!(mounts(&memberships), None);
    }

    #[test]
    fn version_2_beside_version_1_is_looked_for_elsewhere() {
        let (name, path) = ("name=systemd".to_owned(), "/".to_owned());
        let named = Membership { controllers: vec![name], path: path.clone() };
        let unified = Membership { controllers: Vec::new(), path };
        assert_eq!(mounts(&[named, unified]), None);
    }
}
