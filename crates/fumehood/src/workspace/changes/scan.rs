//! Reads an upper layer against the directory of the host below it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat, fgetxattr, fstat};
use rustix::io::{Errno, Result};

use super::at;
use super::base::Since;
use super::types::{ChangeKind, FileKind};

/// How many changes are looked at. A layer in memory holds as many as the limit of inodes, which is
/// 65536 unless the job says otherwise.
const MOST: usize = 1 << 18;
/// How deep. The kernel takes no longer paths than 4096 bytes, but directories can be deeper.
const DEEPEST: usize = 128;
/// Bytes that all paths together may take.
const MOST_PATHS: usize = 64 << 20;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) found: Vec<Found>,
    /// Whether that is everything.
    pub(super) complete: bool,
    /// Directories of the layer that had to be opened first, with the modes that they had.
    pub(super) opened: Vec<(PathBuf, u32)>,
}

/// One changed name.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) kind: ChangeKind,
    /// What the host has there.
    pub(super) host: Option<Node>,
    /// What the upper layer has there, unless that says that it is gone.
    pub(super) upper: Option<Node>,
    /// Whether the host's was changed since the cell was built.
    pub(super) conflict: bool,
}

/// What stands at a name.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: FileKind,
    pub(super) stat: Stat,
    /// What it says, if it is a link.
    pub(super) link: Option<PathBuf>,
}

impl Node {
    /// Permission bits.
    pub(super) fn mode(&self) -> u32 {
        self.stat.st_mode & 0o7777
    }

    fn read(dir: impl AsFd, name: &OsStr) -> Result<Option<Self>> {
        let Some(stat) = at::stat(&dir, name)? else { return Ok(None) };
        let kind = kind(&stat);
        let link = if kind == FileKind::Symlink { Some(at::link(dir, name)?) } else { None };
        Ok(Some(Self { kind, stat, link }))
    }
}

pub(super) fn kind(stat: &Stat) -> FileKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        _ => FileKind::Device,
    }
}

/// Compares an upper layer with the host's directory.
pub(super) fn scan(upper: &OwnedFd, host: &OwnedFd, since: Since) -> Result<Scan> {
    let scan = Scan { complete: true, ..Scan::default() };
    let mut scanner = Scanner { since, scan, paths: 0 };
    scanner.root(upper, host)?;
    let path = Path::new("");
    let level = Level { upper, host: Some(host.as_fd()), replaced: false, path, depth: 0 };
    if scanner.directory(&level).is_err() {
        // Something cannot be looked at: what was found stands, and is not all.
        scanner.scan.complete = false;
    }
    Ok(scanner.scan)
}

struct Scanner {
    since: Since,
    scan: Scan,
    paths: usize,
}

impl Scanner {
    fn root(&mut self, upper: &OwnedFd, host: &OwnedFd) -> Result<()> {
        let node = |stat| Node { kind: FileKind::Directory, stat, link: None };
        let (above, below) = (node(fstat(upper)?), node(fstat(host)?));
        if modes_differ(&below, &above) {
            self.note(Path::new("."), ChangeKind::Mode, Some(below), Some(above));
        }
        // The scan itself reads the names in it.
        let mode = fstat(upper)?.st_mode & 0o7777;
        if mode & 0o700 != 0o700 {
            self.scan.opened.push((PathBuf::new(), mode));
            at::change_mode(upper.as_fd(), mode | 0o700)?;
        }
        Ok(())
    }

    /// Whether there is room for one more change.
    fn note(&mut self, path: &Path, kind: ChangeKind, host: Option<Node>, upper: Option<Node>) {
        self.paths += path.as_os_str().len();
        if self.scan.found.len() >= MOST || self.paths > MOST_PATHS {
            self.scan.complete = false;
            return;
        }
        let conflict = host.as_ref().is_some_and(|node| self.since.has_changed(&node.stat));
        self.scan.found.push(Found { path: path.into(), kind, host, upper, conflict });
    }

    /// Looks at one directory of the layer.
    fn directory(&mut self, level: &Level<'_>) -> Result<()> {
        let (names, all) = at::names(level.upper, MOST)?;
        self.scan.complete &= all;
        let mut gone = match level.host {
            Some(host) if level.replaced => self.host_names(host)?,
            _ => Vec::new(),
        };
        gone.retain(|name| names.binary_search(name).is_err());
        let mut both: Vec<_> = names.iter().chain(&gone).collect();
        both.sort_unstable();
        for name in both {
            if !self.scan.complete {
                return Ok(());
            }
            let below = level.host.map_or(Ok(None), |host| Node::read(host, name))?;
            match Node::read(level.upper, name)?.filter(|node| !is_whiteout(node)) {
                Some(node) => self.name(level, name, &node, below)?,
                None if below.is_some() => {
                    self.note(&level.path.join(name), ChangeKind::Deleted, below, None);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Opens a directory of the layer in the same way as [`open_file`] a file. It stays open to those who
    /// look for what is in it later.
    fn open_directory(&mut self, above: &OwnedFd, path: &Path, node: &Node) -> Result<OwnedFd> {
        if node.mode() & 0o700 != 0o700 {
            self.scan.opened.push((path.into(), node.mode()));
            at::change_mode(at::place(above, name(path))?.as_fd(), node.mode() | 0o700)?;
        }
        at::directory(above, name(path))
    }

    fn host_names(&mut self, host: BorrowedFd<'_>) -> Result<Vec<OsString>> {
        let (names, all) = at::names(host, MOST)?;
        self.scan.complete &= all;
        Ok(names)
    }

    fn name(
        &mut self,
        level: &Level<'_>,
        name: &OsStr,
        node: &Node,
        below: Option<Node>,
    ) -> Result<()> {
        let path = level.path.join(name);
        let merges = below.as_ref().is_some_and(|below| below.kind == FileKind::Directory);
        let change = match (&below, level.host) {
            (None, _) | (_, None) => Some(ChangeKind::Added),
            (Some(below), Some(host)) => compare((level.upper, node), (host, below), name)?,
        };
        if let Some(change) = change {
            self.note(&path, change, below, Some(node.clone()));
        }
        if node.kind != FileKind::Directory {
            return Ok(());
        }
        if level.depth >= DEEPEST {
            self.scan.complete = false;
            return Ok(());
        }
        let inner = self.open_directory(level.upper, &path, node)?;
        let host = level.host.filter(|_| merges).map(|host| at::directory(host, name));
        let host = host.transpose()?;
        self.directory(&Level {
            upper: &inner,
            host: host.as_ref().map(AsFd::as_fd),
            replaced: level.replaced || is_opaque(&inner)?,
            path: &path,
            depth: level.depth + 1,
        })
    }
}

/// One directory of the walk.
struct Level<'a> {
    upper: &'a OwnedFd,
    /// What the host has in its place.
    host: Option<BorrowedFd<'a>>,
    /// Whether what the host has in it is all gone unless it is in the layer.
    replaced: bool,
    path: &'a Path,
    depth: usize,
}

/// A device 0:0 stands for something that was deleted (overlayfs).
fn is_whiteout(node: &Node) -> bool {
    FileType::from_raw_mode(node.stat.st_mode) == FileType::CharacterDevice
        && node.stat.st_rdev == 0
}

/// Whether a directory of the layer hides what the host has in its place. The program cannot set
/// this: the overlay keeps attributes of that name to itself.
fn is_opaque(dir: &OwnedFd) -> Result<bool> {
    let mut value = [0; 8];
    match fgetxattr(dir, "user.overlay.opaque", &mut value[..]) {
        Ok(len) => Ok(value.get(..len) == Some(b"y")),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Opens a file of the layer even if the program took everybody's rights on it: the layer is ours.
/// Its mode has been read before.
pub(super) fn open_file(upper: impl AsFd, name: &OsStr, node: &Node) -> Result<std::fs::File> {
    if node.mode() & 0o400 != 0 {
        return at::file(upper, name);
    }
    let place = at::place(&upper, name)?;
    at::change_mode(place.as_fd(), node.mode() | 0o400)?;
    let file = at::file(upper, name);
    at::change_mode(place.as_fd(), node.mode())?;
    file
}

fn modes_differ(host: &Node, upper: &Node) -> bool {
    if host.kind == FileKind::Directory {
        // Whether a directory hands its group on is not kept in the root of a layer.
        let added = upper.mode() & !host.mode() & 0o6000;
        return added != 0 || (host.mode() ^ upper.mode()) & 0o1777 != 0;
    }
    host.mode() != upper.mode()
}

/// What happened to a name that both have.
fn compare(
    (upper, above): (&OwnedFd, &Node),
    (host, below): (BorrowedFd<'_>, &Node),
    name: &OsStr,
) -> Result<Option<ChangeKind>> {
    if above.kind != below.kind {
        return Ok(Some(ChangeKind::Type));
    }
    let same = match above.kind {
        FileKind::File if above.stat.st_size == below.stat.st_size => {
            same_content(open_file(upper, name, above)?, host, name)?
        }
        FileKind::File => false,
        FileKind::Symlink => return Ok((above.link != below.link).then_some(ChangeKind::Modified)),
        FileKind::Device => above.stat.st_rdev == below.stat.st_rdev,
        _ => true,
    };
    if !same {
        return Ok(Some(ChangeKind::Modified));
    }
    Ok(modes_differ(below, above).then_some(ChangeKind::Mode))
}

/// A host's file that cannot be read now was changed for all that is known.
fn same_content(upper: std::fs::File, host: BorrowedFd<'_>, name: &OsStr) -> Result<bool> {
    let Ok(host) = at::file(host, name) else { return Ok(false) };
    match equal(upper, host) {
        Ok(equal) => Ok(equal),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}

/// Whether two files hold the same, read in pieces.
fn equal(mut one: std::fs::File, mut other: std::fs::File) -> io::Result<bool> {
    let mut buffers = [vec![0; 64 << 10], vec![0; 64 << 10]];
    loop {
        let [first, second] = &mut buffers;
        let len = fill(&mut one, first)?;
        let same = len == fill(&mut other, second)? && first.get(..len) == second.get(..len);
        if !same || len == 0 {
            return Ok(same);
        }
    }
}

fn fill(file: &mut std::fs::File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(space) = buffer.get_mut(filled..).filter(|space| !space.is_empty()) {
        match file.read(space) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The name of a path's last part; `.` for the directory itself.
pub(super) fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_else(|| OsStr::from_bytes(b"."))
}

/// The directory that a path is in, below the root of the walk.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}
