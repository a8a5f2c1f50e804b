//! The root that a program sees: what is in it and where it comes from.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::own_root::OwnRoot;
use crate::job::{Access, Job, Mount, Tmpfs};
use crate::{Error, Limit, MountNote, Result};

/// One thing in the root. Paths are absolute, as the program sees them; the order is that in which
/// the things are made, parents before children.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entry {
    /// An empty directory.
    Dir {
        /// Where it is.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it is.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// A file that is made for the program.
    File {
        /// Where it is.
        path: PathBuf,
        /// What it holds.
        data: Vec<u8>,
    },
    /// A file or directory of the host.
    Bind {
        /// Where it is on the host.
        source: PathBuf,
        /// Where it is inside.
        target: PathBuf,
        /// What the program may do with it.
        access: Access,
        /// Whether it is a directory.
        directory: bool,
        /// Whether the program gets the rights of its owner, where the two are not the same.
        as_owner: bool,
    },
    /// A directory of the host, with the changes to it kept apart.
    Cow {
        /// Where it is on the host.
        source: PathBuf,
        /// Where it is inside.
        target: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Where on the host the changes are kept; in memory if nowhere.
        upper: Option<PathBuf>,
    },
    /// A device node of the host.
    Device {
        /// Where it is, on the host and inside.
        path: PathBuf,
    },
    /// A memory file system of the program's own.
    Tmpfs {
        /// Where it is.
        target: PathBuf,
        /// Its size in bytes; `None` for unlimited.
        size: Option<u64>,
        /// How many files and directories it holds; `None` for unlimited.
        inodes: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
    },
    /// The process file system, read-only.
    Proc,
    /// The pseudo-terminal file system.
    Devpts,
    /// A file that is made for the program and covers one of the root's.
    Cover {
        /// Where it is.
        path: PathBuf,
        /// What it holds.
        data: Vec<u8>,
    },
    /// A path that is hidden if it exists.
    Mask {
        /// Where it is.
        path: PathBuf,
        /// Whether it is a directory.
        directory: bool,
    },
}

/// Where a program can write of its own.
pub(crate) const WORKSPACE: &str = "/workspace";

/// Host files and directories below /etc that programs need: the dynamic linker's cache, Debian's
/// alternatives, certificates, time zone, and the configuration that toolchains link to from /usr.
const ETC: [&str; 17] = [
    "alternatives",
    "fonts",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "java-25-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "perl",
    "protocols",
    "python3",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
];

/// Files and directories of /proc that show the host rather than the sandbox. Those that only root
/// can read need no mask: the program is not root, and no capability of its user namespace opens
/// them.
const MASKED: [(&str, bool); 13] = [
    ("/proc/acpi", true),
    ("/proc/asound", true),
    ("/proc/bus", true),
    ("/proc/interrupts", false),
    ("/proc/kallsyms", false),
    ("/proc/kcore", false),
    ("/proc/key-users", false),
    ("/proc/keys", false),
    ("/proc/latency_stats", false),
    ("/proc/sched_debug", false),
    ("/proc/scsi", true),
    ("/proc/softirqs", false),
    ("/proc/timer_list", false),
];

/// The paths of [`MASKED`].
#[cfg(feature = "engine")]
pub(crate) fn masked() -> impl Iterator<Item = &'static str> {
    MASKED.into_iter().map(|(path, _)| path)
}

const DEVICES: [&str; 6] =
    ["/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"];

/// What masked directories and files show instead: nothing, and no device either.
pub(crate) const EMPTY_DIR: &str = "/dev/.masked-dir";
pub(crate) const EMPTY_FILE: &str = "/dev/.masked-file";

/// Where a file that covers another is before it does.
pub(crate) fn cover_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Path::new("/dev").join(format!(".cover-{name}"))
}

/// The whole root of a job on this host.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) root: Vec<Entry>,
    /// The index of the first entry that the job listed: all before it lie on the root itself, never
    /// below a tree of the host.
    pub(crate) listed_from: usize,
    /// What the caller should know of its mounts.
    pub(crate) notes: Vec<MountNote>,
}

pub(crate) fn layout(job: &Job, own: Option<&OwnRoot>, own_proc: bool) -> Result<Layout> {
    let mut root = Vec::with_capacity(80);
    if let Some(own) = own {
        super::own_root::entries(own, &mut root)?;
    } else {
        system_directories(&mut root);
        etc(job, &mut root);
    }
    devices(job, &mut root);
    proc(own_proc, &mut root);
    scratch(job, &mut root);
    if let Some(own) = own {
        super::own_root::etc(own, job, &mut root);
    }
    let mut layout = Layout { listed_from: root.len(), root, notes: Vec::new() };
    for listed in parents_first(job) {
        match listed {
            Listed::Mount(index, mount) => super::mounts::place(index, mount, &mut layout)?,
            Listed::Tmpfs(index, tmpfs) => own_tmpfs(job, index, tmpfs, &mut layout.root)?,
        }
    }
    working_directory(job, &mut layout.root)?;
    Ok(layout)
}

/// /usr, and what stands beside it: links into it on a merged system, directories on an older one.
fn system_directories(root: &mut Vec<Entry>) {
    dir(root, "/usr", 0o755);
    root.push(read_only("/usr", true));
    for name in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
        let path = Path::new(name);
        if let Ok(target) = fs::read_link(path) {
            root.push(Entry::Link { path: path.into(), target });
        } else if path.is_dir() {
            dir(root, name, 0o755);
            root.push(read_only(name, true));
        }
    }
}

fn etc(job: &Job, root: &mut Vec<Entry>) {
    dir(root, "/etc", 0o755);
    dir(root, "/etc/ssl", 0o755);
    for name in ETC {
        let path = Path::new("/etc").join(name);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let shown = bind(&path, &path, metadata.is_dir());
        root.push(match metadata.is_dir() {
            true => Entry::Dir { path, mode: 0o755 },
            false => Entry::File { path, data: Vec::new() },
        });
        root.push(shown);
    }
    for (path, text) in made_files(job) {
        root.push(Entry::File { path: PathBuf::from(path), data: text.into_bytes() });
    }
}

/// Files of /etc that describe the sandbox, not the host.
pub(super) fn made_files(job: &Job) -> Vec<(&'static str, String)> {
    let name = &job.hostname;
    let mut files = vec![
        (
            "/etc/passwd",
            "sandbox:x:1000:1000:sandbox:/tmp:/bin/sh\n\
             nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
                .to_owned(),
        ),
        ("/etc/group", "sandbox:x:1000:\nnogroup:x:65534:\n".to_owned()),
        ("/etc/hostname", format!("{name}\n")),
        ("/etc/hosts", format!("127.0.0.1 localhost {name}\n::1 localhost ip6-localhost\n")),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
    ];
    if job.network == crate::Network::Host
        && let Ok(resolver) = fs::read_to_string("/etc/resolv.conf")
    {
        files.push(("/etc/resolv.conf", resolver));
    }
    files
}

fn devices(job: &Job, root: &mut Vec<Entry>) {
    dir(root, "/dev", 0o755);
    for device in DEVICES {
        if Path::new(device).exists() {
            root.push(Entry::File { path: device.into(), data: Vec::new() });
            root.push(Entry::Device { path: device.into() });
        }
    }
    for (path, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ] {
        root.push(Entry::Link { path: path.into(), target: target.into() });
    }
    dir(root, "/dev/pts", 0o755);
    root.push(Entry::Devpts);
    dir(root, "/dev/shm", 0o755);
    root.push(tmpfs(job, "/dev/shm", job.limits.tmp()));
}

fn proc(own: bool, root: &mut Vec<Entry>) {
    dir(root, "/proc", 0o755);
    if !own {
        root.push(read_only("/proc", true));
        return;
    }
    dir(root, EMPTY_DIR, 0o555);
    root.push(Entry::File { path: EMPTY_FILE.into(), data: Vec::new() });
    root.push(Entry::Proc);
    for (path, directory) in MASKED {
        if fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0) {
            root.push(Entry::Mask { path: path.into(), directory });
        }
    }
}

fn scratch(job: &Job, root: &mut Vec<Entry>) {
    dir(root, "/tmp", 0o755);
    root.push(tmpfs(job, "/tmp", job.limits.tmp()));
    dir(root, WORKSPACE, 0o755);
    let workspace = Path::new(WORKSPACE);
    if !job.mounts.iter().any(|mount| mount.target == workspace && !mount.optional) {
        root.push(tmpfs(job, WORKSPACE, job.limits.workspace()));
    }
}

fn tmpfs(job: &Job, target: &str, size: Limit<crate::ByteSize>) -> Entry {
    Entry::Tmpfs {
        target: target.into(),
        size: size.finite().map(|size| size.0),
        inodes: job.limits.inodes().finite(),
        mode: if target == WORKSPACE { 0o755 } else { 0o1777 },
    }
}

pub(super) fn dir(root: &mut Vec<Entry>, path: &str, mode: u32) {
    root.push(Entry::Dir { path: path.into(), mode });
}

fn read_only(path: &str, directory: bool) -> Entry {
    bind(Path::new(path), Path::new(path), directory)
}

/// Shows something of the host, read-only.
pub(super) fn bind(source: &Path, target: &Path, directory: bool) -> Entry {
    let (source, target) = (source.into(), target.into());
    Entry::Bind { source, target, access: Access::ReadOnly, directory, as_owner: false }
}

/// Something that the job lists for its root, with its index.
enum Listed<'a> {
    Mount(usize, &'a Mount),
    Tmpfs(usize, &'a Tmpfs),
}

impl Listed<'_> {
    fn target(&self) -> &Path {
        match self {
            Self::Mount(_, mount) => &mount.target,
            Self::Tmpfs(_, tmpfs) => &tmpfs.target,
        }
    }
}

/// What the job lists, in an order in which a parent comes before what is mounted in it.
fn parents_first(job: &Job) -> Vec<Listed<'_>> {
    let mounts = job.mounts.iter().enumerate().map(|(index, mount)| Listed::Mount(index, mount));
    let tmpfs = job.tmpfs.iter().enumerate().map(|(index, tmpfs)| Listed::Tmpfs(index, tmpfs));
    let mut sorted: Vec<_> = mounts.chain(tmpfs).collect();
    sorted.sort_by(|a, b| a.target().components().cmp(b.target().components()));
    sorted
}

fn own_tmpfs(job: &Job, index: usize, own: &Tmpfs, root: &mut Vec<Entry>) -> Result<()> {
    let field = format!("tmpfs[{index}].target");
    super::mounts::mount_point(&field, &own.target, true, root)?;
    root.push(Entry::Tmpfs {
        target: own.target.clone(),
        size: own.size.unwrap_or_else(|| job.limits.tmp()).finite().map(|size| size.0),
        inodes: job.limits.inodes().finite(),
        mode: 0o1777,
    });
    Ok(())
}

/// The working directory must exist inside; below the program's own scratch it is made.
fn working_directory(job: &Job, root: &mut Vec<Entry>) -> Result<()> {
    match super::mounts::locate(root, &job.cwd) {
        super::mounts::Place::Directory => Ok(()),
        super::mounts::Place::Scratch => {
            let missing = job.cwd.ancestors().take_while(|dir| *dir != scratch_above(&job.cwd));
            let mut dirs: Vec<_> = missing.collect();
            dirs.reverse();
            let made = dirs.iter().map(|&path| Entry::Dir { path: path.into(), mode: 0o755 });
            root.extend(made);
            Ok(())
        }
        place => Err(Error::invalid("cwd", job.cwd.display(), place.why_not_a_directory())),
    }
}

fn scratch_above(path: &Path) -> &Path {
    path.ancestors()
        .find(|above| [WORKSPACE, "/tmp", "/dev/shm"].map(Path::new).contains(above))
        .unwrap_or(Path::new("/"))
}

/// A path as the steps of a child name it: below the new root, without the slash in front.
pub(crate) fn inside(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_prefix(b"/").unwrap_or(bytes)
}
