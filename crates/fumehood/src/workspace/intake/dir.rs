//! Directories and files of the host.
//!
//! What is in a directory may have been put there by somebody else, and may change while it is
//! read. So nothing is looked up by more than one name at a time, no link is followed, and what was
//! opened is judged after it was opened.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat,
    statat,
};
use rustix::io::Errno;

use super::lower::Lower;
use super::{Refusal, unreadable};
use crate::workspace::beneath::names;
use crate::workspace::glob::Glob;

/// Copies what is in a directory, which may itself be reached through a link: the caller named it.
pub(super) fn copy<W: Write>(
    path: &Path,
    exclude: &[String],
    lower: &mut Lower<W>,
) -> Result<(), Refusal> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, path, flags, Mode::empty());
    let dir = dir.map_err(|errno| Refusal::Source(unreadable(errno)))?;
    let mut walk = Walk { exclude: rules(exclude)?, lower };
    walk.dir(&dir, &mut Vec::new())
}

/// Copies one file, which may be reached through a link.
pub(super) fn copy_file<W: Write>(
    path: &Path,
    name: &[u8],
    lower: &mut Lower<W>,
) -> Result<(), Refusal> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty());
    let file = file.map_err(|errno| Refusal::Source(unreadable(errno)))?;
    let stat = fstat(&file).map_err(|errno| Refusal::Source(unreadable(errno)))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Refusal::Source("is not a regular file".to_owned()));
    }
    pour(name, file, &stat, lower)
}

/// A glob, and whether it is about whole paths or about names.
type Rule = (Glob, bool);

fn rules(exclude: &[String]) -> Result<Vec<Rule>, Refusal> {
    let rule = |text: &String| {
        let glob = Glob::parse(text.as_bytes()).map_err(|bad| Refusal::Source(bad.to_string()))?;
        Ok((glob, text.trim_end_matches('/').contains('/')))
    };
    exclude.iter().map(rule).collect()
}

struct Walk<'a, W: Write> {
    exclude: Vec<Rule>,
    lower: &'a mut Lower<W>,
}

impl<W: Write> Walk<'_, W> {
    fn dir(&mut self, dir: &OwnedFd, path: &mut Vec<u8>) -> Result<(), Refusal> {
        let (names, _) = names(dir, usize::MAX).map_err(|errno| refused(path, errno))?;
        for name in names {
            let len = path.len();
            if len > 0 {
                path.push(b'/');
            }
            path.extend(name.to_bytes());
            if !self.excludes(path, name.to_bytes()) {
                self.entry(dir.as_fd(), &name, path)?;
            }
            path.truncate(len);
        }
        Ok(())
    }

    fn excludes(&self, path: &[u8], name: &[u8]) -> bool {
        let fits = |(glob, whole): &Rule| glob.fits(if *whole { path } else { name });
        self.exclude.iter().any(fits)
    }

    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        path: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|errno| refused(path, errno))?;
        let hint = "; leave it out with exclude";
        let refuse = |what: &str| Err(Refusal::entry(path, format!("{what}{hint}")));
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let below = open(dir, name, flags).map_err(|errno| refused(path, errno))?;
                self.lower.dir(path, stat.st_mode & 0o777)?;
                self.dir(&below, path)
            }
            FileType::RegularFile => {
                let file = open(dir, name, OFlags::RDONLY).map_err(|errno| refused(path, errno))?;
                let stat = fstat(&file).map_err(|errno| refused(path, errno))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return refuse("became something else while it was looked at");
                }
                pour(path, file, &stat, self.lower)
            }
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new());
                let target = target.map_err(|errno| refused(path, errno))?;
                let linked = self.lower.symlink(path, target.to_bytes());
                linked.map_err(|refusal| with_hint(refusal, hint))
            }
            FileType::Fifo => refuse("is a named pipe"),
            FileType::Socket => refuse("is a socket"),
            _ => refuse("is a device"),
        }
    }
}

fn with_hint(refusal: Refusal, hint: &str) -> Refusal {
    match refusal {
        Refusal::Entry { name, problem } => Refusal::Entry { name, problem: problem + hint },
        other => other,
    }
}

fn refused(path: &[u8], errno: Errno) -> Refusal {
    let path = if path.is_empty() { b"." } else { path };
    match errno {
        Errno::LOOP | Errno::NXIO => {
            Refusal::entry(path, "became something else while it was looked at")
        }
        _ => Refusal::entry(path, unreadable(errno)),
    }
}

/// Opens one name. Without `O_NONBLOCK` a named pipe that was put there a moment ago would hang us.
fn open(dir: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(dir, name, flags, Mode::empty(), resolve)
}

fn pour<W: Write>(
    path: &[u8],
    file: OwnedFd,
    stat: &Stat,
    lower: &mut Lower<W>,
) -> Result<(), Refusal> {
    if stat.st_mode & 0o6000 != 0 {
        let problem = "is set-user-id or set-group-id; leave it out with exclude";
        return Err(Refusal::entry(path, problem));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    lower.file(path, stat.st_mode & 0o777, stat.st_mtime, size, &mut File::from(file))
}
