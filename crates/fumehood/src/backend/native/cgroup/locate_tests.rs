use std::path::{Path, PathBuf};

use super::{
    Place, Version, is_within, join, parse_memberships, parse_mounts, place_of_dir, places,
    unescape, unit_of, user_manager_of,
};

/// A recorded machine: `/proc/self/cgroup` and the control group lines of `/proc/self/mountinfo`.
struct Sample {
    cgroup: &'static str,
    mountinfo: &'static str,
}

impl Sample {
    /// The places of the group in the hierarchy of `controller`, or in that of version 2.
    fn places(&self, controller: &str) -> Vec<Place> {
        let mounts = parse_mounts(self.mountinfo);
        let memberships = parse_memberships(self.cgroup);
        let is_meant = |one: &&super::Membership| match controller {
            "" => one.version() == Version::V2,
            name => one.controllers.iter().any(|one| one == name),
        };
        let membership = memberships.iter().find(is_meant);
        membership.map_or_else(Vec::new, |membership| places(membership, &mounts))
    }

    fn dirs(&self, controller: &str) -> Vec<String> {
        let show = |place: Place| place.dir.to_string_lossy().into_owned();
        self.places(controller).into_iter().map(show).collect()
    }
}

const SYSTEMD_USER: Sample = Sample {
    cgroup: "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r4f.scope\n",
    mountinfo: "\
23 29 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
27 23 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
29 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
",
};

const SYSTEM_SERVICE: Sample = Sample {
    cgroup: "0::/system.slice/fumehood.service/fumehood-supervisor\n",
    mountinfo: SYSTEMD_USER.mountinfo,
};

const DOCKER_V1: Sample = Sample {
    cgroup: "\
12:pids:/docker/5f1c2a
11:cpu,cpuacct:/docker/5f1c2a
10:memory:/docker/5f1c2a
1:name=systemd:/docker/5f1c2a
0::/docker/5f1c2a
",
    mountinfo: "\
900 899 0:90 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
901 900 0:30 /docker/5f1c2a /sys/fs/cgroup/systemd ro,nosuid,nodev,noexec,relatime master:11 - cgroup cgroup rw,xattr,name=systemd
902 900 0:33 /docker/5f1c2a /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:16 - cgroup cgroup rw,memory
903 900 0:34 /docker/5f1c2a /sys/fs/cgroup/pids ro,nosuid,nodev,noexec,relatime master:17 - cgroup cgroup rw,pids
904 900 0:35 /docker/5f1c2a /sys/fs/cgroup/cpu,cpuacct ro,nosuid,nodev,noexec,relatime master:18 - cgroup cgroup rw,cpu,cpuacct
",
};

const DOCKER_V2: Sample = Sample {
    cgroup: "0::/\n",
    mountinfo: "\
1215 1214 0:25 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot
",
};

const DOCKER_V2_HOST_NAMESPACE: Sample = Sample {
    cgroup: "0::/system.slice/docker-77aa.scope\n",
    mountinfo: "\
1215 1214 0:25 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw
1300 1215 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup2 rw
",
};

const PODMAN_ROOTLESS: Sample = Sample {
    cgroup: "0::/\n",
    mountinfo: "\
640 639 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate
",
};

const KUBERNETES_POD: Sample = Sample {
    cgroup: "\
5:memory:/kubepods.slice/kubepods-pod1.slice/cri-containerd-9d.scope
4:pids:/kubepods.slice/kubepods-pod1.slice/cri-containerd-9d.scope
",
    mountinfo: "\
701 700 0:31 /kubepods.slice/kubepods-pod1.slice/cri-containerd-9d.scope /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory
702 700 0:32 /kubepods.slice/kubepods-other.slice /sys/fs/cgroup/pids ro,relatime - cgroup cgroup rw,pids
",
};

/// A hybrid machine: version 1 controllers, and a version 2 tree without any.
const HYBRID: Sample = Sample {
    cgroup: "\
9:name=systemd:/
8:pids:/
6:freezer:/
4:memory:/jobs/a8ca
2:cpuacct:/
1:cpu:/
0::/
",
    mountinfo: "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
",
};

#[test]
fn a_user_scope_is_found_below_the_mount() {
    let scope = "user.slice/user-1000.slice/user@1000.service/app.slice/run-r4f.scope";
    let places = SYSTEMD_USER.places("");
    assert_eq!(places.len(), 1);
    assert_eq!(places[0].dir, Path::new("/sys/fs/cgroup").join(scope));
    assert_eq!(places[0].group, format!("/{scope}"));
    assert!(places[0].writable);
    assert_eq!(SYSTEMD_USER.places("memory"), []);
}

#[test]
fn a_system_service_is_found() {
    assert_eq!(
        SYSTEM_SERVICE.dirs(""),
        ["/sys/fs/cgroup/system.slice/fumehood.service/fumehood-supervisor"]
    );
}

#[test]
fn a_v1_container_sees_its_group_at_the_mount_point() {
    let places = DOCKER_V1.places("memory");
    assert_eq!(places[0].dir, Path::new("/sys/fs/cgroup/memory"));
    assert_eq!(places[0].group, "/docker/5f1c2a");
    assert!(!places[0].writable);
    assert_eq!(DOCKER_V1.dirs("cpuacct"), ["/sys/fs/cgroup/cpu,cpuacct"]);
    assert_eq!(DOCKER_V1.places(""), [], "no version 2 mount");
}

#[test]
fn a_v2_container_with_a_namespace_sees_its_group_as_the_root() {
    assert_eq!(DOCKER_V2.dirs(""), ["/sys/fs/cgroup"]);
    assert!(!DOCKER_V2.places("")[0].writable);
    assert!(PODMAN_ROOTLESS.places("")[0].writable);
}

#[test]
fn of_two_mounts_the_writable_one_is_preferred() {
    let places = DOCKER_V2_HOST_NAMESPACE.places("");
    let writable: Vec<_> = places.iter().map(|place| place.writable).collect();
    assert_eq!(writable, [true, false]);
    assert_eq!(places[0].dir, Path::new("/sys/fs/cgroup/system.slice/docker-77aa.scope"));
}

#[test]
fn a_mount_of_another_group_is_no_place() {
    assert_eq!(KUBERNETES_POD.dirs("memory"), ["/sys/fs/cgroup/memory"]);
    assert_eq!(KUBERNETES_POD.dirs("pids"), Vec::<String>::new());
}

#[test]
fn a_hybrid_machine_has_both() {
    assert_eq!(HYBRID.dirs("memory"), ["/sys/fs/cgroup/memory/jobs/a8ca"]);
    assert_eq!(HYBRID.dirs("pids"), ["/sys/fs/cgroup/pids"]);
    assert_eq!(HYBRID.dirs(""), ["/sys/fs/cgroup/unified"]);
    assert_eq!(HYBRID.dirs("name=systemd"), ["/sys/fs/cgroup/systemd"]);
}

#[test]
fn a_group_outside_the_namespace_is_no_place() {
    let outside = Sample { cgroup: "0::/../../other\n", mountinfo: PODMAN_ROOTLESS.mountinfo };
    assert_eq!(outside.places(""), []);
}

#[test]
fn a_read_only_superblock_is_read_only() {
    let mounts = parse_mounts("1 2 0:3 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 ro\n");
    assert!(!mounts[0].writable);
}

#[test]
fn optional_fields_and_escapes_are_read() {
    let line = "1 2 0:3 / /mnt/a\\040b\\134c rw shared:1 master:2 - cgroup2 none rw\n";
    assert_eq!(parse_mounts(line)[0].point, PathBuf::from("/mnt/a b\\c"));
    assert_eq!(unescape("\\12"), "12", "not an escape of the kernel's");
    assert_eq!(parse_mounts("nonsense\n1 2 - cgroup2\n"), []);
}

#[test]
fn a_path_with_colons_is_kept_whole() {
    let memberships = parse_memberships("0::/a:b\n");
    assert_eq!(memberships[0].path, "/a:b");
    assert_eq!(parse_memberships("nonsense\n"), []);
}

#[test]
fn a_given_directory_is_named_as_the_kernel_names_it() {
    let mounts = parse_mounts(DOCKER_V2_HOST_NAMESPACE.mountinfo);
    let place = place_of_dir(Path::new("/sys/fs/cgroup/x/y"), &mounts).unwrap();
    assert_eq!(place.group, "/x/y");
    let root = place_of_dir(Path::new("/sys/fs/cgroup"), &mounts).unwrap();
    assert_eq!(root.group, "/");
    assert_eq!(place_of_dir(Path::new("/tmp"), &mounts), None);
    assert_eq!(place_of_dir(Path::new("/sys/fs/cgroup"), &parse_mounts(DOCKER_V1.mountinfo)), None);
}

#[test]
fn within_is_by_whole_components() {
    assert!(is_within("/a/b", "/a"));
    assert!(is_within("/a", "/a"));
    assert!(is_within("/a", "/"));
    assert!(!is_within("/ab", "/a"));
    assert!(!is_within("/", "/a"));
    assert_eq!(join("/", "a"), "/a");
    assert_eq!(join("/a", "b"), "/a/b");
    assert_eq!(join("/", ""), "/");
}

#[test]
fn units_are_services_and_scopes() {
    let scope = "/user.slice/user-1000.slice/user@1000.service/app.slice/run-r4f.scope";
    assert_eq!(unit_of(scope), Some(scope));
    assert_eq!(unit_of(&format!("{scope}/leaf")), Some(scope));
    assert_eq!(unit_of("/user.slice"), None);
    assert_eq!(unit_of("/"), None);
    let manager = "/user.slice/user-1000.slice/user@1000.service";
    assert_eq!(user_manager_of(scope), Some(manager));
    assert_eq!(user_manager_of(manager), None, "it is the unit itself");
    assert_eq!(user_manager_of("/system.slice/a.service"), None);
}
