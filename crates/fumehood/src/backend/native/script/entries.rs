//! The steps that make the root: one entry after the other.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use fumehood_child::Step;
use linux_raw_sys::general as nr;

use super::{QUIET, READ_ONLY, SCRATCH, Script, c_string, limit_user};
use crate::job::Access;
use crate::plan::layout::{EMPTY_DIR, EMPTY_FILE, Entry, cover_of, inside};
use crate::sabotage::leaves_out;
use crate::{Error, Result};

/// `plain` entries lie on the root itself: every directory on the way was made by steps before.
pub(super) fn place(script: &mut Script, entry: &Entry, plain: bool) -> Result<()> {
    match entry {
        Entry::Dir { path, mode } => {
            let (parent, name) = split(path, plain)?;
            script.push_for(&Step::Mkdir { parent: &parent, name: &name, mode: *mode }, path);
            if path == Path::new(EMPTY_DIR) {
                useless(script, path)?;
            }
        }
        Entry::Link { path, target } => {
            let (parent, name) = split(path, plain)?;
            let target = c_string(target.as_os_str().as_bytes())?;
            script.push_for(&Step::Symlink { parent: &parent, name: &name, target: &target }, path);
        }
        Entry::File { path, data } if plain && data.is_empty() => {
            script.push_for(&Step::Touch { path: &c_string(inside(path))? }, path);
            if path == Path::new(EMPTY_FILE) {
                useless(script, path)?;
            }
        }
        Entry::File { path, data } => {
            let inside = c_string(inside(path))?;
            script.push_for(&Step::File { path: &inside, mode: 0o644, data }, path);
        }
        Entry::Bind { source, target, access: Access::ReadOnly, .. }
            if plain && script.shows_the_host_alone() =>
        {
            host(script, source, target)?;
        }
        Entry::Bind { source, target, access, .. } => {
            bind(script, source, target, attributes(*access), plain)?;
        }
        Entry::Device { path } => {
            bind(script, path, path, nr::MOUNT_ATTR_NOSUID | nr::MOUNT_ATTR_NOEXEC, true)?;
        }
        Entry::Tmpfs { target, size, inodes, mode } => {
            tmpfs(script, target, *size, *inodes, *mode, plain)?;
        }
        // Only `Layers` can, and a plan with one has them.
        Entry::Cow { .. } => return Err(not_prepared()),
        Entry::Proc => {
            script.push(&Step::Proc {});
            limit_user(script, "")?;
            let attributes = u64::from(QUIET | nr::MOUNT_ATTR_RDONLY);
            script.push_for(&Step::ShowProc { target: c"proc", attributes }, "/proc");
        }
        Entry::Devpts => script.push_for(&Step::Devpts { target: c"dev/pts" }, "/dev/pts"),
        Entry::Cover { path, data } => cover(script, path, data)?,
        Entry::Mask { path, directory } => {
            let with = if *directory { EMPTY_DIR } else { EMPTY_FILE };
            let (path_inside, with) = (c_string(inside(path))?, c_string(inside(Path::new(with)))?);
            let step = Step::Mask { path: &path_inside, with: &with, attributes: 0, plain: true };
            script.push_for(&step, path);
        }
    }
    Ok(())
}

/// Makes a mount of a thing that nothing can be done with. So is every copy of it, wherever it hides
/// something.
fn useless(script: &mut Script, path: &Path) -> Result<()> {
    let at = c_string(inside(path))?;
    let attributes = u64::from(QUIET | nr::MOUNT_ATTR_RDONLY);
    script.push_for(&Step::Mask { path: &at, with: &at, attributes, plain: true }, path);
    Ok(())
}

/// Puts a file that is made here, where it can be, in place of one that cannot be changed.
fn cover(script: &mut Script, path: &Path, data: &[u8]) -> Result<()> {
    let with = c_string(inside(&cover_of(path)))?;
    script.push_for(&Step::File { path: &with, mode: 0o644, data }, cover_of(path));
    let to = c_string(inside(path))?;
    let attributes = u64::from(QUIET | nr::MOUNT_ATTR_RDONLY);
    let step = Step::Mask { path: &to, with: &with, attributes, plain: false };
    script.push_for(&step, path);
    Ok(())
}

fn attributes(access: Access) -> u32 {
    match access {
        Access::ReadOnly if leaves_out("read-only") => SCRATCH,
        Access::ReadOnly => READ_ONLY,
        Access::ReadWrite | Access::CopyOnWrite => SCRATCH,
    }
}

pub(super) fn not_prepared() -> Error {
    Error::internal("mount copy-on-write", std::io::Error::other("no place for changes"))
}

/// Shows something of the host, which [`Script::settle`] makes read-only with all else of it.
fn host(script: &mut Script, source: &Path, target: &Path) -> Result<()> {
    bind(script, source, target, 0, true)?;
    script.shows_the_host();
    Ok(())
}

pub(super) fn bind(
    script: &mut Script,
    source: &Path,
    target: &Path,
    attributes: u32,
    plain: bool,
) -> Result<()> {
    let from = c_string(source.as_os_str().as_bytes())?;
    let to = c_string(inside(target))?;
    let attributes = u64::from(attributes);
    let step = Step::Bind { source: &from, target: &to, attributes, recursive: true, plain };
    script.push_for(&step, target);
    Ok(())
}

pub(super) fn attach_tree(script: &mut Script, entry: &Entry, tree: OwnedFd) -> Result<()> {
    let Entry::Bind { target, access, .. } = entry else { return place(script, entry, false) };
    bind_tree(script, tree, target, attributes(*access))
}

pub(super) fn bind_tree(
    script: &mut Script,
    tree: OwnedFd,
    target: &Path,
    attributes: u32,
) -> Result<()> {
    let fd = u32::try_from(script.fds.len()).unwrap_or(u32::MAX);
    let to = c_string(inside(target))?;
    let attributes = u64::from(attributes);
    script.push_for(&Step::BindFd { fd, target: &to, attributes }, target);
    script.fds.push(tree);
    Ok(())
}

pub(super) fn tmpfs(
    script: &mut Script,
    target: &Path,
    size: Option<u64>,
    inodes: Option<u64>,
    mode: u32,
    plain: bool,
) -> Result<()> {
    // For tmpfs 0 means no limit (tmpfs(5)).
    let size = c_string(size.unwrap_or(0).to_string().as_bytes())?;
    let inodes = c_string(inodes.unwrap_or(0).to_string().as_bytes())?;
    let mode = c_string(format!("{mode:o}").as_bytes())?;
    let to = c_string(inside(target))?;
    let step = Step::Tmpfs {
        target: &to,
        size: &size,
        inodes: &inodes,
        mode: &mode,
        attributes: u64::from(SCRATCH),
        plain,
    };
    script.push_for(&step, target);
    Ok(())
}

/// Directory and name of a path in the new root. A plain path needs no directory: it is looked up
/// from the root in one go.
fn split(path: &Path, plain: bool) -> Result<(CString, CString)> {
    if plain {
        return Ok((CString::default(), c_string(inside(path))?));
    }
    let parent = path.parent().map_or(b"".as_slice(), inside);
    let name = path.file_name().map_or(b"".as_slice(), OsStrExt::as_bytes);
    Ok((c_string(parent)?, c_string(name)?))
}
