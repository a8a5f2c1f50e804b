//! The outer archive: a tar with named blobs, read where they lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Take};

use super::stream::{Capped, Plain};
use super::tar::{self, Kind};

/// Manifests and configurations are read into memory.
const LARGEST_DOCUMENT: u64 = 8 << 20;

/// An archive has some blobs a layer.
const MOST_BLOBS: usize = 100_000;

/// A tar that was looked through once.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
    blobs: BTreeMap<String, Blob>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Blob {
    At {
        offset: u64,
        size: u64,
    },
    /// Older archives have a link where two images share a layer.
    Link(String),
}

impl Archive {
    /// Looks through an archive. One that is compressed, or that comes through a pipe, is first
    /// written to `spool`, as far as `left` bytes.
    pub(super) fn open(mut source: File, spool: File, left: &mut u64) -> io::Result<Self> {
        let seekable = source.metadata()?.is_file() && source.stream_position().is_ok();
        let mut start = [0; 4];
        let compressed = seekable && {
            let length = read_start(&mut source, &mut start)?;
            source.rewind()?;
            let start = start.get(..length).unwrap_or_default();
            start.starts_with(&[0x1f, 0x8b]) || start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        };
        let file = if seekable && !compressed { source } else { unpack(source, spool, left)? };
        Self::index(file)
    }

    fn index(mut file: File) -> io::Result<Self> {
        let mut blobs = BTreeMap::new();
        tar::each(&mut io::BufReader::new(&mut file), |entry, _| {
            let name = normal(&entry.path)?;
            let blob = match &entry.kind {
                Kind::File => Blob::At { offset: entry.offset, size: entry.size },
                Kind::Symlink(target) => Blob::Link(beside(&name, target)?),
                Kind::HardLink(target) => Blob::Link(normal(target)?),
                Kind::Directory | Kind::Special => return Ok(()),
            };
            // The archives of Docker name some blobs twice; the same thing twice is no trick.
            if blobs.insert(name.clone(), blob.clone()).is_some_and(|first| first != blob) {
                return Err(wrong(format!("has {name:?} twice")));
            }
            if blobs.len() > MOST_BLOBS {
                return Err(wrong(format!("has more than {MOST_BLOBS} files")));
            }
            Ok(())
        })?;
        Ok(Self { file, blobs })
    }

    /// Whether there is a blob of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.blobs.contains_key(name)
    }

    /// A blob, to be read to its end.
    pub(super) fn blob(&mut self, name: &str) -> io::Result<Take<&mut File>> {
        let (offset, size) = self.locate(name)?;
        self.file.seek(SeekFrom::Start(offset))?;
        Ok((&mut self.file).take(size))
    }

    /// How large a blob is, in bytes.
    pub(super) fn size(&self, name: &str) -> io::Result<u64> {
        Ok(self.locate(name)?.1)
    }

    /// A blob in memory, if it is not too large for that.
    pub(super) fn document(&mut self, name: &str) -> io::Result<Vec<u8>> {
        let size = self.size(name)?;
        if size > LARGEST_DOCUMENT {
            return Err(wrong(format!("has {name:?} with {size} bytes, more than a document has")));
        }
        let mut bytes = Vec::new();
        self.blob(name)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn locate(&self, name: &str) -> io::Result<(u64, u64)> {
        let mut name = name;
        // A link to a link is one too many for any archive that was made in good faith.
        for _ in 0..2 {
            match self.blobs.get(name) {
                Some(Blob::At { offset, size }) => return Ok((*offset, *size)),
                Some(Blob::Link(target)) => name = target,
                None => break,
            }
        }
        Err(wrong(format!("lacks {name:?}")))
    }
}

fn read_start(source: &mut File, start: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = start.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match source.read(rest)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

fn unpack(source: File, mut spool: File, left: &mut u64) -> io::Result<File> {
    io::copy(&mut Capped::new(Plain::of(source)?, left), &mut spool)?;
    spool.rewind()?;
    Ok(spool)
}

/// A name without `./` in front. The names of blobs are compared and never looked up in a file
/// system, so that nothing has to be made of `..`.
fn normal(path: &[u8]) -> io::Result<String> {
    let name = std::str::from_utf8(path).map_err(|_| wrong("has a name that is not UTF-8"))?;
    Ok(name.trim_start_matches("./").to_owned())
}

/// What a link means, seen from where it is.
fn beside(link: &str, target: &[u8]) -> io::Result<String> {
    let target = normal(target)?;
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    Ok(parts.join("/"))
}

fn wrong(problem: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the archive {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_old_archives_mean_their_neighbours() {
        assert_eq!(beside("b/layer.tar", b"../a/layer.tar").unwrap(), "a/layer.tar");
        assert_eq!(beside("b/layer.tar", b"../../../../etc/passwd").unwrap(), "etc/passwd");
        assert_eq!(normal(b"./manifest.json").unwrap(), "manifest.json");
    }
}
