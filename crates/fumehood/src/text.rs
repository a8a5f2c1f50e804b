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
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST.0 + 1).read_to_end(&mut bytes)?;
    // Before it is read as text: what is cut off may be a part of a character.
    if bytes.len() as u64 > MOST.0 {
        return Err(io::Error::other(format!("it is too large; at most {MOST}")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_so_wherever_it_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            of_file(&path).map_err(|error| error.to_string())
        };
        let most = usize::try_from(MOST.0).unwrap();
        assert_eq!(read(&vec![b' '; most]).map(|text| text.len()), Ok(most));
        let large = Err("it is too large; at most 1MiB".to_owned());
        assert_eq!(read("ä".repeat(most).as_bytes()), large);
        assert_eq!(read(b"\xff"), Err("it is not UTF-8".to_owned()));
    }
}
