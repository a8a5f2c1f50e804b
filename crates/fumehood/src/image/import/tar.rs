//! The entries of a tar from a stranger.
//!
//! The headers are read by the `tar` crate. What extends them (long names of GNU, records of pax) is
//! put together here, because a stranger's must have a limit, and because two programs that read one
//! archive differently are how most tricks work: what can be read in two ways is refused.

use std::io::{self, Read};

use tar::EntryType;

/// An extension that is longer is refused: it is read into memory.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// As long as a path may be (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// To a path as it stands there.
    Symlink(Vec<u8>),
    /// To another entry's path.
    HardLink(Vec<u8>),
    /// A device or a FIFO.
    Special,
}

/// An entry without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// As it stands there.
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) mode: u32,
    /// In seconds since 1970.
    pub(super) mtime: u64,
    /// Where its data begins in the archive.
    pub(super) offset: u64,
}

/// What the entries before one say about it.
#[derive(Debug, Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Calls `each` for every entry in order, with its data.
///
/// # Errors
/// What `each` says, and what is wrong with the archive.
pub(super) fn each<E: From<io::Error>>(
    archive: impl Read,
    mut each: impl FnMut(&Entry, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = tar::Archive::new(archive);
    let mut extension = Extension::default();
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        if extend(&mut extension, &mut entry)? {
            continue;
        }
        let found = assemble(std::mem::take(&mut extension), &entry)?;
        each(&found, &mut entry)?;
    }
    Ok(())
}

/// Takes an entry in that is about the next one.
fn extend(extension: &mut Extension, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<bool> {
    match entry.header().entry_type() {
        EntryType::GNULongName => once(&mut extension.path, text(entry)?)?,
        EntryType::GNULongLink => once(&mut extension.link, text(entry)?)?,
        EntryType::XHeader => records(extension, &data(entry)?)?,
        // Comments on the whole archive, such as the commit that it was made from.
        EntryType::XGlobalHeader => {
            let mut global = Extension::default();
            records(&mut global, &data(entry)?)?;
            if global.path.is_some() || global.link.is_some() || global.size.is_some() {
                return Err(wrong("has global records about single entries"));
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn data(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(LONGEST_EXTENSION + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_EXTENSION {
        return Err(wrong("has an extended header of more than 1 MiB"));
    }
    Ok(bytes)
}

/// A name that ends at the first NUL.
fn text(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = data(entry)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    Ok(bytes)
}

fn once<T>(field: &mut Option<T>, value: T) -> io::Result<()> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(wrong("says the same thing of an entry twice")),
    }
}

/// Records of pax(1). Times and owners are not kept, and neither are extended attributes: they
/// would give privileges.
fn records(extension: &mut Extension, bytes: &[u8]) -> io::Result<()> {
    for record in tar::PaxExtensions::new(bytes) {
        let record = record?;
        let value = || record.value_bytes().to_vec();
        match record.key_bytes() {
            b"path" => once(&mut extension.path, value())?,
            b"linkpath" => once(&mut extension.link, value())?,
            b"size" => {
                let size = record.value().ok().and_then(|size| size.parse().ok());
                let size = size.ok_or_else(|| wrong("has a size that is no number"))?;
                once(&mut extension.size, size)?;
            }
            key if key.starts_with(b"GNU.sparse.") => return Err(sparse()),
            _ => {}
        }
    }
    Ok(())
}

fn assemble(extension: Extension, entry: &tar::Entry<'_, impl Read>) -> io::Result<Entry> {
    let header = entry.header();
    let size = header.entry_size()?;
    if extension.size.is_some_and(|said| said != size) {
        // Whoever reads one of the two sees other entries than whoever reads the other.
        return Err(wrong("has an entry with two different sizes"));
    }
    let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let link = || {
        let short = || header.link_name_bytes().unwrap_or_default().into_owned();
        extension.link.clone().unwrap_or_else(short)
    };
    let kind = match header.entry_type() {
        // An old archive has no directories but files whose names end with a slash.
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(link()),
        EntryType::Link => Kind::HardLink(link()),
        EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Special,
        EntryType::GNUSparse => return Err(sparse()),
        other => return Err(wrong(&format!("has an entry of unknown type {:?}", other.as_byte()))),
    };
    let links = [Some(&path), link_of(&kind)].into_iter().flatten();
    for name in links {
        if name.is_empty() || name.len() > LONGEST_PATH || name.contains(&0) {
            return Err(wrong("has a name that is empty, too long, or has a NUL byte"));
        }
    }
    // A link has no mode of its own, and some writers leave it out.
    let mode = if matches!(kind, Kind::File | Kind::Directory) { header.mode()? } else { 0 };
    // A time that cannot be read is no reason to refuse a file.
    let mtime = header.mtime().unwrap_or(0);
    Ok(Entry { path, kind, size, mode, mtime, offset: entry.raw_file_position() })
}

fn link_of(kind: &Kind) -> Option<&Vec<u8>> {
    match kind {
        Kind::Symlink(link) | Kind::HardLink(link) => Some(link),
        _ => None,
    }
}

fn sparse() -> io::Error {
    wrong("has a sparse file, which is not supported; make it without --sparse")
}

fn wrong(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the tar {problem}"))
}
