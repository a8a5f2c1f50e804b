//! Schemas of what goes in and comes out, as they are committed. Tests hold that they are what the types
//! make; a binary that made them again each time would be a twentieth larger.

use std::io::Read;

use flate2::read::GzDecoder;
use fumehood::Result;

use crate::error::internal;

/// A schema, compressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema(&'static [u8]);

macro_rules! committed {
    ($name:literal) => {
        Schema(include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".json.gz")))
    };
}

/// Of jobs.
pub(crate) static JOB: Schema = committed!("job");
/// Of reports.
pub(crate) static REPORT: Schema = committed!("report");
/// Of the service: OpenAPI 3.1.
#[cfg(feature = "serve")]
pub(crate) static OPENAPI: Schema = committed!("openapi");

impl Schema {
    /// The schema as JSON.
    ///
    /// # Errors
    /// If the binary is damaged.
    pub(crate) fn text(self) -> Result<String> {
        let mut text = String::new();
        match GzDecoder::new(self.0).read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(internal("unpack a schema")(error)),
        }
    }
}
