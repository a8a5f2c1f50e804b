//! The report in a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fumehood::{Error, Result};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::error::internal;

/// Where a report is going to be written.
#[derive(Debug)]
pub(crate) struct ReportFile {
    path: PathBuf,
    /// Whether it is written to rather than replaced: a device, a pipe, or a file in a directory
    /// where no other can be made.
    in_place: bool,
}

/// Symbolic links that are followed, as many as the kernel follows.
const LINKS: u8 = 40;

/// What a path leads to, which need not be there yet: a rename would replace a symbolic link itself.
fn followed(path: &Path, links: u8) -> io::Result<PathBuf> {
    if let Ok(found) = fs::canonicalize(path) {
        return Ok(found);
    }
    // What is there and has no path, as a pipe, is only to be reached by the link.
    match fs::read_link(path).ok().filter(|_| fs::metadata(path).is_err()) {
        Some(target) if links > 0 => {
            followed(&path.parent().unwrap_or(Path::new("")).join(target), links - 1)
        }
        Some(_) => Err(rustix::io::Errno::LOOP.into()),
        None => std::path::absolute(path),
    }
}

impl ReportFile {
    /// Finds out before the run whether a report can be written to `path`, by trying.
    ///
    /// # Errors
    /// The path is a directory, or neither it nor its directory can be written.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            let problem = "standard output has the program's; write --json for the report with it, \
                           /dev/stderr, or ./- for a file of that name";
            return Err(Error::invalid("--report", "-", problem));
        }
        Self::try_at(path).map_err(|error| {
            Error::invalid("--report", path.display(), format!("cannot be written: {error}"))
        })
    }

    fn try_at(path: &Path) -> io::Result<Self> {
        let path = followed(path, LINKS)?;
        let found = fs::metadata(&path).ok();
        if found.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut file =
            Self { in_place: found.as_ref().is_some_and(|found| !found.is_file()), path };
        if !file.in_place
            && let Err(error) = file.try_beside()
        {
            file.in_place = found.ok_or(error).map(|_| true)?;
        }
        if file.in_place {
            accessat(CWD, &file.path, Access::WRITE_OK, AtFlags::EACCESS)?;
        }
        Ok(file)
    }

    /// Makes a file in the directory of the report and takes it away at once: one that stayed for
    /// as long as the program runs could be left behind.
    fn try_beside(&self) -> io::Result<()> {
        let fresh = self.fresh();
        fs::File::create_new(&fresh)?;
        fs::remove_file(&fresh)
    }

    fn fresh(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!(".{name}.{}", std::process::id()))
    }

    /// Whether writing may wait for somebody who reads: there might be nobody.
    pub(crate) const fn may_wait(&self) -> bool {
        self.in_place
    }

    /// Writes the report, so that whoever looks sees the whole of it or nothing.
    ///
    /// # Errors
    /// The file system refuses.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        let written = if self.in_place { fs::write(&self.path, text) } else { self.replace(text) };
        written.map_err(internal(format!("write the report to {}", self.path.display())))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let fresh = self.fresh();
        fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &self.path)).inspect_err(|_| {
            let _ = fs::remove_file(&fresh);
        })
    }
}
