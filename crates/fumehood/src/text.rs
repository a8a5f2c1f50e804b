//! Files that somebody writes by hand and names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::ByteSize;

/// More than anybody writes: `/dev/zero` has no end.
const MOST: ByteSize = ByteSize::mib(1);

/// What such a file holds.
///
/// # Errors
/// Those of reading; that it is no text, or larger than 1 MiB.
pub(crate) fn of_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MOST.0 + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST.0 {
        return Err(io::Error::other(format!("it is too large; at most {MOST}")));
    }
    Ok(text)
}
