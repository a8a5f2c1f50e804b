//! Writes archives, right and wrong: every field of a header can be set.

use std::io::Write;

const BLOCK: usize = 512;

/// A header and its content.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    block: [u8; BLOCK],
    content: Vec<u8>,
    sum: bool,
}

/// A header of that type, with a size of 0.
pub(super) fn entry(kind: u8, name: &[u8]) -> Entry {
    let mut entry = Entry { block: [0; BLOCK], content: Vec::new(), sum: true };
    entry.put(0, &name[..name.len().min(100)]);
    entry.put(100, b"0000644\0");
    entry.put(108, b"0000000\0");
    entry.put(116, b"0000000\0");
    entry.put(124, b"00000000000\0");
    entry.put(136, b"00000000001\0");
    entry.put(156, &[kind]);
    entry.put(257, b"ustar\x0000");
    entry
}

pub(super) fn file(name: &str, content: &[u8]) -> Entry {
    entry(b'0', name.as_bytes()).content(content)
}

pub(super) fn dir(name: &str) -> Entry {
    entry(b'5', name.as_bytes()).mode(0o755)
}

pub(super) fn symlink(name: &str, target: &str) -> Entry {
    entry(b'2', name.as_bytes()).put_at(157, target.as_bytes())
}

pub(super) fn link(name: &str, target: &str) -> Entry {
    entry(b'1', name.as_bytes()).put_at(157, target.as_bytes())
}

/// An extended header with these records.
pub(super) fn pax(records: &[(&str, &[u8])]) -> Entry {
    extended(b'x', records)
}

pub(super) fn global(records: &[(&str, &[u8])]) -> Entry {
    extended(b'g', records)
}

fn extended(kind: u8, records: &[(&str, &[u8])]) -> Entry {
    let record = |(key, value): &(&str, &[u8])| {
        let rest = key.len() + value.len() + 3;
        let len = (rest..).find(|len| *len == rest + len.to_string().len()).unwrap_or(rest);
        [len.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
    };
    let content: Vec<u8> = records.iter().flat_map(record).collect();
    entry(kind, b"pax").content(&content)
}

/// A long name as GNU writes it.
pub(super) fn long(kind: u8, name: &[u8]) -> Entry {
    entry(kind, b"././@LongLink").content(&[name, b"\0"].concat())
}

impl Entry {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.block[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn put_at(mut self, at: usize, bytes: &[u8]) -> Self {
        self.put(at, bytes);
        self
    }

    pub(super) fn mode(self, mode: u32) -> Self {
        self.put_at(100, format!("{mode:07o}\0").as_bytes())
    }

    /// Sets the size without any content.
    pub(super) fn size(self, size: u64) -> Self {
        self.put_at(124, format!("{size:011o}\0").as_bytes())
    }

    pub(super) fn content(mut self, content: &[u8]) -> Self {
        self = self.size(content.len() as u64);
        self.content = content.to_vec();
        self
    }

    /// Leaves the checksum wrong.
    pub(super) fn without_sum(mut self) -> Self {
        self.sum = false;
        self
    }

    fn bytes(mut self) -> Vec<u8> {
        if self.sum {
            self.put(148, b"        ");
            let sum: u32 = self.block.iter().map(|&byte| u32::from(byte)).sum();
            self.put(148, format!("{sum:06o}\0 ").as_bytes());
        }
        let mut bytes = self.block.to_vec();
        bytes.extend(&self.content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

/// Entries without an end mark.
pub(super) fn open_ended(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    entries.into_iter().flat_map(Entry::bytes).collect()
}

/// A whole archive.
pub(super) fn tar(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let mut bytes = open_ended(entries);
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    bytes
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// A Zstandard frame (RFC 8878) of blocks that are stored as they are.
pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let chunks: Vec<_> = bytes.chunks(64 << 10).collect();
    let mut frame = zstd_header(13);
    for (index, chunk) in chunks.iter().enumerate() {
        frame.extend(block(index + 1 == chunks.len(), 0, chunk.len()));
        frame.extend(*chunk);
    }
    frame
}

/// Magic number, no flags, and a window of 2^(10 + exponent) bytes.
pub(super) fn zstd_header(exponent: u8) -> Vec<u8> {
    vec![0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3]
}

/// One byte many times over.
pub(super) fn zstd_run(byte: u8, len: usize, last: bool) -> Vec<u8> {
    let mut bytes = block(last, 1, len).to_vec();
    bytes.push(byte);
    bytes
}

fn block(last: bool, kind: usize, len: usize) -> [u8; 3] {
    let word = usize::from(last) | kind << 1 | len << 3;
    let [first, second, third, ..] = word.to_le_bytes();
    [first, second, third]
}
