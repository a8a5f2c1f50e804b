//! The diff in lines.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::scan::{Found, Node};
use super::types::{Change, ChangeKind, FileKind};

impl Found {
    /// The change as it is reported.
    pub(super) fn change(&self) -> Change {
        let mode = |node: &Node| format!("{:o}", node.mode());
        let (host, upper) = (self.host.as_ref(), self.upper.as_ref());
        let size = upper.filter(|node| node.kind == FileKind::File);
        Change {
            path: self.path.clone(),
            kind: self.kind,
            before: host.map(|node| node.kind),
            mode_before: host.map(mode),
            after: upper.map(|node| node.kind),
            mode_after: upper.map(mode),
            size: size.and_then(|node| u64::try_from(node.stat.st_size).ok()),
            link: upper.and_then(|node| node.link.clone()),
            conflict: self.conflict,
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
            Self::Type => "type",
            Self::Mode => "mode",
        })
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Device => "device",
        })
    }
}

/// One line without an end: what happened, the path, and what there is to say. A directory's path
/// ends in a slash; a path with control characters, quotes or bytes that are no text is in quotes,
/// with escapes.
///
/// ```text
/// added     build/
/// added     build/a.out
/// added     tool -> ../bin/tool
/// modified  Makefile
/// deleted   notes.txt
/// mode      run.sh (644 to 755)
/// type      x (file to symlink -> y)
/// ```
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {}", self.kind, Quoted(self.path.as_os_str()))?;
        if self.after.or(self.before) == Some(FileKind::Directory) {
            f.write_str("/")?;
        }
        self.detail(f)?;
        if self.conflict { f.write_str(" [changed on the host meanwhile]") } else { Ok(()) }
    }
}

impl Change {
    fn detail(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = |f: &mut fmt::Formatter<'_>| match &self.link {
            Some(link) => write!(f, " -> {}", Quoted(link.as_os_str())),
            None => Ok(()),
        };
        match (self.kind, self.before, self.after) {
            (ChangeKind::Type, Some(before), Some(after)) => {
                write!(f, " ({before} to {after}")?;
                arrow(f)?;
                f.write_str(")")
            }
            (ChangeKind::Added, _, Some(FileKind::File | FileKind::Directory)) => Ok(()),
            (ChangeKind::Added, _, Some(FileKind::Symlink)) => arrow(f),
            (ChangeKind::Added, _, Some(special)) => write!(f, " ({special})"),
            (ChangeKind::Deleted, ..) => Ok(()),
            _ => {
                arrow(f)?;
                self.modes(f)
            }
        }
    }

    fn modes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.mode_before, &self.mode_after) {
            (Some(before), Some(after)) if before != after => write!(f, " ({before} to {after})"),
            _ => Ok(()),
        }
    }
}

/// A path for people to read: as it is if it is plain text, else in double quotes with the escapes of
/// C, so that a newline or a byte that is no text cannot pass for something else.
///
/// ```
/// use std::path::Path;
/// assert_eq!(fumehood::quoted(Path::new("a b")).to_string(), "a b");
/// assert_eq!(fumehood::quoted(Path::new("a\nb")).to_string(), r#""a\nb""#);
/// ```
#[must_use]
pub fn quoted(path: &Path) -> impl fmt::Display + '_ {
    Quoted::path(path)
}

/// A path that is read back as it is, whatever bytes it has. Quoted in the manner of Git.
pub(super) struct Quoted<'a>(pub(super) &'a OsStr);

impl Quoted<'_> {
    pub(super) fn path(path: &Path) -> Quoted<'_> {
        Quoted(path.as_os_str())
    }

    fn is_plain(&self) -> bool {
        self.0.to_str().is_some_and(|text| {
            text.chars().all(|char| !char.is_control() && !matches!(char, '"' | '\\'))
        })
    }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_plain() {
            return f.write_str(&self.0.to_string_lossy());
        }
        f.write_str("\"")?;
        for chunk in self.0.as_bytes().utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '"' | '\\' => write!(f, "\\{char}")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\r' => f.write_str("\\r")?,
                    char if char.is_control() => {
                        let mut bytes = [0; 4];
                        octal(f, char.encode_utf8(&mut bytes).as_bytes())?;
                    }
                    char => write!(f, "{char}")?,
                }
            }
            octal(f, chunk.invalid())?;
        }
        f.write_str("\"")
    }
}

fn octal(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\{byte:03o}"))
}
