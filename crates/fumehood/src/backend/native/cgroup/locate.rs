//! Where this process stands in the control group hierarchies: pure functions over the text of
//! `/proc/self/cgroup` and `/proc/self/mountinfo` (cgroups(7), proc(5)).

use std::path::{Path, PathBuf};

/// Version of the control group interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// A hierarchy per controller.
    V1,
    /// The one unified hierarchy.
    V2,
}

/// A line of `/proc/PID/cgroup`: the group of a process in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    /// What the hierarchy controls; empty for version 2. `name=systemd` for a named one.
    pub(super) controllers: Vec<String>,
    /// Path of the group, seen from the root of the reader's cgroup namespace.
    pub(super) path: String,
}

impl Membership {
    pub(super) fn version(&self) -> Version {
        if self.controllers.is_empty() { Version::V2 } else { Version::V1 }
    }

    /// Whether this hierarchy is the one that controls `controllers` (any of them: a hierarchy
    /// has all of its controllers or none).
    pub(super) fn shares(&self, controllers: &[String]) -> bool {
        self.controllers.iter().any(|name| controllers.contains(name))
    }
}

/// Reads `/proc/PID/cgroup`: lines of `id:controller,controller:path`.
pub(super) fn parse_memberships(text: &str) -> Vec<Membership> {
    text.lines().filter_map(parse_membership).collect()
}

fn parse_membership(line: &str) -> Option<Membership> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    Some(Membership { controllers: split_names(controllers), path: path.to_owned() })
}

fn split_names(names: &str) -> Vec<String> {
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A mounted control group hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CgroupMount {
    pub(super) version: Version,
    /// The options of the super block: the controllers of a version 1 hierarchy are among them.
    pub(super) options: Vec<String>,
    /// The group that is visible at the mount point.
    pub(super) root: String,
    pub(super) point: PathBuf,
    pub(super) writable: bool,
}

/// Reads `/proc/PID/mountinfo`: the control group mounts in it, in its order, which is the order
/// of mounting: where two have one mount point, the later hides the earlier.
pub(super) fn parse_mounts(text: &str) -> Vec<CgroupMount> {
    text.lines().filter_map(parse_mount).collect()
}

fn parse_mount(line: &str) -> Option<CgroupMount> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, point, options) = (mount.next()?, mount.next()?, mount.next()?);
    let mut filesystem = filesystem.split(' ');
    let version = match filesystem.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let super_options = split_names(filesystem.nth(1)?);
    Some(CgroupMount {
        version,
        writable: is_writable(&split_names(options)) && is_writable(&super_options),
        options: super_options,
        root: unescape(root),
        point: PathBuf::from(unescape(point)),
    })
}

fn is_writable(options: &[String]) -> bool {
    !options.iter().any(|option| option == "ro")
}

/// Undoes the octal escapes of mountinfo: `\040` is a space.
pub(crate) fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                plain.extend_from_slice(&part.as_bytes()[3..]);
            }
            None => plain.extend_from_slice(part.as_bytes()),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// A group that is visible in the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The group's directory.
    pub(super) dir: PathBuf,
    /// The group's path as `/proc/PID/cgroup` shows it.
    pub(super) group: String,
    /// What the hierarchy controls (version 1); empty for version 2.
    pub(super) controllers: Vec<String>,
    /// Mount point of the hierarchy.
    pub(super) mount: PathBuf,
    /// Whether the mount can be written to at all.
    pub(super) writable: bool,
}

/// The places at which a group can be seen, the most promising first: a mount that can be
/// written to before one that cannot, a later mount before an earlier one.
pub(super) fn places(membership: &Membership, mounts: &[CgroupMount]) -> Vec<Place> {
    let of_hierarchy = |mount: &&CgroupMount| {
        mount.version == membership.version()
            && (mount.version == Version::V2 || membership.shares(&mount.options))
    };
    let mut places: Vec<_> = mounts
        .iter()
        .rev()
        .filter(of_hierarchy)
        .filter_map(|mount| place_below(membership, mount))
        .collect();
    places.sort_by_key(|place| !place.writable);
    places
}

/// The place of a group below one mount; none if the mount shows another part of the tree, as in
/// a container that was given another group's directory.
fn place_below(membership: &Membership, mount: &CgroupMount) -> Option<Place> {
    if membership.path.split('/').any(|part| part == "..") {
        return None; // Outside our cgroup namespace: no mount of ours leads there.
    }
    let below = strip(&membership.path, &mount.root)?;
    Some(Place {
        dir: if below.is_empty() { mount.point.clone() } else { mount.point.join(below) },
        group: membership.path.clone(),
        controllers: membership.controllers.clone(),
        mount: mount.point.clone(),
        writable: mount.writable,
    })
}

/// The version 2 group whose directory is `dir`, by the mount that it lies below.
pub(super) fn place_of_dir(dir: &Path, mounts: &[CgroupMount]) -> Option<Place> {
    let mounts = mounts.iter().rev().filter(|mount| mount.version == Version::V2);
    mounts.filter_map(|mount| Some((mount, dir.strip_prefix(&mount.point).ok()?))).next().map(
        |(mount, below)| Place {
            dir: dir.to_owned(),
            group: join(&mount.root, &below.to_string_lossy()),
            controllers: Vec::new(),
            mount: mount.point.clone(),
            writable: mount.writable,
        },
    )
}

/// What is left of `path` below `root`, both absolute.
fn strip<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(root.trim_end_matches('/'))?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

/// Path of the group `name` below the group `parent`.
pub(super) fn join(parent: &str, name: &str) -> String {
    let parent = parent.trim_end_matches('/');
    match name {
        "" if parent.is_empty() => "/".to_owned(),
        "" => parent.to_owned(),
        name => format!("{parent}/{name}"),
    }
}

/// Whether `path` is the group `group` or lies below it.
pub(super) fn is_within(path: &str, group: &str) -> bool {
    strip(path, group).is_some()
}

/// The systemd unit that a group belongs to: its path up to the last component that is a service
/// or a scope. Slices hold no processes and are never delegated.
pub(super) fn unit_of(group: &str) -> Option<&str> {
    let mut end = 0;
    let mut unit = None;
    for part in group.split('/') {
        end += part.len();
        if part.ends_with(".service") || part.ends_with(".scope") {
            unit = group.get(..end);
        }
        end += 1;
    }
    unit
}

/// The user's own service manager above a group: `/user.slice/user-1000.slice/user@1000.service`.
pub(super) fn user_manager_of(group: &str) -> Option<&str> {
    let start = group.find("/user@")?;
    let end = group[start + 1..].find('/')? + start + 1;
    group[start..end].ends_with(".service").then(|| &group[..end])
}

#[cfg(test)]
#[path = "locate_tests.rs"]
mod tests;
