//! What `.gitignore` files name.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::{refused, unreadable};
use crate::Result;

/// A longer one is refused: it is read into memory.
const LONGEST: u64 = 1 << 20;

/// The `.gitignore` files of a directory and of those above it, up to the exported one.
#[derive(Clone, Debug, Default)]
pub(super) struct Ignored(Vec<Gitignore>);

impl Ignored {
    /// Adds the one of a directory, which has been opened.
    pub(super) fn and(&self, directory: &Path, file: OwnedFd) -> Result<Self> {
        let name = directory.join(".gitignore");
        let mut text = String::new();
        let mut file = File::from(file).take(LONGEST + 1);
        file.read_to_string(&mut text).map_err(|error| unreadable(&name, &error))?;
        if text.len() as u64 > LONGEST {
            return Err(refused(name.display(), format!("has more than {LONGEST} bytes")));
        }
        let mut builder = GitignoreBuilder::new(directory);
        for line in text.lines() {
            // Git passes over a line that is no pattern; to export what it meant to hide is worse.
            builder
                .add_line(Some(name.clone()), line)
                .map_err(|error| refused(name.display(), format!("cannot be used: {error}")))?;
        }
        let one = builder.build().map_err(|error| refused(name.display(), error.to_string()))?;
        let mut all = self.clone();
        all.0.push(one);
        Ok(all)
    }

    /// Whether the file or directory at this path is ignored: the nearest file that has a word on
    /// it decides.
    pub(super) fn names(&self, path: &Path, directory: bool) -> bool {
        let verdicts = self.0.iter().rev().map(|one| one.matched(path, directory));
        let mut said = verdicts.filter(|verdict| !verdict.is_none());
        matches!(said.next(), Some(Match::Ignore(_)))
    }
}
