//! Where artifacts go: the report, a directory, an archive.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    CWD, Dir, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_NOW, fchmod, futimens,
    mkdirat, openat, openat2,
};
use rustix::io::Errno;

use super::pass_on::Line;
use super::refused;
use super::tar::Tar;
use crate::Result;
use crate::job::files::CollectTo;
use crate::report::SkippedFor;

/// An open destination.
#[derive(Debug)]
pub(crate) enum Sink {
    Report,
    Dir(Target),
    Tar(Tar),
    /// To another process, which delivers.
    Line(Line),
}

/// A directory, and the directory in it that the last file went to.
#[derive(Debug)]
pub(crate) struct Target {
    dir: OwnedFd,
    near: Option<(PathBuf, OwnedFd)>,
}

/// Why a file did not get to its destination.
#[derive(Debug)]
pub(super) struct NotPut {
    pub(super) reason: SkippedFor,
    pub(super) detail: String,
}

impl NotPut {
    fn unwritable(error: impl Into<io::Error>) -> Self {
        let detail = format!("cannot be written: {}", error.into());
        Self { reason: SkippedFor::Unwritable, detail }
    }

    fn unreadable(detail: impl Into<String>) -> Self {
        Self { reason: SkippedFor::Unreadable, detail: detail.into() }
    }
}

impl Sink {
    /// Opens a destination, before anything runs.
    ///
    /// # Errors
    /// It cannot be written, or is a directory with something in it.
    pub(super) fn open(to: &CollectTo) -> Result<Self> {
        Ok(match to {
            CollectTo::Report => Self::Report,
            CollectTo::Dir(path) => Self::Dir(Target::open(path)?),
            CollectTo::Tar(path) => {
                let made = Tar::create(path);
                Self::Tar(made.map_err(|error| {
                    refused("collect.to.tar", path, format!("cannot be written: {error}"))
                })?)
            }
        })
    }

    /// Takes a file of that size; its content, where that is kept.
    pub(super) fn put(
        &mut self,
        path: &Path,
        mut file: File,
        size: u64,
        mode: u32,
        modified: i64,
    ) -> std::result::Result<Option<Vec<u8>>, NotPut> {
        match self {
            Self::Report => keep(&mut file, size).map(Some),
            Self::Dir(target) => target.put(path, &mut file, size, mode, modified).map(|()| None),
            Self::Line(line) => {
                let passed_on = line.put(path, &mut file, size, mode, modified);
                match passed_on.map_err(NotPut::unwritable)? {
                    true => Ok(None),
                    false => Err(NotPut::unreadable(SHORTER)),
                }
            }
            Self::Tar(tar) => {
                let name = relative(path);
                let written = tar.put(name.as_os_str().as_bytes(), &mut file, size, mode, modified);
                match written.map_err(NotPut::unwritable)? {
                    true => Ok(None),
                    false => Err(NotPut::unreadable(SHORTER)),
                }
            }
        }
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Tar(tar) => tar.finish(),
            Self::Line(line) => line.finish(),
            Self::Report | Self::Dir(_) => Ok(()),
        }
    }
}

const SHORTER: &str = "became shorter while it was read";

fn keep(file: &mut File, size: u64) -> std::result::Result<Vec<u8>, NotPut> {
    let mut data = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    let read = file.take(size).read_to_end(&mut data);
    match read.map_err(|error| NotPut::unreadable(error.to_string()))? {
        read if read as u64 == size => Ok(data),
        _ => Err(NotPut::unreadable(SHORTER)),
    }
}

/// A path below a destination: one that is absolute inside becomes relative.
fn relative(path: &Path) -> PathBuf {
    path.components().filter(|component| matches!(component, Component::Normal(_))).collect()
}

impl Target {
    fn open(path: &Path) -> Result<Self> {
        let field = "collect.to.dir";
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(refused(field, path, format!("cannot be made: {error}")));
            }
            _ => {}
        }
        let unusable = |errno: Errno| refused(field, path, format!("cannot be used: {errno}"));
        let dir = openat(CWD, path, flags, Mode::empty()).map_err(unusable)?;
        let found = Dir::read_from(&dir).map_err(unusable)?.flatten();
        let found = found.filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."));
        match found.count() {
            0 => Ok(Self { dir, near: None }),
            count => {
                let problem =
                    format!("must be empty, so that all in it is from this run; {count} found");
                Err(refused(field, path, problem))
            }
        }
    }

    fn put(
        &mut self,
        path: &Path,
        file: &mut File,
        size: u64,
        mode: u32,
        modified: i64,
    ) -> std::result::Result<(), NotPut> {
        let path = relative(path);
        let name = path.file_name().unwrap_or_default();
        let above = path.parent().unwrap_or(Path::new(""));
        let dir = self.directory(above).map_err(NotPut::unwritable)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let made = beneath(dir, name, flags, Mode::RUSR | Mode::WUSR);
        let mut made = match made {
            Ok(made) => File::from(made),
            Err(Errno::EXIST) => {
                let detail = "another artifact has its name".to_owned();
                return Err(NotPut { reason: SkippedFor::Name, detail });
            }
            Err(errno) => return Err(NotPut::unwritable(errno)),
        };
        // Between two files the kernel copies, and holes cost no memory of ours.
        let copied = io::copy(&mut file.take(size), &mut made).map_err(NotPut::unwritable)?;
        stamp(&made, mode, modified).map_err(NotPut::unwritable)?;
        if copied == size { Ok(()) } else { Err(NotPut::unreadable(SHORTER)) }
    }

    /// A directory below the destination, made name by name.
    fn directory(&mut self, path: &Path) -> std::result::Result<BorrowedFd<'_>, Errno> {
        if path.as_os_str().is_empty() {
            return Ok(self.dir.as_fd());
        }
        if self.near.as_ref().is_none_or(|(near, _)| near != path) {
            let mut here: Option<OwnedFd> = None;
            for name in path {
                let parent = here.as_ref().map_or(self.dir.as_fd(), AsFd::as_fd);
                match mkdirat(parent, name, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                here = Some(beneath(parent, name, flags, Mode::empty())?);
            }
            self.near = here.map(|dir| (path.to_path_buf(), dir));
        }
        Ok(self.near.as_ref().map_or(self.dir.as_fd(), |(_, dir)| dir.as_fd()))
    }
}

fn beneath(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    flags: OFlags,
    mode: Mode,
) -> std::result::Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode, resolve)
}

/// Permissions as inside, but that the owner can read and nobody else can write; time as inside.
fn stamp(file: &File, mode: u32, modified: i64) -> io::Result<()> {
    fchmod(file, Mode::from_raw_mode(mode & 0o755 | 0o400))?;
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let modified = Timespec { tv_sec: modified, tv_nsec: 0 };
    futimens(file, &Timestamps { last_access: now, last_modification: modified })?;
    Ok(())
}

/// Copies exactly so many bytes; what is missing is made up by zeros. False if something was.
pub(super) fn pour(file: &mut File, to: &mut impl Write, size: u64) -> io::Result<bool> {
    let copied = io::copy(&mut file.take(size), to)?;
    io::copy(&mut io::repeat(0).take(size - copied), to)?;
    Ok(copied == size)
}
