//! Files that were found, within the caps of a job.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

use super::sink::{NotPut, Sink};
use super::{Collected, outward};
use crate::job::files::Collect;
use crate::report::{Artifact, SkippedFor};

/// How many paths are listed as skipped: a program can make as many as it likes.
pub(super) const LISTED: usize = 1000;

pub(super) struct Deliver<'a> {
    collect: &'a Collect,
    cwd: &'a Path,
    sink: Sink,
    found: BTreeSet<usize>,
    total: u64,
    done: Collected,
    unlisted: usize,
}

impl<'a> Deliver<'a> {
    pub(super) fn new(collect: &'a Collect, cwd: &'a Path, sink: Sink) -> Self {
        Self {
            collect,
            cwd,
            sink,
            found: BTreeSet::new(),
            total: 0,
            done: Collected::default(),
            unlisted: 0,
        }
    }

    /// Something is there for this glob.
    pub(super) fn found(&mut self, glob: usize) {
        self.found.insert(glob);
    }

    pub(super) fn skip(&mut self, path: &[u8], reason: SkippedFor, detail: impl Into<String>) {
        let path = outward(path.strip_prefix(b"/").unwrap_or(path), self.cwd);
        self.skip_outward(path, reason, detail);
    }

    fn skip_outward(&mut self, path: PathBuf, reason: SkippedFor, detail: impl Into<String>) {
        if self.done.skipped.len() < LISTED {
            self.done.skip(path, reason, detail);
        } else {
            self.unlisted += 1;
        }
    }

    pub(super) fn file(&mut self, path: &[u8], file: OwnedFd, stat: &Stat) {
        let path = outward(path.strip_prefix(b"/").unwrap_or(path), self.cwd);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let Collect { files, file_size, size: most, .. } = self.collect;
        let (reason, detail) = if self.done.artifacts.len() as u64 >= *files {
            (SkippedFor::Count, format!("collect.files is {files}"))
        } else if size > file_size.0 {
            // What reading gives counts, not what is stored: that may be nothing but a hole.
            (SkippedFor::FileSize, format!("has {size} bytes; collect.file_size is {file_size}"))
        } else if self.total.saturating_add(size) > most.0 {
            (SkippedFor::TotalSize, format!("has {size} bytes; collect.size is {most} in all"))
        } else {
            return self.put(path, file, size, stat);
        };
        self.skip_outward(path, reason, detail);
    }

    fn put(&mut self, path: PathBuf, file: OwnedFd, size: u64, stat: &Stat) {
        let mode = stat.st_mode & 0o777;
        match self.sink.put(&path, File::from(file), size, mode, stat.st_mtime) {
            Ok(data) => {
                self.total += size;
                self.done.artifacts.push(Artifact::new(path, size, mode, data));
            }
            Err(NotPut { reason, detail }) => self.skip_outward(path, reason, detail),
        }
    }

    /// Ends the collection; `paths` are those that the globs were made from.
    pub(super) fn finish(mut self, paths: &[String]) -> Collected {
        for (index, path) in paths.iter().enumerate() {
            if !self.found.contains(&index) {
                let detail = "nothing is there, or nothing fits";
                self.skip_outward(path.into(), SkippedFor::Missing, detail);
            }
        }
        if self.unlisted > 0 {
            let detail = format!("{} more were skipped and are not listed", self.unlisted);
            self.done.skip(PathBuf::from("/"), SkippedFor::TooMany, detail);
        }
        if let Err(error) = self.sink.finish() {
            let lost = std::mem::take(&mut self.done.artifacts);
            let detail = error.to_string();
            for artifact in lost {
                self.done.skip(artifact.path, SkippedFor::Unwritable, detail.clone());
            }
        }
        self.done
    }
}
