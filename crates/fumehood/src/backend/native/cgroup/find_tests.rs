//! Delegation, with real groups.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::advice::Surroundings;
use super::delegate::{self, SUPERVISOR};
use super::find::Parent;
use super::locate::{Place, join};
use super::testing::{MIB, Shell, dirs_of, hierarchy_or_skip, limits, version};
use super::{Group, Hierarchy, Resource, Version, v2};

/// A directory below our own groups that stands for one that somebody else made.
struct Strange(PathBuf);

impl Strange {
    fn make(parent: &v2::Parent, name: &str) -> (Self, Place) {
        let dir = parent.dir.path().join(name);
        fs::create_dir(&dir).unwrap();
        let place = Place {
            group: join(&parent.group, name),
            dir: dir.clone(),
            controllers: Vec::new(),
            mount: PathBuf::from("/sys/fs/cgroup"),
            writable: true,
        };
        (Self(dir), place)
    }
}

impl Drop for Strange {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.0.join(SUPERVISOR));
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn processes_of_others_are_not_moved_out_of_the_way() {
    let hierarchy =
        hierarchy_or_skip!("processes_of_others_are_not_moved_out_of_the_way", Memory, Pids);
    let Parent::V2(parent) = hierarchy.parent() else {
        return assert_eq!(version(hierarchy), Version::V1, "groups are not divided there");
    };
    let (strange, place) = Strange::make(parent, "fumehood-test-occupied");
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(strange.0.join("cgroup.procs"), child.id().to_string()).unwrap();

    let around = Surroundings { has_systemd: false, is_root: true };
    let spot = delegate::base(&place, |_| true);
    let dir = delegate::open(&spot, &place, around).unwrap();
    let blocked = delegate::enable(&spot, &dir, around).unwrap_err();
    assert!(blocked.reason.ends_with(&format!(" ({})", child.id())), "{blocked:?}");
    assert!(!strange.0.join(SUPERVISOR).exists());

    child.kill().unwrap();
    child.wait().unwrap();
    let enabled = delegate::enable(&spot, &dir, around).unwrap();
    assert!(enabled.iter().any(|name| name == "memory"), "{enabled:?}");
    assert!(!strange.0.join(SUPERVISOR).exists(), "nobody had to go there");
}

#[test]
fn a_unit_is_ours_only_if_systemd_says_so() {
    let hierarchy = hierarchy_or_skip!("a_unit_is_ours_only_if_systemd_says_so", Pids);
    let Parent::V2(parent) = hierarchy.parent() else {
        return assert_eq!(version(hierarchy), Version::V1, "no marks there");
    };
    let (strange, place) = Strange::make(parent, "fumehood-test.service");
    let root = Surroundings { has_systemd: true, is_root: true };
    let blocked = delegate::require_delegated(&place, root).unwrap_err();
    assert!(blocked.reason.contains("has not delegated"), "{blocked:?}");
    assert!(blocked.fix.unwrap().contains("Delegate=yes"));
    let user = Surroundings { is_root: false, ..root };
    delegate::require_delegated(&place, user).expect("an old systemd does not mark for users");

    let create = rustix::fs::XattrFlags::CREATE;
    rustix::fs::setxattr(&strange.0, "user.delegate", b"1", create).unwrap();
    delegate::require_delegated(&place, root).expect("it is marked");
}

#[test]
fn a_given_directory_is_used_as_it_is() {
    let hierarchy = hierarchy_or_skip!("a_given_directory_is_used_as_it_is", Memory, Pids);
    let refused = Hierarchy::find(Some("/tmp".as_ref()));
    assert!(refused.unwrap_err().reason.contains("not in a version 2 hierarchy"));
    let Parent::V2(parent) = hierarchy.parent() else {
        return assert_eq!(version(hierarchy), Version::V1);
    };
    let (strange, place) = Strange::make(parent, "fumehood-test-given");
    let found = Hierarchy::find(Some(&strange.0)).unwrap();
    assert!(found.holds(Resource::Memory).is_ok());
    let group = Group::create(&found, &limits(Some(64 * MIB), Some(8))).unwrap();
    assert!(dirs_of(&group)[0].starts_with(&place.dir));
    let status = Shell::inside(&group, "dd if=/dev/zero of=/dev/null bs=96M count=1").ends();
    assert!(!status.success());
    assert!(group.oom().unwrap().at_limit);
}
