//! A file that is read as what it was listed as, or not at all.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FileType, Stat, fstat};

use super::{ExportedFile, refused, unreadable};
use crate::workspace::beneath::Tree;
use crate::{Error, Result};

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    /// Seconds and nanoseconds. The time of the last change of the inode cannot be set back; before
    /// Linux 6.13 it only advances with the clock's tick, every 1 to 10 ms.
    changed: (i64, u64),
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        #[expect(clippy::useless_conversion, reason = "the types differ between architectures")]
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            changed: (stat.st_ctime.into(), stat.st_ctime_nsec.into()),
        }
    }
}

/// An open file of an export.
#[derive(Debug)]
pub(super) struct Source<'a> {
    listed: &'a ExportedFile,
    file: File,
    left: u64,
}

impl<'a> Source<'a> {
    pub(super) fn open(tree: &Tree, listed: &'a ExportedFile) -> Result<Self> {
        let path = Path::new(&listed.path);
        let file = File::from(tree.file(path).map_err(|error| unreadable(path, &error))?);
        let source = Self { listed, file, left: listed.size };
        source.is_as_listed()?;
        Ok(source)
    }

    /// Ends the reading: the file must be what it was, or nobody knows what was read.
    pub(super) fn finish(mut self) -> Result<()> {
        let path = Path::new(&self.listed.path);
        let more = self.file.read(&mut [0]).map_err(|error| unreadable(path, &error))?;
        if more != 0 || self.left != 0 {
            return Err(changed(self.listed));
        }
        self.is_as_listed()
    }

    fn is_as_listed(&self) -> Result<()> {
        let stat =
            fstat(&self.file).map_err(|e| unreadable(Path::new(&self.listed.path), &e.into()))?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !regular || Identity::of(&stat) != self.listed.identity {
            return Err(changed(self.listed));
        }
        Ok(())
    }
}

impl Read for Source<'_> {
    /// No more than was listed, however long the file has become; and that it became shorter is
    /// no end but an error.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read(buffer.get_mut(..most).unwrap_or_default())?;
        if read == 0 && most != 0 {
            return Err(io::Error::other(Changed));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// The cause inside an [`io::Error`] when a file became shorter.
#[derive(Debug, thiserror::Error)]
#[error("the file became shorter")]
struct Changed;

/// What an error while this file was copied means.
pub(super) fn copying(listed: &ExportedFile, error: io::Error) -> Error {
    let cause = error.get_ref();
    if cause.and_then(|cause| cause.downcast_ref::<Changed>()).is_some() {
        return changed(listed);
    }
    Error::internal(format!("write {} to the archive", listed.path), error)
}

fn changed(listed: &ExportedFile) -> Error {
    refused(&listed.path, "changed since it was listed; export again when nothing writes to it")
}
