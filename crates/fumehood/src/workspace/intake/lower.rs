//! Entries that passed become records of the stream, within the limits of a job.

use std::ffi::CString;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use fumehood_child::stage::{MAX_RECORD, Make, Record};
use fumehood_child::step::Sink;

use super::Refusal;
use super::name::{link_stays, normal};
use crate::job::files::InputLimits;

/// How much is on its way at a time: memory does not grow with the inputs.
const ROOM: usize = 256 << 10;

/// Writes records.
pub(super) struct Lower<W: Write> {
    stream: BufWriter<W>,
    limits: InputLimits,
    entries: u64,
    bytes: u64,
    room: Vec<u8>,
}

struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl<W: Write> Lower<W> {
    pub(super) fn new(stream: W, limits: InputLimits) -> Self {
        let stream = BufWriter::with_capacity(ROOM, stream);
        Self { stream, limits, entries: 0, bytes: 0, room: vec![0; ROOM] }
    }

    /// The directory that further entries are in: absolute, judged with the job.
    pub(super) fn base(&mut self, path: &Path) -> Result<(), Refusal> {
        self.record(Make::Base, path.as_os_str().as_bytes(), b"", 0, 0, 0)
    }

    /// The directory of a single file, and the file's name.
    pub(super) fn base_above(&mut self, path: &Path) -> Result<Vec<u8>, Refusal> {
        self.base(path.parent().unwrap_or(path))?;
        Ok(path.file_name().unwrap_or_default().as_bytes().to_vec())
    }

    /// A directory, which its owner can always change.
    pub(super) fn dir(&mut self, name: &[u8], mode: u32) -> Result<(), Refusal> {
        let Some(path) = self.admit(name)? else { return Ok(()) };
        self.record(Make::Dir, &path, b"", mode & 0o777 | 0o700, 0, 0)
    }

    /// A file of exactly that size, which its owner can always change.
    pub(super) fn file(
        &mut self,
        name: &[u8],
        mode: u32,
        modified: i64,
        size: u64,
        content: &mut impl Read,
    ) -> Result<(), Refusal> {
        let path = self.admit_named(name)?;
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.size.0 {
            let most = self.limits.size;
            let problem = format!("makes the inputs larger than input_limits.size, {most}");
            return Err(Refusal::entry(name, problem));
        }
        self.record(Make::File, &path, b"", mode & 0o777 | 0o600, modified, size)?;
        self.pour(name, size, content)
    }

    /// A symbolic link that stays below the base.
    pub(super) fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<(), Refusal> {
        let path = self.admit_named(name)?;
        link_stays(&path, target)?;
        self.record(Make::Symlink, &path, target, 0, 0, 0)
    }

    /// A further name of an earlier file.
    pub(super) fn link(&mut self, name: &[u8], other: &[u8]) -> Result<(), Refusal> {
        let path = self.admit_named(name)?;
        let refuse = |_| Refusal::entry(name, "is a hard link to a path that leads out");
        let other = normal(other, self.limits.depth).map_err(refuse)?;
        let other = other.ok_or_else(|| Refusal::entry(name, "is a hard link to a directory"))?;
        self.record(Make::Link, &path, &other, 0, 0, 0)
    }

    /// Ends the stream.
    pub(super) fn finish(mut self) -> Result<(), Refusal> {
        self.record(Make::End, b"", b"", 0, 0, 0)?;
        self.stream.flush().map_err(|_| Refusal::Stream)
    }

    /// Counts an entry and judges its path; `None` is the base itself.
    fn admit(&mut self, name: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let most = self.limits.entries;
            let problem = format!("is one more than input_limits.entries, {most}");
            return Err(Refusal::entry(name, problem));
        }
        normal(name, self.limits.depth)
    }

    fn admit_named(&mut self, name: &[u8]) -> Result<Vec<u8>, Refusal> {
        let path = self.admit(name)?;
        path.ok_or_else(|| Refusal::entry(name, "must be a directory: it is where all others are"))
    }

    fn record(
        &mut self,
        make: Make,
        path: &[u8],
        target: &[u8],
        mode: u32,
        modified: i64,
        size: u64,
    ) -> Result<(), Refusal> {
        let text = |bytes| {
            CString::new(bytes).map_err(|_| Refusal::entry(path, "has a NUL byte in its name"))
        };
        let (path, target) = (text(path)?, text(target)?);
        let record = Record { make, mode, size, modified, path: &path, target: &target };
        let mut bytes = Bytes(Vec::with_capacity(128));
        record.encode(&mut bytes);
        let len = u32::try_from(bytes.0.len()).unwrap_or(u32::MAX);
        debug_assert!(bytes.0.len() <= MAX_RECORD, "names were judged before");
        self.stream.write_all(&len.to_le_bytes()).map_err(|_| Refusal::Stream)?;
        self.stream.write_all(&bytes.0).map_err(|_| Refusal::Stream)
    }

    /// Passes on exactly as many bytes as the record says: the other side counts on it.
    fn pour(&mut self, name: &[u8], size: u64, content: &mut impl Read) -> Result<(), Refusal> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.room.len());
            let room = self.room.get_mut(..most).unwrap_or(&mut []);
            match content.read(room) {
                Ok(0) => return Err(Refusal::entry(name, "ends before its size")),
                Ok(read) => {
                    let held = room.get(..read).unwrap_or(&[]);
                    self.stream.write_all(held).map_err(|_| Refusal::Stream)?;
                    left -= read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Refusal::entry(name, super::unreadable(error))),
            }
        }
        Ok(())
    }
}
