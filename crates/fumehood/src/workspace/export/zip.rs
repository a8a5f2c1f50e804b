//! Zip files, as much of them as an export needs.
//!
//! After APPNOTE.TXT 6.3.10 of PKWARE. Every entry is deflated and followed by its sizes (bit 3), so
//! that neither a file nor the archive has to fit into memory, and nothing is written twice.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::DeflateEncoder;

const LOCAL: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;

/// Version 2.0: deflate. In the upper byte of "made by", 3 is Unix: attributes are a mode.
const VERSION: u16 = 20;
const MADE_BY: u16 = 3 << 8 | VERSION;
/// Bit 3: sizes follow the data. Bit 11: names are UTF-8.
const FLAGS: u16 = 1 << 3 | 1 << 11;
const DEFLATE: u16 = 8;
/// 1980-01-01 00:00:00 in the format of MS-DOS.
const TIME: u16 = 0;
const DATE: u16 = 1 << 5 | 1;
const REGULAR: u32 = 0o100_000;

/// A zip file that is being written.
pub(super) struct Zip<'a> {
    to: &'a mut dyn Write,
    at: u64,
    directory: Vec<u8>,
    entries: u16,
}

impl<'a> Zip<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> Self {
        Self { to, at: 0, directory: Vec::new(), entries: 0 }
    }

    /// Appends a file with this mode.
    pub(super) fn append(&mut self, name: &str, mode: u32, data: &mut dyn Read) -> io::Result<()> {
        let at = small(self.at)?;
        let length = u16::try_from(name.len()).map_err(|_| too_large("a name", "65,535 bytes"))?;
        self.put(&local(length))?;
        self.put(name.as_bytes())?;
        let (crc, compressed, size) = self.deflate(data)?;
        let sizes = [words(&[crc, small(compressed)?, small(size)?])].concat();
        self.put(&[words(&[DESCRIPTOR]), sizes.clone()].concat())?;
        self.directory.extend(words(&[CENTRAL]));
        self.directory.extend(halves(&[MADE_BY, VERSION, FLAGS, DEFLATE, TIME, DATE]));
        self.directory.extend(sizes);
        // Extra field, comment, disk, internal attributes: none.
        self.directory.extend(halves(&[length, 0, 0, 0, 0]));
        self.directory.extend(words(&[(REGULAR | mode) << 16, at]));
        self.directory.extend(name.as_bytes());
        let more = self.entries.checked_add(1);
        self.entries = more.ok_or_else(|| too_large("the number of files", "65,535"))?;
        Ok(())
    }

    /// Writes the directory, without which nothing is found.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let (at, length) = (small(self.at)?, small(self.directory.len() as u64)?);
        let directory = std::mem::take(&mut self.directory);
        self.put(&directory)?;
        self.put(&words(&[END]))?;
        self.put(&halves(&[0, 0, self.entries, self.entries]))?;
        self.put(&words(&[length, at]))?;
        self.put(&halves(&[0]))?;
        self.to.flush()
    }

    /// Checksum, compressed and full size.
    fn deflate(&mut self, data: &mut dyn Read) -> io::Result<(u32, u64, u64)> {
        let mut summed = flate2::CrcReader::new(data);
        let before = self.at;
        let mut deflated = DeflateEncoder::new(&mut summed, Compression::default());
        let mut buffer = vec![0; 32 << 10];
        loop {
            let read = deflated.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            self.put(bytes)?;
        }
        let size = deflated.total_in();
        Ok((summed.crc().sum(), self.at - before, size))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.to.write_all(bytes)
    }
}

/// The header in front of a file: its sizes come after it.
fn local(name: u16) -> Vec<u8> {
    let mut header = words(&[LOCAL]);
    header.extend(halves(&[VERSION, FLAGS, DEFLATE, TIME, DATE]));
    header.extend(words(&[0, 0, 0]));
    header.extend(halves(&[name, 0]));
    header
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn halves(halves: &[u16]) -> Vec<u8> {
    halves.iter().flat_map(|half| half.to_le_bytes()).collect()
}

/// `0xffff_ffff` itself means that the size stands elsewhere.
fn small(size: u64) -> io::Result<u32> {
    let small = u32::try_from(size).ok().filter(|size| *size != u32::MAX);
    small.ok_or_else(|| too_large("its size", "4 GiB"))
}

fn too_large(what: &str, most: &str) -> io::Error {
    let message = format!("{what} is more than a zip file holds ({most}); export a tar");
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}
