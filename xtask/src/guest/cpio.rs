//! Writes an archive that the kernel unpacks as its first root file system: the `newc` format of
//! cpio(5), uncompressed.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(crate) struct Archive<W> {
    out: W,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    pub(crate) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY, &[])
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, FILE | mode, content)
    }

    /// Copies a file, or a directory with all that is in it; symbolic links are followed.
    pub(crate) fn copy(&mut self, source: &Path, path: &str) -> io::Result<()> {
        let metadata = fs::metadata(source)?;
        if !metadata.is_dir() {
            let mode = metadata.permissions().mode() & 0o777;
            return self.file(path, mode, &fs::read(source)?);
        }
        self.directory(path)?;
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            let name = entry.file_name();
            self.copy(&entry.path(), &format!("{path}/{}", name.to_string_lossy()))?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()
    }

    /// A header of thirteen hexadecimal fields, the name with its end, the content; the latter two
    /// padded to four bytes.
    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name = path.trim_start_matches('/');
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.out.write_all(b"070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(b"\0")?;
        self.pad(110 + name.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    fn pad(&mut self, length: usize) -> io::Result<()> {
        let missing = length.next_multiple_of(4) - length;
        self.out.write_all(&[0; 3][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn entries_are_aligned() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.directory("/bin").unwrap();
        archive.file("bin/a", 0o755, b"hello").unwrap();
        archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let starts: Vec<_> =
            bytes.windows(6).enumerate().filter(|(_, part)| *part == b"070701").collect();
        assert_eq!(starts.len(), 3);
        assert!(starts.iter().all(|(start, _)| start % 4 == 0));
        assert!(bytes.starts_with(b"07070100000001000041ed"));
    }
}
