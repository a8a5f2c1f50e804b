//! What `.gitignore` files name (`gitignore(5)`).

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{refused, unreadable};
use crate::Result;
use crate::workspace::glob::{Glob, Part, Token};

/// A longer one is refused: it is read into memory.
const LONGEST: u64 = 1 << 20;

/// The `.gitignore` files of a directory and of those above it, up to the exported one.
#[derive(Clone, Debug, Default)]
pub(super) struct Ignored(Vec<Gitignore>);

impl Ignored {
    /// Adds the one of a directory, which has been opened.
    pub(super) fn and(&self, directory: &Path, file: OwnedFd) -> Result<Self> {
        let name = directory.join(".gitignore");
        let mut text = Vec::new();
        let mut file = File::from(file).take(LONGEST + 1);
        file.read_to_end(&mut text).map_err(|error| unreadable(&name, &error))?;
        if text.len() as u64 > LONGEST {
            return Err(refused(name.display(), format!("has more than {LONGEST} bytes")));
        }
        let lines = lines(&text).map_err(|problem| refused(name.display(), problem))?;
        let mut all = self.clone();
        all.0.push(Gitignore { directory: directory.to_owned(), lines });
        Ok(all)
    }

    /// Whether the file or directory at this path is ignored: the nearest file that has a word on
    /// it decides.
    pub(super) fn names(&self, path: &Path, directory: bool) -> bool {
        let said = self.0.iter().rev().find_map(|one| one.says(path, directory));
        said.unwrap_or(false)
    }
}

/// One file.
#[derive(Clone, Debug)]
struct Gitignore {
    /// Where it is.
    directory: PathBuf,
    lines: Vec<Line>,
}

impl Gitignore {
    /// Whether a path is ignored, if the file says anything of it: its last word counts.
    fn says(&self, path: &Path, directory: bool) -> Option<bool> {
        let below = path.strip_prefix(&self.directory).ok()?.as_os_str().as_bytes();
        let fits = |line: &&Line| (directory || !line.directories) && line.glob.fits(below);
        self.lines.iter().rev().find(fits).map(|line| !line.takes_back)
    }
}

/// A line that means something.
#[derive(Clone, Debug)]
struct Line {
    /// What it fits, from the directory of the file.
    glob: Glob,
    /// `!`: what fits is not ignored after all.
    takes_back: bool,
    /// Whether only directories fit.
    directories: bool,
}

/// The lines of a file, or what is wrong with one. Git passes over a line that is no pattern; to export
/// what it meant to hide is worse.
fn lines(text: &[u8]) -> Result<Vec<Line>, String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut lines = Vec::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = trimmed(line.strip_suffix(b"\r").unwrap_or(line));
        match parse(line) {
            Ok(found) => lines.extend(found),
            Err(problem) => {
                let shown = String::from_utf8_lossy(line);
                return Err(format!("cannot be used: line {}: {shown}: {problem}", index + 1));
            }
        }
    }
    Ok(lines)
}

/// A line without the spaces at its end, but for one after a backslash.
fn trimmed(line: &[u8]) -> &[u8] {
    let mut end = 0;
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        at += if byte == b'\\' { 2 } else { 1 };
        if byte != b' ' {
            end = at.min(line.len());
        }
    }
    &line[..end]
}

fn parse(line: &[u8]) -> Result<Option<Line>, String> {
    if line.starts_with(b"#") {
        return Ok(None);
    }
    let (takes_back, line) = strip(line, |line| line.strip_prefix(b"!"));
    let (directories, line) = strip(line, |line| line.strip_suffix(b"/"));
    let (rooted, line) = strip(line, |line| line.strip_prefix(b"/"));
    let names = || line.split(|&byte| byte == b'/');
    if names().any(|name| name.is_empty() || name == b"." || name == b"..") {
        // No path that Git looks at has such a name.
        return Ok(None);
    }
    if line.contains(&b'[') && (line.contains(&b'\\') || line.windows(2).any(|two| two == b"[:")) {
        return Err("has more in its brackets than is understood here; list the characters".into());
    }
    let glob = Glob::parse(line).map_err(|bad| bad.to_string())?;
    let anchored = rooted || line.contains(&b'/');
    let glob = match glob.parts() {
        // What is below a directory is not the directory.
        [.., Part::Depth] if anchored => glob.then(Part::Pattern(vec![Token::Many])),
        _ if anchored => glob,
        _ => glob.anywhere(),
    };
    Ok(Some(Line { glob, takes_back, directories }))
}

/// Takes a mark off a line, and says whether it was there.
fn strip<'a>(line: &'a [u8], off: impl Fn(&'a [u8]) -> Option<&'a [u8]>) -> (bool, &'a [u8]) {
    off(line).map_or((false, line), |rest| (true, rest))
}

#[cfg(test)]
#[path = "ignored_tests.rs"]
mod tests;
