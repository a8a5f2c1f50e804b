//! Files that a run left, and those that it should have.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A file that was brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Artifact {
    /// Its path inside: relative if it lies below the working directory, else absolute. Text if it
    /// is UTF-8, else the bytes in base64. The program chose it: it may hold line breaks.
    #[serde(with = "path")]
    #[schemars(with = "path::Name")]
    pub path: PathBuf,
    /// Its size in bytes, holes included.
    pub size: u64,
    /// Its permission bits, in octal.
    #[serde(with = "octal")]
    #[schemars(with = "String")]
    pub mode: u32,
    /// Its content, if it was brought back in the report.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "content")]
    #[schemars(with = "Option<super::bytes::Bytes>")]
    pub data: Option<Vec<u8>>,
}

/// A path that was asked for and not brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Skipped {
    /// The path, or what was asked for where it led to nothing.
    #[serde(with = "path")]
    #[schemars(with = "path::Name")]
    pub path: PathBuf,
    /// Why.
    pub reason: SkippedFor,
    /// The same for people, with figures.
    pub detail: String,
}

/// Why a path was not brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SkippedFor {
    /// Nothing is there, or nothing matches.
    Missing,
    /// It is, or leads through, a symbolic link. Links are never followed.
    Symlink,
    /// It is a named pipe.
    Fifo,
    /// It is a socket.
    Socket,
    /// It is a device.
    Device,
    /// It lies in a file system of the kernel, such as `/proc`.
    KernelFiles,
    /// It is larger than any one file may be.
    FileSize,
    /// With it, all files together would be larger than they may be.
    TotalSize,
    /// There were as many files already as there may be.
    Count,
    /// It lies too deep, or too many names were looked at before it.
    TooMany,
    /// The program has no right to read it: files are read with its rights.
    Denied,
    /// Another artifact has its name.
    Name,
    /// It could not be read, or became shorter while it was.
    Unreadable,
    /// It could not be written where it goes.
    Unwritable,
    /// The cell was destroyed before its files could be looked at.
    Gone,
}

/// Paths in JSON.
mod path {
    use super::*;

    /// Text if it is UTF-8, else bytes.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(untagged)]
    pub(super) enum Name {
        /// A path that is UTF-8.
        Text(String),
        /// Any other path.
        Bytes {
            /// Its bytes in base64 with padding.
            base64: String,
        },
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => {
                let base64 = BASE64_STANDARD.encode(path.as_os_str().as_bytes());
                Name::Bytes { base64 }.serialize(serializer)
            }
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        match Name::deserialize(from)? {
            Name::Text(text) => Ok(text.into()),
            Name::Bytes { base64 } => {
                let bytes = BASE64_STANDARD.decode(base64).map_err(de::Error::custom)?;
                Ok(OsString::from_vec(bytes).into())
            }
        }
    }
}

mod octal {
    use super::*;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(super) fn serialize<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{mode:03o}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        u32::from_str_radix(&String::deserialize(from)?, 8).map_err(de::Error::custom)
    }
}

mod content {
    use super::*;
    use crate::report::bytes;

    pub(super) fn serialize<S: Serializer>(
        data: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match data {
            Some(data) => bytes::serialize(data, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        bytes::deserialize(from).map(Some)
    }
}

impl Artifact {
    pub(crate) const fn new(path: PathBuf, size: u64, mode: u32, data: Option<Vec<u8>>) -> Self {
        Self { path, size, mode, data }
    }
}

impl Skipped {
    pub(crate) fn new(path: PathBuf, reason: SkippedFor, detail: impl Into<String>) -> Self {
        Self { path, reason, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_written_as_they_can_be_and_read_back() {
        let odd = PathBuf::from(OsString::from_vec(b"a\n\xff".to_vec()));
        for (path, written) in
            [(PathBuf::from("a\nb"), json!("a\nb")), (odd, json!({ "base64": "YQr/" }))]
        {
            let artifact = Artifact::new(path, 3, 0o644, Some(b"x\0".to_vec()));
            let json = serde_json::to_value(&artifact).unwrap();
            assert_eq!(json["path"], written);
            assert_eq!(json["mode"], "644");
            assert_eq!(json["data"], json!({ "text": "x\0" }));
            assert_eq!(serde_json::from_value::<Artifact>(json).unwrap(), artifact);
        }
        let without = Artifact::new("a".into(), 0, 0o755, None);
        let json = serde_json::to_value(&without).unwrap();
        assert!(json.get("data").is_none());
        assert_eq!(serde_json::from_value::<Artifact>(json).unwrap(), without);
    }
}
