//! Bytes in JSON: `{"text": …}` if they are UTF-8, else `{"base64": …}`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes as they are written.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Bytes {
    /// Bytes that are UTF-8.
    Text(String),
    /// Any other bytes, in base64 with padding.
    Base64(String),
}

pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let written = match std::str::from_utf8(bytes) {
        Ok(text) => Bytes::Text(text.to_owned()),
        Err(_) => Bytes::Base64(BASE64_STANDARD.encode(bytes)),
    };
    written.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    match Bytes::deserialize(deserializer)? {
        Bytes::Text(text) => Ok(text.into_bytes()),
        Bytes::Base64(text) => BASE64_STANDARD.decode(text).map_err(de::Error::custom),
    }
}
