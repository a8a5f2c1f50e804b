//! Files on their way out of a cell, when nothing runs in it any more.
//!
//! Every name in there was chosen by the program, and so was what stands behind it. So nothing is
//! looked up but from the root of the cell downwards, one name at a time, without following a link
//! (`openat2(2)`), and what was opened is judged after it was opened. The walk is on the calling
//! side: no namespace is entered, and it works for root and an ordinary user alike.

mod deliver;
#[cfg_attr(not(feature = "engine"), expect(dead_code, reason = "no sandbox passes files on"))]
mod pass_on;
mod rights;
mod sink;
mod tar;
#[cfg(test)]
mod tests;
mod walk;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::job::files::Collect;
use crate::report::{Artifact, Skipped, SkippedFor};
use crate::workspace::glob::Glob;
use crate::{Error, Result};
use deliver::Deliver;
pub(crate) use pass_on::deliver;
#[cfg(feature = "engine")]
pub(crate) use pass_on::pass_on;
pub(crate) use rights::Rights;
pub(crate) use sink::Sink;

/// What came of a collection.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) skipped: Vec<Skipped>,
}

impl Collected {
    /// Nothing could be looked at.
    pub(crate) fn gone(collect: &Collect) -> Self {
        let skip = |path: &String| {
            let detail = "the cell was destroyed before its files could be looked at";
            Skipped::new(path.into(), SkippedFor::Gone, detail)
        };
        Self { artifacts: Vec::new(), skipped: collect.paths.iter().map(skip).collect() }
    }

    pub(crate) fn skip(&mut self, path: PathBuf, reason: SkippedFor, detail: impl Into<String>) {
        self.skipped.push(Skipped::new(path, reason, detail));
    }
}

/// Brings files back from below the root of a cell, read with these rights, for as long as somebody
/// waits for them.
pub(crate) fn collect(
    root: &OwnedFd,
    collect: &Collect,
    cwd: &Path,
    sink: Sink,
    rights: Rights,
    is_awaited: &dyn Fn() -> bool,
) -> Collected {
    let globs = collect.paths.iter().map(|path| absolute(path, cwd)).collect();
    let mut deliver = Deliver::new(collect, cwd, sink);
    let looked = rights.assume().and_then(|()| {
        walk::walk(root, globs, &mut deliver, rights, is_awaited)?;
        rights.lay_down()
    });
    if let Err(error) = looked {
        let detail = format!("the rights of the program could not be assumed: {error}");
        deliver.skip(b"", SkippedFor::Unreadable, detail);
    }
    if is_awaited() { deliver.finish(&collect.paths) } else { Collected::default() }
}

/// A path of the job as a glob from the root.
fn absolute(path: &str, cwd: &Path) -> Option<Glob> {
    let glob = Glob::parse(path.as_bytes()).ok()?;
    if path.starts_with('/') {
        return Some(glob);
    }
    let names = cwd.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.as_bytes().to_vec()),
        _ => None,
    });
    Some(glob.below(names))
}

/// What a path is called outside: relative if it is below the working directory, else absolute.
fn outward(path: &[u8], cwd: &Path) -> PathBuf {
    let path = Path::new("/").join(OsString::from_vec(path.to_vec()));
    path.strip_prefix(cwd).map(Path::to_path_buf).unwrap_or(path)
}

/// An error about where artifacts go.
fn refused(field: &str, path: &Path, problem: impl Into<String>) -> Error {
    Error::invalid(field, path.display(), problem)
}

/// Opens where artifacts go, before anything runs.
///
/// # Errors
/// It cannot be written, or is a directory with something in it.
pub(crate) fn open(collect: &Collect) -> Result<Option<Sink>> {
    if collect.paths.is_empty() { Ok(None) } else { Sink::open(&collect.to).map(Some) }
}
