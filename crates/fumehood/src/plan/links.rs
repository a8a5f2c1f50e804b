//! Symbolic links inside a root that is only planned.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::layout::Entry;
use super::mounts::at;

/// As many as the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// Where a path leads when the program follows all links on it, the last one included; `None` for a
/// loop. What does not exist stays as it is.
pub(super) fn follow(root: &[Entry], path: &Path) -> Option<PathBuf> {
    let mut left: VecDeque<OsString> = names(path);
    let mut reached = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            reached.pop();
            continue;
        }
        let next = reached.join(&name);
        let Some(target) = link(root, &next) else {
            reached = next;
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return None;
        }
        if target.is_absolute() {
            reached = PathBuf::from("/");
        }
        let mut rest = names(&target);
        rest.append(&mut left);
        left = rest;
    }
    Some(reached)
}

impl super::Plan {
    /// Whether the host shows a program at this path inside, links followed.
    pub(crate) fn shows_program(&self, path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt;
        let host = follow(&self.root, path).and_then(|path| host_path(&self.root, &path));
        let metadata = host.and_then(|host| fs::metadata(host).ok());
        metadata.is_some_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

/// What the link at this path inside says, if there is one.
fn link(root: &[Entry], path: &Path) -> Option<PathBuf> {
    match governing(root, path)? {
        (Entry::Link { target, .. }, true) => Some(target.clone()),
        (_, true) => None,
        _ => fs::read_link(host_path(root, path)?).ok(),
    }
}

/// The path on the host that is shown at this path inside; `None` where the sandbox has something of
/// its own there, or nothing.
pub(super) fn host_path(root: &[Entry], path: &Path) -> Option<PathBuf> {
    match governing(root, path)? {
        (Entry::Bind { source, target, .. } | Entry::Cow { source, target, .. }, _) => {
            let rest = path.strip_prefix(target).ok()?;
            let empty = rest.as_os_str().is_empty();
            Some(if empty { source.clone() } else { source.join(rest) })
        }
        _ => None,
    }
}

/// The last entry at the longest prefix of a path, and whether it is at the path itself.
fn governing<'a>(root: &'a [Entry], path: &Path) -> Option<(&'a Entry, bool)> {
    path.ancestors().find_map(|above| {
        let entry = root.iter().rev().find(|entry| at(entry) == Some(above))?;
        Some((entry, above == path))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Access;

    fn bind(source: &Path, target: &str) -> Entry {
        Entry::Bind {
            source: source.into(),
            target: target.into(),
            access: Access::ReadOnly,
            directory: true,
            as_owner: false,
        }
    }

    #[test]
    fn links_are_followed_as_the_program_would() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        for (name, target) in [
            ("inner", "sub"),
            ("outer", "/opt/tool"),
            ("up", "../../../../etc"),
            ("twice", "inner/x"),
            ("loop", "loop"),
        ] {
            symlink(target, dir.path().join(name)).unwrap();
        }
        let root = [
            Entry::Link { path: "/bin".into(), target: "usr/bin".into() },
            bind(dir.path(), "/work"),
        ];
        for (path, leads) in [
            ("/work/inner", Some("/work/sub")),
            ("/work/inner/x", Some("/work/sub/x")),
            ("/work/outer", Some("/opt/tool")),
            ("/work/up/passwd", Some("/etc/passwd")),
            ("/work/twice/y", Some("/work/sub/x/y")),
            ("/work/loop", None),
            ("/bin/sh", Some("/usr/bin/sh")),
            ("/nowhere/x", Some("/nowhere/x")),
        ] {
            assert_eq!(follow(&root, Path::new(path)), leads.map(PathBuf::from), "{path}");
        }
        assert_eq!(host_path(&root, Path::new("/work/sub")), Some(dir.path().join("sub")));
        assert_eq!(host_path(&root, Path::new("/opt/tool")), None);
    }
}
