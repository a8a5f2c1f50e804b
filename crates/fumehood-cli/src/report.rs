//! The report in a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fumehood::{Error, ErrorKind, Result};
use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Where a report is going to be written.
#[derive(Debug)]
pub(crate) struct ReportFile {
    path: PathBuf,
    /// A device or pipe, which is written to rather than replaced.
    special: bool,
}

impl ReportFile {
    /// Judges before the run whether a report can be written to `path`.
    ///
    /// # Errors
    /// The path is a directory, or its directory is missing or not writable.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        let refused = |error: io::Error| {
            Error::invalid("--report", path.display(), format!("cannot be written: {error}"))
        };
        let path =
            fs::canonicalize(path).or_else(|_| std::path::absolute(path)).map_err(refused)?;
        let file = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(refused(io::ErrorKind::IsADirectory.into()));
            }
            Ok(metadata) => Self { special: !metadata.is_file(), path },
            Err(_) => Self { special: false, path },
        };
        let written = if file.special { &file.path } else { file.parent() };
        accessat(CWD, written, Access::WRITE_OK, AtFlags::EACCESS)
            .map_err(|errno| refused(errno.into()))?;
        Ok(file)
    }

    fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Writes the report, so that whoever looks sees the whole of it or nothing.
    ///
    /// # Errors
    /// The file system refuses.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        let written =
            if self.special { fs::write(&self.path, text) } else { self.replace(text.as_bytes()) };
        written.map_err(|source| {
            let doing = format!("write the report to {}", self.path.display());
            ErrorKind::Internal { doing, source }.into()
        })
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let fresh = self.parent().join(format!(".{name}.{}", std::process::id()));
        fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &self.path)).inspect_err(|_| {
            let _ = fs::remove_file(&fresh);
        })
    }
}
