//! Where a path leads inside the root, judged before anything is made.

use std::fs;
use std::path::{Path, PathBuf};

use super::layout::{Entry, WORKSPACE};
use crate::job::{Access, Mount};
use crate::{Error, Result};

/// What stands at a path inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A directory.
    Directory,
    /// A file or something else that is not a directory.
    File,
    /// Nothing yet, but the program's own writable scratch is above it, so it can be made.
    Scratch,
    /// Nothing yet, in the root itself, which is made for the job.
    Root,
    /// Nothing, in a tree of the host that is not ours to change.
    Missing(PathBuf),
    /// A symbolic link stands in the way.
    Through(PathBuf),
}

impl Place {
    pub(crate) fn why_not_a_directory(&self) -> String {
        match self {
            Self::File => "is not a directory inside the sandbox".to_owned(),
            Self::Through(link) => {
                format!("leads through the symbolic link {}; name its target", link.display())
            }
            _ => "does not exist inside the sandbox; use a directory below /workspace or /tmp, \
                  or mount one"
                .to_owned(),
        }
    }
}

/// Adds one mount to the root, with the mount point that it needs.
pub(crate) fn place(index: usize, mount: &Mount, root: &mut Vec<Entry>) -> Result<()> {
    let directory = match fs::metadata(&mount.source) {
        Ok(metadata) => metadata.is_dir(),
        Err(_) if mount.optional => return Ok(()),
        Err(error) => {
            return Err(Error::invalid(
                format!("mounts[{index}].source"),
                mount.source.display(),
                format!("cannot be mounted: {}", reason(&error)),
            ));
        }
    };
    let source = fs::canonicalize(&mount.source).unwrap_or_else(|_| mount.source.clone());
    mount_point(index, &mount.target, directory, root)?;
    let target = mount.target.clone();
    root.push(Entry::Bind { source, target, access: mount.access, directory });
    Ok(())
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory on the host".to_owned(),
        _ => error.to_string(),
    }
}

fn mount_point(index: usize, target: &Path, directory: bool, root: &mut Vec<Entry>) -> Result<()> {
    let refuse = |problem: String| {
        Err(Error::invalid(format!("mounts[{index}].target"), target.display(), problem))
    };
    match locate(root, target) {
        Place::Directory if directory => Ok(()),
        Place::File if !directory => Ok(()),
        Place::Directory => refuse("is a directory inside, but the source is a file".to_owned()),
        Place::File => refuse("is a file inside, but the source is a directory".to_owned()),
        Place::Scratch | Place::Root => {
            make_parents(target, root);
            root.push(if directory {
                Entry::Dir { path: target.into(), mode: 0o755 }
            } else {
                Entry::File { path: target.into(), data: Vec::new() }
            });
            Ok(())
        }
        Place::Missing(above) => refuse(format!(
            "does not exist in {}, where it cannot be made; create it on the host or choose a \
             target outside",
            above.display()
        )),
        Place::Through(link) => refuse(format!(
            "leads through the symbolic link {}; name the path behind it",
            link.display()
        )),
    }
}

/// Directories between the root (or the mount above) and the target. Making one that exists does
/// nothing.
fn make_parents(target: &Path, root: &mut Vec<Entry>) {
    let mut parents: Vec<_> = target.ancestors().skip(1).collect();
    parents.reverse();
    for parent in parents.into_iter().filter(|parent| *parent != Path::new("/")) {
        if matches!(locate(root, parent), Place::Root | Place::Scratch) {
            root.push(Entry::Dir { path: parent.into(), mode: 0o755 });
        }
    }
}

/// What stands at `path` in a root that is made of these entries: the last entry at the longest
/// prefix decides, and below a bind the host's tree does.
pub(crate) fn locate(root: &[Entry], path: &Path) -> Place {
    if path == Path::new("/") {
        return Place::Directory;
    }
    for above in path.ancestors() {
        let Some(entry) = root.iter().rev().find(|entry| at(entry) == Some(above)) else {
            continue;
        };
        let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
        return below(entry, above, rest);
    }
    Place::Root
}

fn at(entry: &Entry) -> Option<&Path> {
    Some(match entry {
        Entry::Dir { path, .. } | Entry::Link { path, .. } | Entry::File { path, .. } => path,
        Entry::Bind { target, .. } | Entry::Tmpfs { target, .. } => target,
        Entry::Device { path } | Entry::Cover { path, .. } => path,
        Entry::Proc => Path::new("/proc"),
        Entry::Devpts => Path::new("/dev/pts"),
        Entry::Mask { .. } => return None,
    })
}

fn below(entry: &Entry, above: &Path, rest: &Path) -> Place {
    let here = rest.as_os_str().is_empty();
    match entry {
        Entry::Dir { .. } if here => Place::Directory,
        Entry::Dir { .. } if above.starts_with(WORKSPACE) => Place::Scratch,
        Entry::Dir { .. } => Place::Root,
        Entry::Link { path, .. } => Place::Through(path.clone()),
        Entry::Tmpfs { .. } => {
            if here {
                Place::Directory
            } else {
                Place::Scratch
            }
        }
        Entry::Bind { source, directory, access, .. } => {
            if here {
                return if *directory { Place::Directory } else { Place::File };
            }
            on_host(source, rest, above, *access)
        }
        Entry::Proc | Entry::Devpts if here => Place::Directory,
        Entry::File { .. } | Entry::Device { .. } | Entry::Cover { .. } if here => Place::File,
        _ => Place::Missing(above.into()),
    }
}

/// Walks the host's tree below a bind without following a link.
fn on_host(source: &Path, rest: &Path, above: &Path, _access: Access) -> Place {
    let mut host = source.to_path_buf();
    let mut inside = above.to_path_buf();
    let mut directory = true;
    for component in rest.components() {
        host.push(component);
        inside.push(component);
        match fs::symlink_metadata(&host) {
            Ok(metadata) if metadata.is_symlink() => return Place::Through(inside),
            Ok(metadata) => directory = metadata.is_dir(),
            Err(_) => return Place::Missing(above.into()),
        }
    }
    if directory { Place::Directory } else { Place::File }
}
