//! Archives: what an entry is, and whether all readers would agree on it.
//!
//! Tar has been extended in several ways that overlap. Where two readers could see different files
//! in an archive, it is refused: what was checked elsewhere must be what is run here.

use std::io::{Read, Write};

use super::header::{BLOCK, Header};
use super::lower::Lower;
use super::pax::Pax;
use super::{Refusal, compress, fill, unreadable};
use crate::job::files::InputLimits;

/// Longest extended header, and longest name in a header of its own.
const LONGEST_PAX: u64 = 1 << 20;
const LONGEST_NAME: u64 = 8 << 10;

/// Lowers an archive's entries.
///
/// # Errors
/// The first entry that is refused, or what is wrong with the archive as a whole.
pub(super) fn unpack<W: Write>(
    source: impl Read,
    limits: InputLimits,
    lower: &mut Lower<W>,
) -> Result<(), Refusal> {
    let source = compress::open(source, limits).map_err(|error| match error.kind() {
        std::io::ErrorKind::Unsupported => Refusal::Source(error.to_string()),
        _ => Refusal::Source(unreadable(error)),
    })?;
    let mut archive = Archive { source, block: [0; BLOCK] };
    let mut extra = Extra::default();
    while let Some(header) = archive.header()? {
        match header.kind {
            b'x' => extra.pax(&archive.content(&header, LONGEST_PAX)?)?,
            b'g' => global(&archive.content(&header, LONGEST_PAX)?)?,
            b'L' => extra.name(archive.content(&header, LONGEST_NAME)?)?,
            b'K' => extra.link(archive.content(&header, LONGEST_NAME)?)?,
            _ => {
                let entry = std::mem::take(&mut extra).apply(header)?;
                archive.entry(&entry, lower)?;
            }
        }
    }
    if extra != Extra::default() {
        return Err(broken("ends where a name is without its entry"));
    }
    archive.nothing_follows()
}

fn broken(problem: impl Into<String>) -> Refusal {
    Refusal::Source(problem.into())
}

/// Records for all entries. Which of them a name or a size meant is anybody's guess.
fn global(bytes: &[u8]) -> Result<(), Refusal> {
    let pax = Pax::parse(bytes).map_err(broken)?;
    if pax.is_of_one_entry() {
        return Err(broken("has a global extended header that names or sizes all entries alike"));
    }
    Ok(())
}

/// What came ahead of an entry.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extra {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extra {
    fn pax(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        once(&mut self.pax, Pax::parse(bytes).map_err(broken)?)
    }

    fn name(&mut self, bytes: Vec<u8>) -> Result<(), Refusal> {
        once(&mut self.name, without_nul(bytes))
    }

    fn link(&mut self, bytes: Vec<u8>) -> Result<(), Refusal> {
        once(&mut self.link, without_nul(bytes))
    }

    /// The header as it is meant.
    fn apply(self, mut header: Header) -> Result<Header, Refusal> {
        let pax = self.pax.unwrap_or_default();
        header.name = only(self.name, pax.path, &header.name)?.unwrap_or(header.name);
        header.link = only(self.link, pax.link, &header.name)?.unwrap_or(header.link);
        header.modified = pax.modified.unwrap_or(header.modified);
        if pax.sparse {
            return Err(Refusal::entry(&header.name, SPARSE));
        }
        if let Some(size) = pax.size {
            header.size = agreed(size, &header)?;
        }
        Ok(header)
    }
}

const SPARSE: &str = "is stored as a sparse file; make the archive without --sparse";

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(broken("has two extended headers in a row for one entry")),
    }
}

/// GNU ends long names with a NUL.
fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

fn only(
    gnu: Option<Vec<u8>>,
    pax: Option<Vec<u8>>,
    name: &[u8],
) -> Result<Option<Vec<u8>>, Refusal> {
    match (gnu, pax) {
        (Some(_), Some(_)) => Err(Refusal::entry(name, "has its name in two forms")),
        (gnu, pax) => Ok(gnu.or(pax)),
    }
}

/// A size in an extended header is for what the header has no room for. Where it has, the two must
/// agree: readers that know only one of them would take other bytes for the next header.
fn agreed(size: u64, header: &Header) -> Result<u64, Refusal> {
    const ROOM: u64 = 0o77_777_777_777;
    if size == header.size || (size > ROOM && header.size <= ROOM) {
        return Ok(size);
    }
    let problem = format!("has two sizes, {} and {size}", header.size);
    Err(Refusal::entry(&header.name, problem))
}

struct Archive<R> {
    source: R,
    block: [u8; BLOCK],
}

impl<R: Read> Archive<R> {
    /// The next header; `None` at the end mark.
    fn header(&mut self) -> Result<Option<Header>, Refusal> {
        if !self.next_block()? {
            return Err(broken("ends without its end mark: it was cut off, or is no tar archive"));
        }
        if self.block != [0; BLOCK] {
            return Header::parse(&self.block).map(Some).map_err(broken);
        }
        // The mark is two blocks of zeros; some writers leave out the second.
        if self.next_block()? && self.block != [0; BLOCK] {
            return Err(broken("goes on after a block of zeros"));
        }
        Ok(None)
    }

    /// False at the end of the source.
    fn next_block(&mut self) -> Result<bool, Refusal> {
        let read = fill(&mut self.source, &mut self.block);
        match read.map_err(|error| broken(unreadable(error)))? {
            BLOCK => Ok(true),
            0 => Ok(false),
            _ => Err(broken("ends within a block: it was cut off, or is no tar archive")),
        }
    }

    /// Readers that join archives would see what others do not.
    fn nothing_follows(&mut self) -> Result<(), Refusal> {
        while self.next_block()? {
            if self.block != [0; BLOCK] {
                return Err(broken("goes on after its end mark"));
            }
        }
        Ok(())
    }

    /// The content of a header that is about another entry.
    fn content(&mut self, header: &Header, most: u64) -> Result<Vec<u8>, Refusal> {
        if header.size > most {
            let size = header.size;
            return Err(broken(format!("has an extended header of {size} bytes; at most {most}")));
        }
        let mut content = Vec::new();
        let read = self.source.by_ref().take(header.size).read_to_end(&mut content);
        let read = read.map_err(|error| broken(unreadable(error)))?;
        if read as u64 != header.size {
            return Err(broken("ends within an extended header"));
        }
        self.skip_padding(header.size)?;
        Ok(content)
    }

    fn skip_padding(&mut self, size: u64) -> Result<(), Refusal> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        let padding = &mut self.block[over..];
        if over > 0
            && fill(&mut self.source, padding).map_err(|e| broken(unreadable(e)))? < padding.len()
        {
            return Err(broken("ends within a block: it was cut off"));
        }
        Ok(())
    }

    fn entry<W: Write>(&mut self, header: &Header, lower: &mut Lower<W>) -> Result<(), Refusal> {
        let name = &header.name;
        let refuse = |problem: &str| Err(Refusal::entry(name, problem));
        // Before the type had a letter of its own, a slash at the end marked a directory.
        let old_dir = matches!(header.kind, 0 | b'0') && name.ends_with(b"/");
        let is_file = matches!(header.kind, 0 | b'0' | b'7') && !old_dir;
        if header.size > 0 && !is_file {
            return refuse("has content although it is no file");
        }
        match header.kind {
            b'5' => lower.dir(name, header.mode),
            _ if old_dir => lower.dir(name, header.mode),
            0 | b'0' | b'7' => self.file(header, lower),
            b'1' => lower.link(name, &header.link),
            b'2' => lower.symlink(name, &header.link),
            b'3' | b'4' => refuse("is a device"),
            b'6' => refuse("is a named pipe"),
            b'S' => refuse(SPARSE),
            other => {
                let other = other.escape_ascii();
                refuse(&format!("is of a type that is not known, {other}"))
            }
        }
    }

    fn file<W: Write>(&mut self, header: &Header, lower: &mut Lower<W>) -> Result<(), Refusal> {
        if header.mode & 0o6000 != 0 {
            return Err(Refusal::entry(&header.name, "is set-user-id or set-group-id"));
        }
        let Header { name, mode, modified, size, .. } = header;
        lower.file(name, *mode, *modified, *size, &mut self.source)?;
        self.skip_padding(*size)
    }
}
