//! Paths in JSON: a string if they are UTF-8, else `{"base64": …}`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A path as it is written.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Shown {
    /// A path that is UTF-8.
    Text(String),
    /// Any other.
    Bytes {
        /// Its bytes, in base64 with padding.
        base64: String,
    },
}

pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = path.as_os_str().as_bytes();
    let written = match std::str::from_utf8(bytes) {
        Ok(text) => Shown::Text(text.to_owned()),
        Err(_) => Shown::Bytes { base64: BASE64_STANDARD.encode(bytes) },
    };
    written.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Shown::deserialize(deserializer)?.path()
}

impl Shown {
    fn path<E: de::Error>(self) -> Result<PathBuf, E> {
        match self {
            Self::Text(text) => Ok(text.into()),
            Self::Bytes { base64 } => {
                let bytes = BASE64_STANDARD.decode(base64).map_err(E::custom)?;
                Ok(OsString::from_vec(bytes).into())
            }
        }
    }
}

/// The same for a path that may be missing.
pub(crate) mod optional {
    use super::{Deserialize, Deserializer, PathBuf, Serializer};

    #[expect(clippy::ref_option, reason = "serde's `with` passes the field by reference")]
    pub(crate) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => super::serialize(path.as_path(), serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let shown = Option::<super::Shown>::deserialize(deserializer)?;
        shown.map(super::Shown::path::<D::Error>).transpose()
    }
}
