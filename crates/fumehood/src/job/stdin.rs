//! Where standard input comes from, and how that is written.

use std::borrow::Cow;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// Where standard input comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stdin {
    /// `/dev/null`; written `"none"`.
    #[default]
    None,
    /// These bytes, then end of file; written `{"text": …}`, or `{"base64": …}` unless UTF-8.
    Bytes(Vec<u8>),
    /// The content of a host file; written `{"file": …}`.
    File(PathBuf),
    /// The caller's own standard input; written `"inherit"`.
    Inherit,
}

impl<T: Into<Vec<u8>>> From<T> for Stdin {
    fn from(bytes: T) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl Serialize for Stdin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Inherit => serializer.serialize_str("inherit"),
            Self::File(path) => field(serializer, "file", path),
            Self::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => field(serializer, "text", text),
                Err(_) => field(serializer, "base64", &BASE64_STANDARD.encode(bytes)),
            },
        }
    }
}

/// An object with this one field.
fn field<S: Serializer, T: Serialize + ?Sized>(
    serializer: S,
    name: &str,
    value: &T,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map([(name, value)])
}

impl JsonSchema for Stdin {
    fn schema_name() -> Cow<'static, str> {
        "Stdin".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let only = |name: &str, description: &str| {
            json_schema!({
                "type": "object",
                "description": description,
                "properties": { name: { "type": "string" } },
                "required": [name],
                "additionalProperties": false,
            })
        };
        json_schema!({
            "description": "Where standard input comes from.",
            "oneOf": [
                { "const": "none", "description": "`/dev/null`." },
                { "const": "inherit", "description": "The caller's own standard input." },
                only("text", "This text, then end of file."),
                only("base64", "These bytes in base64 with padding, then end of file."),
                only("file", "The content of a host file."),
            ],
        })
    }
}
