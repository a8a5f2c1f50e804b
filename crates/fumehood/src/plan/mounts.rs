//! Where a path leads inside the root, judged before anything is made.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::cow;
use super::layout::{Entry, Layout, WORKSPACE};
use super::links::{follow, host_path};
use crate::job::{Access, Mount, may_hold_a_mount};
use crate::sabotage::leaves_out;
use crate::{Error, MountNote, MountNoteKind, Result};

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
pub(crate) fn place(index: usize, mount: &Mount, layout: &mut Layout) -> Result<()> {
    let metadata = match fs::metadata(&mount.source) {
        Ok(metadata) => metadata,
        Err(error) if mount.optional && is_missing(&error) => {
            let text = format!("{} does not exist on the host", shown(&mount.source));
            layout.notes.push(MountNote::new(&mount.target, MountNoteKind::Skipped, text));
            return Ok(());
        }
        Err(error) => {
            return Err(Error::invalid(
                format!("mounts[{index}].source"),
                shown(&mount.source),
                format!("cannot be mounted: {}", reason(&error)),
            ));
        }
    };
    let source = fs::canonicalize(&mount.source).unwrap_or_else(|_| mount.source.clone());
    let target = behind_links(mount, &source, layout);
    mount_point(&format!("mounts[{index}].target"), &target, metadata.is_dir(), &mut layout.root)?;
    layout.root.push(entry(index, mount, source, target, &metadata)?);
    Ok(())
}

fn entry(
    index: usize,
    mount: &Mount,
    source: PathBuf,
    target: PathBuf,
    metadata: &Metadata,
) -> Result<Entry> {
    let directory = metadata.is_dir();
    if mount.access == Access::CopyOnWrite && !leaves_out("copy-on-write") {
        cow::check(index, &source, directory)?;
        let mode = metadata.mode() & 0o1777;
        let upper = mount.upper.as_ref().map(|upper| cow::kept(index, upper, &source));
        return Ok(Entry::Cow { source, target, mode, upper: upper.transpose()? });
    }
    let (access, as_owner) = (mount.access, mount.as_owner);
    Ok(Entry::Bind { source, target, access, directory, as_owner })
}

/// Where a mount goes whose target is, or leads through, a symbolic link of a tree that is mounted
/// already. If the link leads to the very file that is to be mounted, the mount goes where the link
/// leads, so that it can be reached by both names; everything else is left to be refused.
fn behind_links(mount: &Mount, source: &Path, layout: &mut Layout) -> PathBuf {
    let target = &mount.target;
    if !matches!(locate(&layout.root, target), Place::Through(_)) {
        return target.clone();
    }
    let Some(behind) = follow(&layout.root, target).filter(|path| may_hold_a_mount(path)) else {
        return target.clone();
    };
    let shows = match host_path(&layout.root, &behind) {
        Some(host) => host == source,
        None => behind == source,
    };
    if !shows {
        return target.clone();
    }
    let text = format!("is mounted at {}, where the link {} leads", shown(&behind), shown(target));
    layout.notes.push(MountNote::new(target, MountNoteKind::BehindLink, text));
    behind
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// A path in a message: as it is, unless that would be hard to read or to tell from others.
pub(crate) fn shown(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("{path:?}"),
    }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory on the host".to_owned(),
        _ => error.to_string(),
    }
}

/// Makes sure that there is something to mount on.
pub(super) fn mount_point(
    field: &str,
    target: &Path,
    directory: bool,
    root: &mut Vec<Entry>,
) -> Result<()> {
    let refuse = |problem: String| Err(Error::invalid(field, shown(target), problem));
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

pub(crate) fn at(entry: &Entry) -> Option<&Path> {
    Some(match entry {
        Entry::Dir { path, .. } | Entry::Link { path, .. } | Entry::File { path, .. } => path,
        Entry::Bind { target, .. } | Entry::Cow { target, .. } | Entry::Tmpfs { target, .. } => {
            target
        }
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
        Entry::Bind { directory: false, .. } if here => Place::File,
        Entry::Bind { .. } | Entry::Cow { .. } if here => Place::Directory,
        Entry::Bind { source, .. } | Entry::Cow { source, .. } => on_host(source, rest, above),
        Entry::Proc | Entry::Devpts if here => Place::Directory,
        Entry::File { .. } | Entry::Device { .. } | Entry::Cover { .. } if here => Place::File,
        _ => Place::Missing(above.into()),
    }
}

/// Walks the host's tree below a bind without following a link.
fn on_host(source: &Path, rest: &Path, above: &Path) -> Place {
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
