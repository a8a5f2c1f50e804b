//! Sizes and times as people write them: with a unit, always.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, written with a binary unit: `512KiB`, `256MiB`, `256M`, `1G`, `100B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Why a size or a time could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {wanted}")]
pub struct ParseUnitError {
    value: String,
    wanted: &'static str,
}

impl FromStr for ByteSize {
    type Err = ParseUnitError;

    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        todo!()
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B", self.0)
    }
}

/// Reads a time such as `250ms`, `1.5s`, `2m` or `1h`.
pub fn parse_duration(_text: &str) -> Result<Duration, ParseUnitError> {
    todo!()
}
