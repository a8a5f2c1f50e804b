//! Writes the input files of a cell.
//!
//! The supervisor reads archives and directories of whatever origin and lowers them to a stream of
//! [`Record`]s, which this side writes without judging them. It is done by the init, which has no
//! capability left and is the sandbox's own user: a name that got past the supervisor still leads
//! nowhere but into the cell, because every lookup stays below the base directory, on its mount, and
//! follows no link.

use core::ffi::CStr;

use linux_raw_sys::general as nr;

use crate::step::{Field, Reader, Sink};
use crate::sys::{self, Errno, Fd, Result};
use crate::wire::Buffer;

/// Longest encoded record, in bytes: two paths and a few numbers.
pub const MAX_RECORD: usize = 2 * PATH_MAX + 64;

/// Longest path with its NUL (`path_resolution(7)`).
pub const PATH_MAX: usize = 4096;

/// Room for records and data on their way through. It stays mapped for as long as the cell lives.
const ROOM: usize = 256 * 1024;

const NAME_LEN: usize = 256;

/// What a record makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Make {
    /// Nothing: the stream ends.
    End = 0,
    /// The directory that all further paths are in: an absolute path, made as needed.
    Base = 1,
    /// A directory, unless it is there.
    Dir = 2,
    /// A regular file that is not there yet; its content follows the record.
    File = 3,
    /// A symbolic link.
    Symlink = 4,
    /// A further name of a file that an earlier record made.
    Link = 5,
}

impl Make {
    const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::End,
            1 => Self::Base,
            2 => Self::Dir,
            3 => Self::File,
            4 => Self::Symlink,
            5 => Self::Link,
            _ => return None,
        })
    }
}

/// One thing to make. In the stream each is preceded by its length in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What.
    pub make: Make,
    /// Permission bits.
    pub mode: u32,
    /// Length of a file's content.
    pub size: u64,
    /// Time of last modification of a file, in seconds since 1970; negative before.
    pub modified: i64,
    /// Where: relative to the base, or absolute for the base itself.
    pub path: &'a CStr,
    /// What a link says, or the other name of a file.
    pub target: &'a CStr,
}

impl<'a> Record<'a> {
    /// Writes the record down, without its length.
    pub fn encode(&self, sink: &mut impl Sink) {
        (self.make as u32).put(sink);
        self.mode.put(sink);
        self.size.put(sink);
        self.modified.cast_unsigned().put(sink);
        self.path.put(sink);
        self.target.put(sink);
    }

    /// Reads a record.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let record = Self {
            make: Make::from_number(reader.get()?)?,
            mode: reader.get()?,
            size: reader.get()?,
            modified: reader.get::<u64>()?.cast_signed(),
            path: reader.get()?,
            target: reader.get()?,
        };
        reader.is_empty().then_some(record)
    }
}

/// Writes everything that a stream says, to its last record.
///
/// # Errors
/// What the kernel said about the first path that could not be made, which is put into `failed`;
/// `EPROTO` if the stream ends early, with no path.
pub fn stage(stream: Fd, failed: &mut Buffer<PATH_MAX>) -> Result<()> {
    let mut source = Source { fd: stream, room: sys::map(ROOM)?, start: 0, end: 0 };
    // A record is decoded from its own copy, so that its data can be read while it is looked at.
    let copy = sys::map(MAX_RECORD)?;
    let mut tree = Tree::new()?;
    loop {
        let record = source.record(copy)?;
        let made = match record.make {
            Make::End => return Ok(()),
            Make::Base => tree.enter(record.path),
            Make::Dir => tree.dir(record.path, record.mode),
            Make::File => tree.file(&record, &mut source),
            Make::Symlink => tree.symlink(record.path, record.target),
            Make::Link => tree.link(record.path, record.target),
        };
        made.inspect_err(|_| failed.put(record.path.to_bytes()))?;
    }
}

/// A stream with what has been read of it ahead.
struct Source {
    fd: Fd,
    room: &'static mut [u8],
    start: usize,
    end: usize,
}

impl Source {
    fn held(&self) -> &[u8] {
        self.room.get(self.start..self.end).unwrap_or(&[])
    }

    fn skip(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads until so many bytes are held.
    fn hold(&mut self, len: usize) -> Result<()> {
        while self.held().len() < len {
            if self.room.len().saturating_sub(self.start) < len {
                self.move_to_front();
            }
            let space = self.room.get_mut(self.end..).unwrap_or(&mut []);
            if space.is_empty() {
                return Err(Errno::PROTO);
            }
            match sys::read(self.fd, space) {
                Ok(0) => return Err(Errno::PROTO),
                Ok(read) => self.end = self.end.saturating_add(read),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn move_to_front(&mut self) {
        let len = self.held().len();
        if let Some((front, rest)) = self.room.split_at_mut_checked(self.start) {
            let held = rest.get(..len).unwrap_or(&[]);
            // Held bytes are fewer than a record's, and the room is many records long.
            front.iter_mut().zip(held).for_each(|(to, from)| *to = *from);
            if front.len() >= len {
                (self.start, self.end) = (0, len);
            }
        }
    }

    fn record<'a>(&mut self, copy: &'a mut [u8]) -> Result<Record<'a>> {
        self.hold(4)?;
        let len = self.held().first_chunk::<4>().map_or(0, |len| u32::from_le_bytes(*len));
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > MAX_RECORD {
            return Err(Errno::PROTO);
        }
        self.skip(4);
        self.hold(len)?;
        for (to, from) in copy.iter_mut().zip(self.held()) {
            *to = *from;
        }
        self.skip(len);
        Record::decode(copy.get(..len).unwrap_or(&[])).ok_or(Errno::PROTO)
    }

    /// Moves so many bytes to a file.
    fn pour(&mut self, mut len: u64, file: Fd) -> Result<()> {
        while len > 0 {
            self.hold(1)?;
            let most = usize::try_from(len).unwrap_or(usize::MAX);
            let held = self.held();
            let written = sys::write(file, held.get(..most).unwrap_or(held))?;
            self.skip(written);
            len = len.saturating_sub(u64::try_from(written).unwrap_or(len));
        }
        Ok(())
    }
}

/// Where things are made.
struct Tree {
    root: Fd,
    base: Fd,
    /// The directory of the last path, which is mostly that of the next as well.
    near: Option<Fd>,
    near_path: Buffer<PATH_MAX>,
}

impl Tree {
    fn new() -> Result<Self> {
        let root = sys::open(c"/", nr::O_PATH | nr::O_DIRECTORY)?;
        Ok(Self { root, base: root, near: None, near_path: Buffer::new() })
    }

    fn enter(&mut self, path: &CStr) -> Result<()> {
        self.forget();
        if self.base != self.root {
            sys::close(self.base);
        }
        self.base = self.root;
        let inside = path.to_bytes().strip_prefix(b"/").ok_or(Errno::INVAL)?;
        self.base = descend(self.root, inside, sys::open_beneath)?;
        Ok(())
    }

    fn dir(&mut self, path: &CStr, mode: u32) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        match sys::mkdir(parent, name, mode) {
            Err(Errno::EXIST) => {
                // Only a directory is no contradiction, and only one that is not a mount.
                let flags = nr::O_PATH | nr::O_DIRECTORY;
                sys::open_within(parent, name, flags, 0).map(sys::close)
            }
            other => other,
        }
    }

    fn file(&mut self, record: &Record<'_>, source: &mut Source) -> Result<()> {
        let (parent, name) = self.parent(record.path)?;
        let flags = nr::O_CREAT | nr::O_EXCL | nr::O_WRONLY;
        let file = sys::open_within(parent, name, flags, record.mode)?;
        let poured =
            source.pour(record.size, file).and_then(|()| sys::set_modified(file, record.modified));
        sys::close(file);
        poured
    }

    fn symlink(&mut self, path: &CStr, target: &CStr) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        sys::symlink(target, parent, name)
    }

    fn link(&mut self, path: &CStr, target: &CStr) -> Result<()> {
        let (from, old) = self.parent(target)?;
        // The next lookup may forget the nearest directory, so this one is held apart.
        let from = sys::dup_above(from, 0)?;
        let linked = self.parent(path).and_then(|(to, new)| sys::hard_link(from, old, to, new));
        sys::close(from);
        linked
    }

    /// The directory that a path is in, made as needed, and its last name.
    fn parent<'a>(&mut self, path: &'a CStr) -> Result<(Fd, &'a CStr)> {
        let bytes = path.to_bytes();
        let Some(slash) = bytes.iter().rposition(|&byte| byte == b'/') else {
            return Ok((self.base, path));
        };
        let directory = bytes.get(..slash).unwrap_or(&[]);
        let after = slash.saturating_add(1);
        let name = path.to_bytes_with_nul().get(after..).unwrap_or(&[]);
        let name = CStr::from_bytes_with_nul(name).map_err(|_| Errno::INVAL)?;
        if let Some(near) = self.near
            && self.near_path.bytes() == directory
        {
            return Ok((near, name));
        }
        self.forget();
        let near = descend(self.base, directory, sys::open_within)?;
        self.near = Some(near);
        self.near_path.put(directory);
        Ok((near, name))
    }

    fn forget(&mut self) {
        if let Some(near) = self.near.take() {
            sys::close(near);
        }
        self.near_path = Buffer::new();
    }
}

type Open = fn(Fd, &CStr, u32, u32) -> Result<Fd>;

/// The directory at that path, name by name, each made if it is missing.
fn descend(base: Fd, path: &[u8], open: Open) -> Result<Fd> {
    let mut here = sys::dup_above(base, 0)?;
    for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
        let next = enter(here, part, open);
        sys::close(here);
        here = next?;
    }
    Ok(here)
}

fn enter(parent: Fd, name: &[u8], open: Open) -> Result<Fd> {
    if name.len() >= NAME_LEN {
        return Err(Errno::NAMETOOLONG);
    }
    let mut text = Buffer::<NAME_LEN>::new();
    text.put(name);
    text.put(&[0]);
    let name = CStr::from_bytes_with_nul(text.bytes()).map_err(|_| Errno::INVAL)?;
    let flags = nr::O_PATH | nr::O_DIRECTORY;
    match open(parent, name, flags, 0) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    sys::mkdir(parent, name, 0o755)?;
    open(parent, name, flags, 0)
}
