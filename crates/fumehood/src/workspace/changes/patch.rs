//! The diff as text that `git apply` takes.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::at;
use super::scan::{Found, Node, name, open_file, parent};
use super::show::Quoted;
use super::types::{ChangeKind, FileKind};

/// The longest file that is compared line by line.
const LONGEST: u64 = 1 << 20;
/// Text that is written in all; after that files are only named.
const MOST: usize = 64 << 20;

/// How much text may still be written.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(MOST)
    }
}

/// Writes one change.
pub(super) fn write(
    out: &mut dyn Write,
    found: &Found,
    upper: &OwnedFd,
    host: &OwnedFd,
    budget: &mut Budget,
) -> io::Result<()> {
    if found.kind == ChangeKind::Type {
        let gone = Found { kind: ChangeKind::Deleted, upper: None, ..found.clone() };
        write(out, &gone, upper, host, budget)?;
        let new = Found { kind: ChangeKind::Added, host: None, ..found.clone() };
        return write(out, &new, upper, host, budget);
    }
    let of = |node: Option<&Node>| node.is_some_and(|node| is_content(node.kind));
    if !of(found.host.as_ref()) && !of(found.upper.as_ref()) {
        return named(out, found);
    }
    if found.kind == ChangeKind::Mode {
        return header(out, found);
    }
    let before = side(found, found.host.as_ref(), |node, name| {
        let dir = at::beneath(host, parent(&found.path))?;
        content(node, || at::file(dir, name))
    });
    let after = side(found, found.upper.as_ref(), |node, name| {
        let dir = at::beneath(upper, parent(&found.path))?;
        content(node, || open_file(dir, name, node))
    });
    match (before?, after?) {
        (Some(before), Some(after)) if before.len() + after.len() <= budget.0 => {
            budget.0 -= before.len() + after.len();
            header(out, found)?;
            hunks(out, found, &before, &after)
        }
        _ => named(out, found),
    }
}

fn is_content(kind: FileKind) -> bool {
    matches!(kind, FileKind::File | FileKind::Symlink)
}

/// Text of one side: nothing where there is no file, none if it is no text or too long.
fn side(
    found: &Found,
    node: Option<&Node>,
    read: impl FnOnce(&Node, &std::ffi::OsStr) -> io::Result<Option<Vec<u8>>>,
) -> io::Result<Option<Vec<u8>>> {
    match node {
        Some(node) if is_content(node.kind) => read(node, name(&found.path)),
        _ => Ok(Some(Vec::new())),
    }
}

fn content(
    node: &Node,
    open: impl FnOnce() -> rustix::io::Result<std::fs::File>,
) -> io::Result<Option<Vec<u8>>> {
    use std::os::unix::ffi::OsStrExt;
    if let Some(target) = &node.link {
        return Ok(Some(target.as_os_str().as_bytes().to_vec()));
    }
    if u64::try_from(node.stat.st_size).is_ok_and(|size| size > LONGEST) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    open()?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    let is_text = !bytes.contains(&0) && bytes.len() as u64 <= LONGEST;
    Ok(is_text.then_some(bytes))
}

/// A path with the letter in front that `patch -p1` takes away.
fn labelled(letter: &str, path: &Path) -> String {
    let mut path = std::path::PathBuf::from(letter).join(path).into_os_string();
    Quoted(std::mem::take(&mut path).as_os_str()).to_string()
}

fn header(out: &mut dyn Write, found: &Found) -> io::Result<()> {
    let (old, new) = (labelled("a", &found.path), labelled("b", &found.path));
    writeln!(out, "diff --git {old} {new}")?;
    let mode = |node: &Node| match node.kind {
        FileKind::Symlink => "120000",
        _ if node.mode() & 0o111 != 0 => "100755",
        _ => "100644",
    };
    let present =
        |node: &Option<Node>| node.as_ref().filter(|node| is_content(node.kind)).map(mode);
    match (present(&found.host), present(&found.upper)) {
        (None, Some(mode)) => writeln!(out, "new file mode {mode}"),
        (Some(mode), None) => writeln!(out, "deleted file mode {mode}"),
        (Some(before), Some(after)) if before != after => {
            writeln!(out, "old mode {before}\nnew mode {after}")
        }
        _ => Ok(()),
    }
}

/// Git knows no directories and nothing special, and refuses a whole patch for one file that is said to differ
/// without its content: they are named where a patch has room for words.
fn named(out: &mut dyn Write, found: &Found) -> io::Result<()> {
    writeln!(out, "# {}", found.change())
}

fn ends(found: &Found) -> (String, String) {
    let missing = || "/dev/null".to_owned();
    let present = |node: &Option<Node>| node.as_ref().is_some_and(|node| is_content(node.kind));
    let old = if present(&found.host) { labelled("a", &found.path) } else { missing() };
    let new = if present(&found.upper) { labelled("b", &found.path) } else { missing() };
    (old, new)
}

fn hunks(out: &mut dyn Write, found: &Found, before: &[u8], after: &[u8]) -> io::Result<()> {
    let (old, new) = ends(found);
    super::hunks::write(out, [&old, &new], [before, after])
}
