//! Project files as an archive: by rules that are shown, within limits, and with the same bytes for
//! the same files.
//!
//! ```no_run
//! use std::path::Path;
//! use fumehood::export::{Export, ExportOptions, Format};
//!
//! let export = Export::collect(Path::new("."), &ExportOptions::default())?;
//! for skipped in export.skipped() {
//!     eprintln!("skipped: {}, {}", skipped.path, skipped.rule);
//! }
//! export.write(Format::Zip, &mut std::fs::File::create("/tmp/project.zip")?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What an archive is
//!
//! Regular files only, sorted by name, with modes 644 or 755 (by the owner's right to execute), the
//! time 1980-01-01 00:00 UTC, and no owner. So two exports of the same files by the same version
//! are the same bytes, wherever and whenever they were made.
//!
//! # What cannot happen
//!
//! The directory is opened once, and everything below is opened relative to it, with `openat2(2)`
//! and without following any link. A file is looked at after it was opened (`fstat`), and read from
//! that descriptor alone. If it is not what was listed, or changes while it is read, the export
//! fails and names it.

mod archive;
mod ignored;
mod rules;
mod source;
mod walk;
mod zip;

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::beneath::Tree;
use crate::{ByteSize, Error, ErrorKind, Result};
pub use rules::Rule;

/// What is exported, and how much of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportOptions {
    /// How much an export may hold.
    pub limits: ExportLimits,
    /// Whether `.gitignore` files below the directory are honoured.
    pub gitignore: bool,
    /// What becomes of files whose names say that they hold a secret.
    pub secrets: Secrets,
    /// Paths below the directory that are kept although a rule names them. One that no rule names
    /// is an error.
    pub keep: BTreeSet<String>,
    /// A file that is left out wherever it is: the archive that is being written.
    pub archive: Option<PathBuf>,
}

/// How much an export may hold; the first limit that is exceeded ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExportLimits {
    /// Number of files.
    pub files: u64,
    /// Size of a file.
    pub file_size: ByteSize,
    /// Size of all files together.
    pub total: ByteSize,
    /// Number of names that are looked at, kept or not.
    pub names: u64,
    /// How many directories a file may be in.
    pub depth: usize,
}

impl Default for ExportLimits {
    fn default() -> Self {
        Self {
            files: 10_000,
            file_size: ByteSize::mib(16),
            total: ByteSize::mib(256),
            names: 1_000_000,
            depth: 64,
        }
    }
}

/// What becomes of files whose names say that they hold a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Secrets {
    /// They are left out, and listed as skipped.
    #[default]
    Skip,
    /// Nothing is exported.
    Refuse,
    /// They are exported like any other.
    Include,
}

/// The form of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Format {
    /// Deflated, without the 64-bit extensions: up to 65,535 files and 4 GiB.
    Zip,
    /// In the format of GNU tar, which has names of any length.
    Tar,
    /// The same, through gzip.
    #[serde(rename = "tar.gz")]
    TarGz,
}

impl Format {
    /// The format that a name ends with: `.zip`, `.tar`, `.tar.gz` or `.tgz`.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_lowercase();
        let known = [
            (".zip", Self::Zip),
            (".tar", Self::Tar),
            (".tar.gz", Self::TarGz),
            (".tgz", Self::TarGz),
        ];
        known.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, format)| format)
    }
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExportedFile {
    /// Path below the directory, with slashes.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Whether its owner may execute it.
    pub executable: bool,
    #[serde(skip)]
    identity: source::Identity,
}

/// Something that was left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// Path below the directory, with slashes, and one at the end of a directory, of which nothing
    /// was looked at. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// The rule that it fell under.
    pub rule: Rule,
}

/// Files that were found, to be written to an archive.
#[derive(Debug)]
pub struct Export {
    tree: Tree,
    files: Vec<ExportedFile>,
    skipped: Vec<Skipped>,
}

impl Export {
    /// Finds the files of a directory that are to be exported. Nothing is read yet but
    /// `.gitignore` files.
    ///
    /// # Errors
    /// [`ErrorKind::Export`] if the directory cannot be read, a limit is exceeded, a secret was
    /// found that is to be refused, or something was to be kept that no rule names.
    pub fn collect(directory: &Path, options: &ExportOptions) -> Result<Self> {
        let tree = Tree::open(directory).map_err(|error| unreadable(directory, &error))?;
        let walk::Found { mut files, mut skipped } = walk::walk(&tree, options)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        skipped.sort();
        Ok(Self { tree, files, skipped })
    }

    /// The files, sorted by path.
    #[must_use]
    pub fn files(&self) -> &[ExportedFile] {
        &self.files
    }

    /// What was left out, sorted by path.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The sum of all sizes, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Reads the files and writes the archive. After an error, what was written is of no use.
    ///
    /// # Errors
    /// [`ErrorKind::Export`] if a file is no longer what was listed, or changes while it is read;
    /// [`ErrorKind::Internal`] if the archive cannot be written.
    pub fn write(&self, format: Format, to: &mut dyn Write) -> Result<()> {
        archive::write(&self.tree, &self.files, format, to)
    }
}

fn refused(path: impl fmt::Display, problem: impl Into<String>) -> Error {
    ErrorKind::Export { path: path.to_string(), problem: problem.into() }.into()
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    refused(path.display(), format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
