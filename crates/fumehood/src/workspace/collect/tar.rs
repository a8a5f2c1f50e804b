//! An archive of artifacts.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::sink::pour;

const BLOCK: usize = 512;

/// An archive that is written beside its place and moved there when it is whole.
#[derive(Debug)]
pub(crate) struct Tar {
    path: PathBuf,
    fresh: PathBuf,
    file: BufWriter<File>,
    done: bool,
}

impl Tar {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
        let fresh = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let file = BufWriter::with_capacity(256 << 10, File::create_new(&fresh)?);
        Ok(Self { path: path.to_path_buf(), fresh, file, done: false })
    }

    /// Adds a file; false if it became shorter while it was read.
    pub(super) fn put(
        &mut self,
        name: &[u8],
        file: &mut File,
        size: u64,
        mode: u32,
        modified: i64,
    ) -> io::Result<bool> {
        if needs_pax(name, size, modified) {
            let records = pax(name, size, modified);
            self.file.write_all(&header(b"pax", records.len() as u64, 0o644, 0, b'x'))?;
            self.file.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.file.write_all(&header(name, size, mode, modified, b'0'))?;
        let whole = pour(file, &mut self.file, size)?;
        self.pad(size)?;
        Ok(whole)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        let padding = if over == 0 { 0 } else { BLOCK - over };
        self.file.write_all(&[0; BLOCK][..padding])
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.file.write_all(&[0; 2 * BLOCK])?;
        self.file.flush()?;
        fs::rename(&self.fresh, &self.path)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Tar {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.fresh);
        }
    }
}

const MOST_OCTAL: u64 = 0o77_777_777_777;

/// A name that is not UTF-8 is written all the same: in `pax` that is an error, but every reader
/// takes it.
fn needs_pax(name: &[u8], size: u64, modified: i64) -> bool {
    name.len() > 100
        || size > MOST_OCTAL
        || u64::try_from(modified).map_or(true, |s| s > MOST_OCTAL)
}

fn pax(name: &[u8], size: u64, modified: i64) -> Vec<u8> {
    let mut records = record(b"path", name);
    if size > MOST_OCTAL {
        records.extend(record(b"size", size.to_string().as_bytes()));
    }
    records.extend(record(b"mtime", modified.to_string().as_bytes()));
    records
}

/// `LENGTH KEY=VALUE\n`, the length counting its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn header(name: &[u8], size: u64, mode: u32, modified: i64, kind: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        let room = block.iter_mut().skip(at);
        room.zip(bytes).for_each(|(to, from)| *to = *from);
    };
    let modified = u64::try_from(modified).unwrap_or(0);
    put(0, &name[..name.len().min(100)]);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{:011o}", if size > MOST_OCTAL { 0 } else { size }).as_bytes());
    put(136, format!("{:011o}", modified.min(MOST_OCTAL)).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    block.iter_mut().skip(148).zip(sum.bytes()).for_each(|(to, from)| *to = from);
    block
}
