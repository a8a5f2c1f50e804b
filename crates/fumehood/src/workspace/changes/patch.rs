//! The diff as text that `git apply` and `patch -p1` take.
//!
//! Git refuses a whole patch for one change that it cannot make. So what a patch has no words for is only
//! named, where there is room for comments, and with it whatever takes that for done.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::at;
use super::hunks;
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

/// The two directories that are compared.
#[derive(Clone, Copy)]
pub(super) struct Sides<'a> {
    pub(super) host: &'a OwnedFd,
    pub(super) upper: &'a OwnedFd,
}

/// Writes the changes to one directory.
pub(super) fn write(
    out: &mut dyn Write,
    all: &[Found],
    sides: Sides<'_>,
    budget: &mut Budget,
) -> io::Result<()> {
    let mut in_the_way: Option<&Path> = None;
    for found in all {
        let has_room = in_the_way.is_none_or(|path| !found.path.starts_with(path));
        if has_room && change(out, found, sides, budget)? {
            continue;
        }
        if has_room && found.kind == ChangeKind::Type {
            in_the_way = Some(&found.path);
        }
        named(out, found)?;
    }
    Ok(())
}

/// Writes one change, or says that a patch has no words for it.
fn change(
    out: &mut dyn Write,
    found: &Found,
    sides: Sides<'_>,
    budget: &mut Budget,
) -> io::Result<bool> {
    let modes = [&found.host, &found.upper].map(|node| node.as_ref().and_then(mode));
    let [old, new] = modes;
    if found.kind == ChangeKind::Mode {
        if old != new {
            header(out, &found.path, modes)?;
        }
        return Ok(old != new);
    }
    let becomes_directory = found.kind == ChangeKind::Type
        && found.upper.as_ref().is_some_and(|node| node.kind == FileKind::Directory);
    // What the host does not let us read can be named all the same.
    let before = sides.before(found).unwrap_or(None);
    let after = if becomes_directory { Some(Vec::new()) } else { sides.after(found)? };
    let (Some(before), Some(after)) = (before, after) else { return Ok(false) };
    let len = before.len() + after.len();
    if len > budget.0 || (old == new && before == after) {
        return Ok(false);
    }
    budget.0 -= len;
    if old.is_some() && new.is_some() && modes.contains(&Some(LINK)) {
        // Whether a link was there before is nowhere said of what stays.
        block(out, &found.path, [old, None], [&before, &[]])?;
        block(out, &found.path, [None, new], [&[], &after])?;
    } else {
        block(out, &found.path, modes, [&before, &after])?;
    }
    if becomes_directory {
        named(out, &Found { kind: ChangeKind::Added, host: None, ..found.clone() })?;
    }
    Ok(true)
}

impl Sides<'_> {
    fn before(self, found: &Found) -> io::Result<Option<Vec<u8>>> {
        text(found.host.as_ref(), |_| {
            at::file(at::beneath(self.host, parent(&found.path))?, name(&found.path))
        })
    }

    fn after(self, found: &Found) -> io::Result<Option<Vec<u8>>> {
        text(found.upper.as_ref(), |node| {
            open_file(at::beneath(self.upper, parent(&found.path))?, name(&found.path), node)
        })
    }
}

/// Text of one side: nothing where there is nothing, none if it is no text, no file or too long.
fn text(
    node: Option<&Node>,
    open: impl FnOnce(&Node) -> rustix::io::Result<std::fs::File>,
) -> io::Result<Option<Vec<u8>>> {
    use std::os::unix::ffi::OsStrExt;
    let Some(node) = node else { return Ok(Some(Vec::new())) };
    if let Some(target) = &node.link {
        return Ok(Some(target.as_os_str().as_bytes().to_vec()));
    }
    let is_short = u64::try_from(node.stat.st_size).is_ok_and(|size| size <= LONGEST);
    if node.kind != FileKind::File || !is_short {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    open(node)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    let is_text = !bytes.contains(&0) && bytes.len() as u64 <= LONGEST;
    Ok(is_text.then_some(bytes))
}

const LINK: &str = "120000";

/// What Git knows of a mode: nothing of directories and of what is no file.
fn mode(node: &Node) -> Option<&'static str> {
    match node.kind {
        FileKind::Symlink => Some(LINK),
        FileKind::File if node.mode() & 0o111 != 0 => Some("100755"),
        FileKind::File => Some("100644"),
        _ => None,
    }
}

/// From one mode and text to another, by the rules of a patch with the headers of Git.
fn block(
    out: &mut dyn Write,
    path: &Path,
    modes: [Option<&str>; 2],
    texts: [&[u8]; 2],
) -> io::Result<()> {
    header(out, path, modes)?;
    if let ([Some(_), None], [[], _]) = (modes, texts) {
        // GNU patch removes no file that was empty before unless it is told so.
        writeln!(out, "index e69de29..0000000")?;
    }
    let end = |letter, mode: Option<&str>| match mode {
        Some(_) => Label::new(letter, path).before_a_date(),
        None => "/dev/null".to_owned(),
    };
    let [old, new] = modes;
    hunks::write(out, [&end("a", old), &end("b", new)], texts)
}

fn header(out: &mut dyn Write, path: &Path, modes: [Option<&str>; 2]) -> io::Result<()> {
    let [old, new] = ["a", "b"].map(|letter| Label::new(letter, path).before_a_name());
    writeln!(out, "diff --git {old} {new}")?;
    match modes {
        [None, Some(mode)] => writeln!(out, "new file mode {mode}"),
        [Some(mode), None] => writeln!(out, "deleted file mode {mode}"),
        [Some(before), Some(after)] if before != after => {
            writeln!(out, "old mode {before}\nnew mode {after}")
        }
        _ => Ok(()),
    }
}

/// A path with the letter in front that `patch -p1` takes away, in quotes where it must.
struct Label(String);

impl Label {
    fn new(letter: &str, path: &Path) -> Self {
        Self(Quoted(Path::new(letter).join(path).as_os_str()).to_string())
    }

    fn is_bare(&self) -> bool {
        !self.0.starts_with('"')
    }

    /// Where a name ends at the first space that is not in quotes.
    fn before_a_name(self) -> String {
        if self.is_bare() && self.0.contains(' ') { format!("\"{}\"", self.0) } else { self.0 }
    }

    /// Where a name ends at a tab, behind which there may be a date, and spaces before that are not its own.
    fn before_a_date(self) -> String {
        if self.0.ends_with(' ') {
            self.before_a_name()
        } else if self.is_bare() && self.0.contains(' ') {
            self.0 + "\t"
        } else {
            self.0
        }
    }
}

/// The lines that whoever applies a patch takes for words in between.
fn named(out: &mut dyn Write, found: &Found) -> io::Result<()> {
    writeln!(out, "# {}", found.change())
}
