//! Reads files of `/proc`: text in, facts out.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::Container;

/// One line of `mountinfo` (`proc_pid_mountinfo(5)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MountLine {
    /// Which directory of the file system is mounted.
    root: PathBuf,
    /// Where.
    pub(super) target: PathBuf,
    /// Options of the mount.
    pub(super) options: Vec<String>,
    /// Type of the file system.
    kind: String,
}

pub(super) fn mounts(mountinfo: &str) -> Vec<MountLine> {
    mountinfo.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<MountLine> {
    let (mount, system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, target) = (unescape(fields.next()?), unescape(fields.next()?));
    let kind = system.split(' ').next()?.to_owned();
    Some(MountLine { root, target, options: commas(fields.next()?), kind })
}

/// Spaces, tabs, line ends and backslashes are octal in mountinfo.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|code| std::str::from_utf8(code).ok());
        let code = octal.and_then(|code| u8::from_str_radix(code, 8).ok());
        match code.filter(|_| byte == b'\\') {
            Some(code) => {
                bytes.push(code);
                rest = tail.get(3..).unwrap_or(&[]);
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

pub(super) fn commas(list: &str) -> Vec<String> {
    list.trim().split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A process sees only mounts below its root. If none is mounted on `/` itself, its root is a
/// directory somewhere inside a mount: a chroot.
pub(super) fn is_chroot(mounts: &[MountLine]) -> bool {
    !mounts.is_empty() && !mounts.iter().any(|mount| mount.target == Path::new("/"))
}

/// Whether the root is a whole file system of its own rather than layers or a directory of one: a
/// machine that was made from a container's image, whose marks say nothing then.
pub(super) fn is_machine(mounts: &[MountLine]) -> bool {
    let layered = ["overlay", "fuse.fuse-overlayfs", "aufs"];
    let root = mount_of(mounts, Path::new("/"));
    root.is_some_and(|root| root.root == Path::new("/") && !layered.contains(&root.kind.as_str()))
}

/// What is mounted over entries of `/proc`. `binfmt_misc` belongs there and hides nothing.
pub(super) fn below_proc(mounts: &[MountLine]) -> Vec<PathBuf> {
    let mut masks: Vec<_> = mounts
        .iter()
        .map(|mount| &mount.target)
        .filter(|path| path.starts_with("/proc") && *path != Path::new("/proc"))
        .filter(|path| *path != Path::new("/proc/sys/fs/binfmt_misc"))
        .cloned()
        .collect();
    masks.dedup();
    masks
}

/// Which versions of control groups are mounted.
pub(super) fn cgroups(mounts: &[MountLine]) -> Vec<u8> {
    let versions = [("cgroup", 1), ("cgroup2", 2)];
    let mounted = |kind: &str| mounts.iter().any(|mount| mount.kind == kind);
    versions.into_iter().filter(|(kind, _)| mounted(kind)).map(|(_, version)| version).collect()
}

/// The mount that a path is on: the last of those mounted deepest above it.
fn mount_of<'a>(mounts: &'a [MountLine], path: &Path) -> Option<&'a MountLine> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.target))
        .max_by_key(|mount| mount.target.components().count())
}

pub(super) fn is_read_only(mounts: &[MountLine], path: &Path) -> bool {
    mount_of(mounts, path).is_some_and(|mount| mount.options.iter().any(|option| option == "ro"))
}

/// Those of the paths that are on a mount with this option.
pub(super) fn under(mounts: &[MountLine], option: &str, paths: &[&str]) -> Vec<PathBuf> {
    let has = |path: &Path| {
        mount_of(mounts, path).is_some_and(|mount| mount.options.iter().any(|set| set == option))
    };
    paths.iter().map(PathBuf::from).filter(|path| has(path)).collect()
}

/// A field of `/proc/PID/status`.
pub(super) fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(field, _)| *field == name).map(|(_, value)| value.trim())
}

/// Lines of `uid_map` or `gid_map`: first id inside, first id outside, how many.
pub(super) fn id_map(text: &str) -> Vec<(u32, u32, u32)> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// What an id is outside, if it is mapped.
pub(super) fn outside(map: &[(u32, u32, u32)], id: u32) -> Option<u32> {
    map.iter().find_map(|&(inside, outside, count)| {
        let offset = id.checked_sub(inside).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    })
}

/// What the environment variable `container` or `/run/systemd/container` says.
pub(super) fn container_name(name: &str) -> Option<Container> {
    match name {
        "" | "wsl" => None,
        "docker" => Some(Container::Docker),
        "podman" => Some(Container::Podman),
        "lxc" | "lxc-libvirt" => Some(Container::Lxc),
        "systemd-nspawn" => Some(Container::Nspawn),
        "flatpak" => Some(Container::Flatpak),
        _ => Some(Container::Other),
    }
}

/// What the path of the control group gives away.
pub(super) fn container_of(cgroup: &str) -> Option<Container> {
    let hints = [
        ("kubepods", Container::Kubernetes),
        ("libpod-", Container::Podman),
        ("docker", Container::Docker),
        ("lxc", Container::Lxc),
        ("containerd", Container::Other),
    ];
    let paths = || cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    // The engine's own services are not inside one of its containers.
    let inside = |path: &str, hint: &str| {
        path.split('/').any(|part| part.starts_with(hint) && !part.ends_with(".service"))
    };
    hints.into_iter().find(|(hint, _)| paths().any(|path| inside(path, hint))).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = "\
1 0 0:50 / / rw,relatime - overlay overlay rw
2 1 0:53 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
3 1 0:54 / /dev rw,nosuid - tmpfs tmpfs rw
4 2 0:53 /bus /proc/bus ro,nosuid,nodev,noexec,relatime - proc proc rw
5 2 0:54 /null /proc/kcore rw,nosuid - tmpfs tmpfs rw
6 1 8:1 /x /mnt/a\\040b rw,nodev - ext4 /dev/sda1 rw
";

    #[test]
    fn masks_of_a_container_are_seen_in_its_mounts() {
        let mounts = mounts(DOCKER);
        assert_eq!(below_proc(&mounts), [Path::new("/proc/bus"), Path::new("/proc/kcore")]);
        assert!(!is_chroot(&mounts));
        assert!(is_chroot(&mounts[1..]));
        assert!(!is_chroot(&[]), "no mountinfo is no evidence");
        assert!(!is_machine(&mounts), "an overlay is a container's");
        assert!(cgroups(&mounts).is_empty());
    }

    #[test]
    fn versions_of_control_groups_are_those_that_are_mounted() {
        let hybrid = "\
1 0 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
2 0 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";
        assert_eq!(cgroups(&mounts(hybrid)), [1, 2]);
    }

    #[test]
    fn a_machine_made_from_an_image_is_no_container() {
        let line = "26 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n";
        assert!(is_machine(&mounts(line)));
        let vfs = "26 1 254:0 /var/lib/docker/vfs/dir/1 / rw,relatime - ext4 /dev/vda rw\n";
        assert!(!is_machine(&mounts(vfs)));
    }

    #[test]
    fn options_are_those_of_the_deepest_mount() {
        let mounts = mounts(DOCKER);
        assert_eq!(mounts[5].target, Path::new("/mnt/a b"));
        assert!(is_read_only(&mounts, Path::new("/proc/bus/pci")));
        assert!(!is_read_only(&mounts, Path::new("/proc/self")));
        assert_eq!(
            under(&mounts, "nodev", &["/dev/null", "/mnt/a b/c"]),
            [Path::new("/mnt/a b/c")]
        );
    }

    #[test]
    fn ids_are_found_through_a_map() {
        let rootless =
            id_map("         0       1000          1\n         1     100000      65536\n");
        assert_eq!(outside(&rootless, 0), Some(1000));
        assert_eq!(outside(&rootless, 65534), Some(165_533));
        assert_eq!(outside(&rootless, 65537), None);
        assert_eq!(id_map("0 0 4294967295"), [(0, 0, u32::MAX)]);
    }

    #[test]
    fn control_groups_give_containers_away_but_not_their_engines() {
        assert_eq!(container_of("0::/system.slice/docker-0af3.scope"), Some(Container::Docker));
        assert_eq!(container_of("0::/system.slice/docker.service"), None);
        assert_eq!(container_of("4:memory:/docker/0af3\n"), Some(Container::Docker));
        assert_eq!(
            container_of("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-1.scope"),
            Some(Container::Kubernetes)
        );
        assert_eq!(container_of("0::/user.slice"), None);
    }

    #[test]
    fn status_fields_are_told_apart() {
        let status = "Seccomp:\t2\nSeccomp_filters:\t1\nCapEff:\t000001ffffffffff\n";
        assert_eq!(status_field(status, "Seccomp"), Some("2"));
        assert_eq!(status_field(status, "CapEff"), Some("000001ffffffffff"));
        assert_eq!(status_field(status, "NoNewPrivs"), None);
    }
}
