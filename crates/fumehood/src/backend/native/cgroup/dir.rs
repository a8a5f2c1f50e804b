//! A directory of a control group file system, and its files.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// An open directory. Its files are named relative to it, so that a rename or a new mount above
/// it changes nothing.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(path, DIRECTORY, Mode::empty())
            .map_err(|error| failed("open", path, error))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Makes the directory `name` and opens it.
    pub(super) fn make(&self, name: &str) -> io::Result<Self> {
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755))
            .map_err(|error| failed("make", &self.path.join(name), error))?;
        self.child(name)
    }

    /// Opens the directory `name`, which is made first if there is none. Others may be doing the
    /// same at this moment.
    pub(super) fn child_or_make(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => self.child(name),
            // Whoever may not make one may still use the one that somebody made for them.
            Err(error) => {
                self.child(name).map_err(|_| failed("make", &self.path.join(name), error))
            }
        }
    }

    pub(super) fn child(&self, name: &str) -> io::Result<Self> {
        let path = self.path.join(name);
        let fd = rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty())
            .map_err(|error| failed("open", &path, error))?;
        Ok(Self { fd, path })
    }

    /// Removes the directory `name`. Whether it is gone: `false` while processes are in it, which
    /// the kernel says with `EBUSY` (cgroups(7)).
    pub(super) fn remove(&self, name: &str) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::BUSY) => Ok(false),
            Err(error) => Err(failed("remove", &self.path.join(name), error)),
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn has(&self, file: &str) -> bool {
        self.permits(file, Access::EXISTS)
    }

    pub(super) fn writable(&self, file: &str) -> bool {
        self.permits(file, Access::WRITE_OK)
    }

    fn permits(&self, file: &str, access: Access) -> bool {
        rustix::fs::accessat(&self.fd, file, access, AtFlags::EACCESS).is_ok()
    }

    pub(super) fn file(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        rustix::fs::openat(&self.fd, name, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed("open", &self.path.join(name), error))
    }

    pub(super) fn read(&self, file: &str) -> io::Result<String> {
        let fd = self.file(file, OFlags::RDONLY)?;
        read_all(fd.as_fd()).map_err(|error| failed("read", &self.path.join(file), error))
    }

    /// The content of a file that only some kernels have.
    pub(super) fn read_if_there(&self, file: &str) -> io::Result<Option<String>> {
        match self.read(file) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn number(&self, file: &str) -> io::Result<Option<u64>> {
        Ok(self.read_if_there(file)?.and_then(|text| text.trim().parse().ok()))
    }

    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), WriteError> {
        let path = self.path.join(file);
        let fd =
            rustix::fs::openat(&self.fd, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| WriteError {
                    path: path.clone(),
                    value: value.to_owned(),
                    errno,
                })?;
        match rustix::io::write(&fd, value.as_bytes()) {
            Ok(_) => Ok(()),
            Err(errno) => Err(WriteError { path, value: value.to_owned(), errno }),
        }
    }

    /// Writes a limit and reads it back: what the kernel holds must be what was asked for.
    pub(super) fn set(&self, file: &str, value: &str) -> io::Result<()> {
        let held = self.write_and_read(file, value)?;
        if held == value { Ok(()) } else { Err(self.differs(file, value, &held)) }
    }

    /// Writes a limit in bytes and reads it back. The kernel rounds down to whole pages and that
    /// is all that it may do.
    pub(super) fn set_bytes(&self, file: &str, bytes: u64) -> io::Result<()> {
        let value = bytes.to_string();
        let held = self.write_and_read(file, &value)?;
        if is_rounded_down(bytes, &held) { Ok(()) } else { Err(self.differs(file, &value, &held)) }
    }

    fn write_and_read(&self, file: &str, value: &str) -> io::Result<String> {
        let fd = self.file(file, OFlags::RDWR)?;
        rustix::io::write(&fd, value.as_bytes())
            .map_err(|error| failed(&format!("write {value} to"), &self.path.join(file), error))?;
        let mut held =
            read_all(fd.as_fd()).map_err(|error| failed("read", &self.path.join(file), error))?;
        held.truncate(held.trim_end().len());
        Ok(held)
    }

    fn differs(&self, file: &str, value: &str, held: &str) -> io::Error {
        let file = self.path.join(file);
        io::Error::other(format!("{}: wrote {value}, the kernel holds {held}", file.display()))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A write that failed, with the error number that tells which of several reasons it was.
#[derive(Debug)]
pub(super) struct WriteError {
    path: PathBuf,
    value: String,
    pub(super) errno: Errno,
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        failed(&format!("write {} to", error.value), &error.path, error.errno)
    }
}

/// An error that names what was done to which file.
pub(super) fn failed(doing: &str, path: &Path, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{doing} {}: {error}", path.display()))
}

/// The whole content of a control file from its start, however often it was read before.
pub(super) fn read_all(fd: BorrowedFd<'_>) -> Result<String, Errno> {
    let mut content = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let offset = content.len() as u64;
        let count = rustix::io::retry_on_intr(|| rustix::io::pread(fd, &mut chunk[..], offset))?;
        content.extend_from_slice(&chunk[..count]);
        if count == 0 {
            return Ok(String::from_utf8_lossy(&content).into_owned());
        }
    }
}

/// Reads a file of `/proc` in as few calls as it takes: it does not say how large it is, and whoever
/// asks first reads it in small pieces.
pub(super) fn read_proc(path: &str) -> io::Result<String> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(read_all(file.as_fd())?)
}

fn is_rounded_down(bytes: u64, held: &str) -> bool {
    let page = rustix::param::page_size() as u64;
    held.parse().is_ok_and(|held: u64| held <= bytes && bytes - held < page)
}

/// The value of `key` in a file of `key value` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The process ids in a `cgroup.procs`. Processes that this PID namespace cannot name are listed
/// as 0 there, and are counted apart.
pub(super) fn parse_procs(text: &str) -> Procs {
    let mut procs = Procs::default();
    for pid in text.lines().filter_map(|line| line.trim().parse().ok()) {
        match rustix::process::Pid::from_raw(pid) {
            Some(pid) => procs.pids.push(pid),
            None => procs.foreign += 1,
        }
    }
    procs
}

/// Who is in a group.
#[derive(Debug, Default)]
pub(super) struct Procs {
    pub(super) pids: Vec<rustix::process::Pid>,
    /// Processes outside our PID namespace.
    pub(super) foreign: usize,
}

impl Procs {
    pub(super) fn is_empty(&self) -> bool {
        self.pids.is_empty() && self.foreign == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Dir, is_rounded_down, keyed, parse_procs};

    /// A file that keeps the end of what it held stands for a kernel with its own mind.
    #[test]
    fn a_limit_that_does_not_hold_as_written_is_an_error() {
        let path = std::env::temp_dir().join(format!("fumehood-dir-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("limit"), "123\n").unwrap();
        let dir = Dir::open(&path).unwrap();
        let errors = [dir.set("limit", "9").unwrap_err(), dir.set_bytes("limit", 8).unwrap_err()];
        std::fs::remove_dir_all(&path).unwrap();
        assert!(errors[0].to_string().ends_with("wrote 9, the kernel holds 923"), "{errors:?}");
        assert!(errors[1].to_string().ends_with("wrote 8, the kernel holds 823"), "{errors:?}");
    }

    /// Two supervisors, or two threads of one, that start at the same moment.
    #[test]
    fn a_directory_that_somebody_makes_meanwhile_is_used() {
        let path = std::env::temp_dir().join(format!("fumehood-dirs-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let dir = Dir::open(&path).unwrap();
        let together = std::sync::Barrier::new(8);
        let make = |round: u32| {
            together.wait();
            dir.child_or_make(&round.to_string()).map(drop)
        };
        let each = || (0..200).map(make).collect::<Vec<_>>();
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(each)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        std::fs::remove_dir_all(&path).unwrap();
        made.into_iter().collect::<Result<Vec<()>, _>>().unwrap();
    }

    #[test]
    fn a_limit_may_only_be_rounded_down_to_a_page() {
        assert!(is_rounded_down(8192, "8192"));
        assert!(is_rounded_down(8193, "8192"));
        assert!(!is_rounded_down(8192, "8193"));
        assert!(!is_rounded_down(16 << 20, "8192"));
        assert!(!is_rounded_down(8192, "max"));
    }

    #[test]
    fn a_key_is_not_its_prefix() {
        let events = "low 0\noom 1\noom_kill 2\noom_group_kill 3\n";
        assert_eq!(keyed(events, "oom"), Some(1));
        assert_eq!(keyed(events, "oom_kill"), Some(2));
        assert_eq!(keyed(events, "oom_group"), None);
    }

    #[test]
    fn processes_of_other_pid_namespaces_are_counted() {
        let procs = parse_procs("12\n0\n13\n0\n");
        assert_eq!((procs.pids.len(), procs.foreign), (2, 2));
        assert!(!procs.is_empty());
        assert!(parse_procs("").is_empty());
    }
}
