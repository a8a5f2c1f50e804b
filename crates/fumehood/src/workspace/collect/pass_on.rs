//! Files that are collected in one process and delivered by another: what a sandbox that is not ours
//! shows only to those inside.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::deliver::LISTED;
use super::sink::{NotPut, Sink, pour};
use super::{Collected, Rights, collect};
use crate::Artifact;
use crate::job::files::Collect;
use crate::report::{Skipped, SkippedFor};

/// A file, or one that is not there. The content of a file follows its entry.
#[derive(Debug, Serialize, Deserialize)]
enum Entry {
    File { path: Vec<u8>, size: u64, mode: u32, modified: i64 },
    Skipped(Skipped),
    End,
}

/// No entry is longer: a path, or a path and a sentence.
const LONGEST: usize = 256 << 10;

/// The near end of a line: takes files as every other destination does.
#[derive(Debug)]
pub(crate) struct Line(BufWriter<File>);

impl Line {
    fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let bytes = serde_json::to_vec(entry)?;
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.0.write_all(&len.to_le_bytes())?;
        self.0.write_all(&bytes)
    }

    /// Passes a file on; false if it became shorter while it was read.
    pub(super) fn put(
        &mut self,
        path: &Path,
        file: &mut File,
        size: u64,
        mode: u32,
        modified: i64,
    ) -> io::Result<bool> {
        let path = path.as_os_str().as_bytes().to_vec();
        self.entry(&Entry::File { path, size, mode, modified })?;
        pour(file, &mut self.0, size)
    }
}

/// Collects, and passes on what was found and what was not.
pub(crate) fn pass_on(root: &OwnedFd, wanted: &Collect, cwd: &Path, to: File) -> io::Result<()> {
    let line = Line(BufWriter::with_capacity(256 << 10, to.try_clone()?));
    let collected = collect(root, wanted, cwd, Sink::Line(line), Rights::OURS, &|| true);
    let mut line = Line(BufWriter::new(to));
    for skipped in collected.skipped {
        line.entry(&Entry::Skipped(skipped))?;
    }
    line.entry(&Entry::End)?;
    line.0.flush()
}

impl Line {
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Delivers what was passed on. The caps of the job are applied anew: what comes from inside a
/// sandbox is believed no more than what lies there.
pub(crate) fn deliver(from: File, wanted: &Collect, mut sink: Sink) -> Collected {
    let mut collected = Collected::default();
    let whole = receive(from, wanted, &mut sink, &mut collected);
    if let Err(error) = whole.and_then(|()| sink.finish()) {
        for path in &wanted.paths {
            let detail = format!("what was collected broke off: {error}");
            collected.skip(path.into(), SkippedFor::Unreadable, detail);
        }
    }
    collected
}

fn receive(
    from: File,
    wanted: &Collect,
    sink: &mut Sink,
    collected: &mut Collected,
) -> io::Result<()> {
    let mut contents = from.try_clone()?;
    let mut from = BufReader::new(from);
    let mut left = wanted.size.0;
    // With the one that says how many are not listed. What it is said of is kept in memory.
    let most = wanted.files.saturating_add(LISTED as u64 + 1);
    for _ in 0..=most {
        match entry(&mut from)? {
            Entry::End => return Ok(()),
            Entry::Skipped(skipped) => collected.skipped.push(skipped),
            Entry::File { path, size, mode, modified } => {
                let path = PathBuf::from(std::ffi::OsString::from_vec(path));
                let at = from.stream_position()?;
                let fits = (collected.artifacts.len() as u64) < wanted.files
                    && size <= wanted.file_size.0
                    && size <= left;
                if !fits {
                    break;
                }
                left -= size;
                contents.seek(SeekFrom::Start(at))?;
                match sink.put(&path, contents.try_clone()?, size, mode & 0o777, modified) {
                    Ok(data) => {
                        collected.artifacts.push(Artifact::new(path, size, mode & 0o777, data));
                    }
                    Err(NotPut { reason, detail }) => collected.skip(path, reason, detail),
                }
                // Both have one position: what was read ahead is forgotten by this.
                from.seek(SeekFrom::Start(at.saturating_add(size)))?;
            }
        }
    }
    Err(io::Error::other("more came than was asked for"))
}

fn entry(from: &mut impl Read) -> io::Result<Entry> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = usize::try_from(u32::from_le_bytes(len)).map_err(io::Error::other)?;
    if len > LONGEST {
        return Err(io::Error::other("an entry is too long"));
    }
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(entries: &[Entry], files: u64) -> Collected {
        let mut line = Line(BufWriter::new(tempfile::tempfile().unwrap()));
        entries.iter().chain([&Entry::End]).for_each(|entry| line.entry(entry).unwrap());
        let mut file = line.0.into_inner().unwrap();
        file.rewind().unwrap();
        let wanted = Collect { paths: vec!["out".to_owned()], files, ..Collect::default() };
        deliver(file, &wanted, Sink::Report)
    }

    fn broke_off(collected: &Collected) -> bool {
        collected
            .skipped
            .last()
            .is_some_and(|last| last.detail.contains("more came than was asked"))
    }

    /// A container's init lists no more; another program that has its output may write what it likes.
    #[test]
    fn no_more_is_listed_than_whoever_collects_lists() {
        let skipped = |count| -> Vec<_> {
            let one = || Skipped::new("x".into(), SkippedFor::Fifo, "a pipe");
            (0..count).map(|_| Entry::Skipped(one())).collect()
        };
        let honest = delivered(&skipped(LISTED + 1), 0);
        assert_eq!((honest.skipped.len(), broke_off(&honest)), (LISTED + 1, false));
        let more = delivered(&skipped(3 * LISTED), 0);
        assert_eq!((more.skipped.len(), broke_off(&more)), (LISTED + 3, true));
    }

    #[test]
    fn no_more_files_are_taken_than_were_asked_for() {
        let files = |names: &[&str]| -> Vec<_> {
            let file = |name: &&str| Entry::File {
                path: name.as_bytes().to_vec(),
                size: 0,
                mode: 0,
                modified: 0,
            };
            names.iter().map(file).collect()
        };
        let honest = delivered(&files(&["a", "b"]), 2);
        assert_eq!((honest.artifacts.len(), honest.skipped.len()), (2, 0));
        let more = delivered(&files(&["a", "b", "c"]), 2);
        assert_eq!((more.artifacts.len(), broke_off(&more)), (2, true));
    }
}
