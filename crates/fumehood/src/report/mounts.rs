//! What is said about mounts.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something about a mount that the job's author may not expect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct MountNote {
    /// The target that the job names.
    #[serde(with = "super::path")]
    #[schemars(with = "super::path::Shown")]
    pub target: PathBuf,
    /// What it is about.
    pub kind: MountNoteKind,
    /// A sentence without a full stop.
    pub text: String,
}

/// What a note about a mount is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MountNoteKind {
    /// It is optional and its source does not exist.
    Skipped,
    /// Its target is a symbolic link of another mount; it is mounted where that leads.
    BehindLink,
    /// File modes keep the program from reading it, or from writing where it may write.
    Closed,
    /// Not all of its source is visible.
    Partial,
    /// The program did not get the rights of the owner: the file system cannot do that.
    NotAsOwner,
}

impl MountNote {
    pub(crate) fn new(target: &Path, kind: MountNoteKind, text: String) -> Self {
        Self { target: target.into(), kind, text }
    }
}
