//! Layers onto a file system, where nothing in them leads out of it.
//!
//! Every path is resolved by the kernel below the root (`openat2(2)`): a link in a layer, however
//! absolute, leads to something in the image. What would give privileges is not made: devices, set-id
//! bits, extended attributes, owners.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, fchmod,
    futimens, linkat, mkdirat, openat, openat2, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::tar::{Entry, Kind};

/// How many directories a file may be in.
const DEEPEST: usize = 256;

/// In front of the name of something that a layer takes away.
const WHITEOUT: &[u8] = b".wh.";
/// That of a directory of which nothing below shows through.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Bookkeeping of a file system that is no more.
const AUFS: &[u8] = b".wh..wh.";

/// A file system that layers are unpacked to.
#[derive(Debug)]
pub(super) struct Unpacker {
    root: OwnedFd,
    /// Where the root is, as the kernel calls it.
    real: PathBuf,
    /// What the present layer made.
    made: HashSet<PathBuf>,
    /// The directory of the entry before: most have the same.
    last: Option<(PathBuf, PathBuf, OwnedFd)>,
    entries_left: u64,
    pub(super) entries: u64,
    pub(super) size: u64,
}

impl Unpacker {
    pub(super) fn new(root: &Path, most_entries: u64) -> io::Result<Self> {
        let root = openat(CWD, root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let real = fs::read_link(proc_path(&root))?;
        Ok(Self {
            root,
            real,
            made: HashSet::new(),
            last: None,
            entries_left: most_entries,
            entries: 0,
            size: 0,
        })
    }

    /// Begins the next layer: what is there is below it.
    pub(super) fn next_layer(&mut self) {
        self.made.clear();
    }

    /// Makes one entry of a layer.
    pub(super) fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> io::Result<()> {
        self.count()?;
        let path = normal(&entry.path)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The root itself: its mode is ours to choose.
            return if entry.kind == Kind::Directory { Ok(()) } else { Err(Errno::ISDIR.into()) };
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        let (at, dir) = self.parent(parent)?;
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.whiteout(&at, &dir, &name, OsStr::from_bytes(hidden));
        }
        let path = at.join(&name);
        match &entry.kind {
            Kind::Directory => self.directory(&dir, &name, entry)?,
            Kind::File => self.file(&dir, &name, entry, data)?,
            Kind::Symlink(target) => {
                self.clear(&dir, &name)?;
                symlinkat(OsStr::from_bytes(target), &dir, &name)?;
            }
            Kind::HardLink(target) => self.hard_link(&dir, &name, target)?,
            // The sandbox has devices of its own, and a FIFO in an image serves nobody.
            Kind::Special => return Ok(()),
        }
        self.entries += 1;
        self.made.insert(path);
        Ok(())
    }

    fn count(&mut self) -> io::Result<()> {
        let left = self.entries_left.checked_sub(1);
        self.entries_left = left.ok_or_else(|| wrong("is one entry more than the limit"))?;
        Ok(())
    }

    fn directory(&mut self, dir: &OwnedFd, name: &OsStr, entry: &Entry) -> io::Result<()> {
        if kind_at(dir, name)? != Some(FileType::Directory) {
            self.clear(dir, name)?;
            mkdirat(dir, name, Mode::RWXU)?;
        }
        let made = openat(dir, name, NOFOLLOW | OFlags::DIRECTORY, Mode::empty())?;
        // Its owner, who is whoever imports it, must be able to remove what is in it.
        Ok(fchmod(&made, mode(entry.mode) | Mode::RWXU)?)
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        entry: &Entry,
        data: &mut dyn Read,
    ) -> io::Result<()> {
        self.clear(dir, name)?;
        let flags = NOFOLLOW | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = File::from(openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?);
        let size = io::copy(data, &mut file)?;
        if size != entry.size {
            return Err(wrong("is shorter than it says"));
        }
        file.flush()?;
        self.size += size;
        fchmod(&file, mode(entry.mode) | Mode::RUSR)?;
        // Python and make compare times of files.
        let seconds = i64::try_from(entry.mtime).unwrap_or(0);
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        Ok(futimens(&file, &Timestamps { last_access: time, last_modification: time })?)
    }

    fn hard_link(&mut self, dir: &OwnedFd, name: &OsStr, target: &[u8]) -> io::Result<()> {
        let target = normal(target)?;
        let from = target.file_name().ok_or_else(|| wrong("is a link to the root"))?.to_owned();
        let (_, from_dir) = self.parent(target.parent().unwrap_or(Path::new("")))?;
        match kind_at(&from_dir, &from)? {
            Some(FileType::RegularFile | FileType::Symlink) => {}
            Some(_) => return Err(wrong("is a link to something that is no file")),
            None => return Err(wrong("is a link to something that is not there")),
        }
        let same = |a: &OwnedFd, b: &OwnedFd| {
            let id = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
            Ok::<_, Errno>(id(a)? == id(b)?)
        };
        if name == from && same(dir, &from_dir)? {
            return Ok(());
        }
        self.clear(dir, name)?;
        Ok(linkat(&from_dir, &from, dir, name, AtFlags::empty())?)
    }

    /// Takes away what the layers below have, and leaves what this one made.
    fn whiteout(
        &mut self,
        at: &Path,
        dir: &OwnedFd,
        name: &OsStr,
        hidden: &OsStr,
    ) -> io::Result<()> {
        self.last = None;
        if name.as_bytes() == OPAQUE {
            for (child, _) in children(dir.as_fd())? {
                self.remove_lower(dir, &child, &at.join(&child), 0)?;
            }
            return Ok(());
        }
        if name.as_bytes().starts_with(AUFS) {
            return Ok(());
        }
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(wrong("takes away something without a name"));
        }
        self.remove_lower(dir, hidden, &at.join(hidden), 0)
    }

    fn remove_lower(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &Path,
        depth: usize,
    ) -> io::Result<()> {
        match kind_at(dir, name)? {
            None => Ok(()),
            Some(FileType::Directory) if depth <= DEEPEST => {
                let below = openat(dir, name, NOFOLLOW | OFlags::DIRECTORY, Mode::empty())?;
                for (child, _) in children(below.as_fd())? {
                    self.remove_lower(&below, &child, &path.join(&child), depth + 1)?;
                }
                if self.made.contains(path) {
                    return Ok(());
                }
                match unlinkat(dir, name, AtFlags::REMOVEDIR) {
                    // Something in it is of this layer.
                    Err(Errno::NOTEMPTY) => Ok(()),
                    other => Ok(other?),
                }
            }
            Some(FileType::Directory) => Err(wrong("lies too deep")),
            Some(_) if self.made.contains(path) => Ok(()),
            Some(_) => Ok(unlinkat(dir, name, AtFlags::empty())?),
        }
    }

    /// Makes room for something of this name.
    fn clear(&mut self, dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
        if kind_at(dir, name)?.is_some() {
            self.last = None;
            remove(dir, name, 0)?;
        }
        Ok(())
    }

    /// Opens the directory that something is to be in, and says where it really is. What is missing
    /// on the way is made.
    fn parent(&mut self, path: &Path) -> io::Result<(PathBuf, OwnedFd)> {
        if let Some((asked, at, dir)) = &self.last
            && asked == path
        {
            return Ok((at.clone(), dir.try_clone()?));
        }
        let (at, dir) = match self.resolve(path, ResolveFlags::NO_SYMLINKS) {
            Ok(dir) => (path.to_owned(), dir),
            Err(Errno::NOENT) => self.make_parents(path)?,
            Err(Errno::LOOP) => match self.through_links(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_parents(path)?,
                found => found?,
            },
            Err(error) => return Err(error.into()),
        };
        self.last = Some((path.to_owned(), at.clone(), dir.try_clone()?));
        Ok((at, dir))
    }

    fn resolve(&self, path: &Path, more: ResolveFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.root, path, flags, Mode::empty(), resolve | more)
    }

    /// A layer may name a directory through a link of a layer below: `lib/x` where `lib` is a link to
    /// `usr/lib`. The kernel takes the root of the image for `/`.
    fn through_links(&self, path: &Path) -> io::Result<(PathBuf, OwnedFd)> {
        let dir = self.resolve(path, ResolveFlags::empty())?;
        let real = fs::read_link(proc_path(&dir))?;
        let at = real.strip_prefix(&self.real).map_err(|_| wrong("leads out of the image"))?;
        if at.components().count() > DEEPEST {
            return Err(wrong("lies too deep"));
        }
        Ok((at.to_owned(), dir))
    }

    fn make_parents(&mut self, path: &Path) -> io::Result<(PathBuf, OwnedFd)> {
        let (Some(name), Some(above)) = (path.file_name(), path.parent()) else {
            return Err(Errno::NOENT.into());
        };
        let (at, dir) = self.parent(above)?;
        let is_new = match mkdirat(&dir, name, Mode::RWXU) {
            Err(Errno::EXIST) => false,
            made => made.map(|()| true)?,
        };
        // A link that leads nowhere is there, and no directory.
        let made = openat(&dir, name, NOFOLLOW | OFlags::DIRECTORY, Mode::empty())?;
        if is_new {
            // Whatever the importer's own umask is.
            fchmod(&made, Mode::from(0o755))?;
        }
        Ok((at.join(name), made))
    }

    /// Makes a directory and those above it, where there is nothing yet.
    pub(super) fn ensure_directory(&mut self, path: &Path) -> io::Result<()> {
        let path = normal(path.as_os_str().as_bytes())?;
        self.parent(&path).map(drop)
    }

    /// Makes an empty file where there is none, or a link: the sandbox puts a file of its own there.
    pub(super) fn ensure_file(&mut self, path: &Path) -> io::Result<()> {
        let path = normal(path.as_os_str().as_bytes())?;
        let Some(name) = path.file_name() else { return Ok(()) };
        let (_, dir) = self.parent(path.parent().unwrap_or(Path::new("")))?;
        match kind_at(&dir, name)? {
            Some(FileType::Symlink) => remove(&dir, name, 0)?,
            Some(_) => return Ok(()),
            None => {}
        }
        let flags = NOFOLLOW | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        Ok(fchmod(openat(&dir, name, flags, Mode::RUSR)?, Mode::from(0o644))?)
    }
}

const NOFOLLOW: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// A path below the root, without the ways of writing that depend on what is there.
fn normal(path: &[u8]) -> io::Result<PathBuf> {
    let mut normal = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) if name.len() > 255 => {
                return Err(wrong("has too long a name"));
            }
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => return Err(wrong("has .. in its path")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if normal.components().count() > DEEPEST {
        return Err(wrong("lies too deep"));
    }
    Ok(normal)
}

/// Files in a store have no owner of their own, so what their owner may read or execute, everybody
/// may. That is what an ordinary user's program, which is the owner of all, sees anyway; and root's,
/// which is nobody, sees the same.
fn mode(bits: u32) -> Mode {
    let all = bits & 0o777;
    let owner = all >> 6 & 0o5;
    Mode::from_raw_mode(all & 0o755 | owner | owner << 3)
}

fn kind_at(dir: &OwnedFd, name: &OsStr) -> io::Result<Option<FileType>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn children(dir: impl AsFd) -> io::Result<Vec<(std::ffi::OsString, FileType)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

fn remove(dir: &OwnedFd, name: &OsStr, depth: usize) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(wrong("lies too deep"));
    }
    match unlinkat(dir, name, AtFlags::empty()) {
        // Linux says EISDIR, POSIX EPERM (unlink(2)).
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return Ok(other?),
    }
    let below = openat(dir, name, NOFOLLOW | OFlags::DIRECTORY, Mode::empty())?;
    for (child, _) in children(below.as_fd())? {
        remove(&below, &child, depth + 1)?;
    }
    Ok(unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

fn wrong(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}
