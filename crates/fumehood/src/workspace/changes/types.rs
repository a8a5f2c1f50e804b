//! The diff as it is reported.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::path;

/// What a program changed in one copy-on-write mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Diff {
    /// The directory on the host.
    #[serde(with = "path")]
    #[schemars(with = "path::Shown")]
    pub source: PathBuf,
    /// Where the program saw it.
    #[serde(with = "path")]
    #[schemars(with = "path::Shown")]
    pub target: PathBuf,
    /// The changes, directories before what is in them, by the bytes of their names.
    pub changes: Vec<Change>,
    /// Whether these are all. There is a bound on how many are looked at, and on how deep.
    pub complete: bool,
}

/// One changed name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Change {
    /// Path below the directory; `.` is the directory itself.
    #[serde(with = "path")]
    #[schemars(with = "path::Shown")]
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
    /// What it is on the host, unless it was added.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<FileKind>,
    /// Its permission bits on the host, as a number in octal digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode_before: Option<String>,
    /// What the program left, unless it was deleted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<FileKind>,
    /// The permission bits that the program left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode_after: Option<String>,
    /// Bytes of a regular file that the program left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<u64>,
    /// What a symbolic link that the program left says.
    #[serde(with = "path::optional", skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<path::Shown>")]
    pub link: Option<PathBuf>,
    /// Whether the host's own was changed since the cell was built, so that this is not applied.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub conflict: bool,
}

/// What happened to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content is another: bytes of a file, or where a link leads. Its mode may be another too.
    Modified,
    /// It is gone; a directory with everything below it.
    Deleted,
    /// It is something else now, such as a link in place of a file.
    Type,
    /// Only its permission bits are others.
    Mode,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device.
    Device,
}

/// What applying the changes did to one directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Applied {
    /// The directory on the host.
    #[serde(with = "path")]
    #[schemars(with = "path::Shown")]
    pub source: PathBuf,
    /// Where the program saw it.
    #[serde(with = "path")]
    #[schemars(with = "path::Shown")]
    pub target: PathBuf,
    /// How many changes were made.
    pub applied: u64,
    /// What was left as it is on the host, or left out.
    pub refused: Vec<NotApplied>,
}

/// A change that was not made, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct NotApplied {
    /// Path below the directory.
    #[serde(with = "path")]
    #[schemars(with = "path::Shown")]
    pub path: PathBuf,
    /// Why, in a sentence without a full stop.
    pub reason: String,
}
