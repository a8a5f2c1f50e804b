//! Files, mounts and the names of things.

use core::ffi::CStr;
use core::mem::size_of;

use linux_raw_sys::general as nr;
use linux_raw_sys::net;

use super::{Fd, Result, call, close, ioctl};

/// `openat(2)`.
///
/// # Errors
/// Those of the path.
pub fn open(path: &CStr, flags: u32) -> Result<Fd> {
    plain!(__NR_openat, Fd::CWD.word(), path.as_ptr(), flags | nr::O_CLOEXEC, 0)
        .map(|fd| Fd(fd as i32))
}

/// `openat(2)` from that directory.
///
/// # Errors
/// Those of the path.
pub fn open_at(dir: Fd, path: &CStr, flags: u32) -> Result<Fd> {
    plain!(__NR_openat, dir.word(), path.as_ptr(), flags | nr::O_CLOEXEC, 0).map(|fd| Fd(fd as i32))
}

/// `openat2(2)` below `dir`, which is `/` for the path, without following any symbolic link.
///
/// # Errors
/// `ELOOP` for a symbolic link in the path, and those of the path.
pub fn open_beneath(dir: Fd, path: &CStr, flags: u32, mode: u32) -> Result<Fd> {
    let resolve = nr::RESOLVE_IN_ROOT | nr::RESOLVE_NO_SYMLINKS | nr::RESOLVE_NO_MAGICLINKS;
    let how = [u64::from(flags | nr::O_CLOEXEC), u64::from(mode), u64::from(resolve)];
    plain!(__NR_openat2, dir.word(), path.as_ptr(), how.as_ptr(), size_of::<[u64; 3]>())
        .map(|fd| Fd(fd as i32))
}

/// `openat2(2)` below `dir`, without following any symbolic link, leaving `dir`, or getting onto
/// another mount.
///
/// # Errors
/// `ELOOP` for a symbolic link in the path, `EXDEV` for a way out, and those of the path.
pub fn open_within(dir: Fd, path: &CStr, flags: u32, mode: u32) -> Result<Fd> {
    let resolve = nr::RESOLVE_BENEATH | nr::RESOLVE_NO_SYMLINKS | nr::RESOLVE_NO_XDEV;
    let how = [u64::from(flags | nr::O_CLOEXEC), u64::from(mode), u64::from(resolve)];
    plain!(__NR_openat2, dir.word(), path.as_ptr(), how.as_ptr(), size_of::<[u64; 3]>())
        .map(|fd| Fd(fd as i32))
}

/// `linkat(2)`, which follows no link in the last name of either path.
///
/// # Errors
/// Those of the paths.
pub fn hard_link(from: Fd, old: &CStr, to: Fd, new: &CStr) -> Result<()> {
    plain!(__NR_linkat, from.word(), old.as_ptr(), to.word(), new.as_ptr(), 0).map(drop)
}

/// `utimensat(2)` of an open file: sets the time of last modification, in seconds since 1970, and
/// that of last access to now.
///
/// # Errors
/// `EINVAL` for a time that the file system cannot hold.
pub fn set_modified(file: Fd, seconds: i64) -> Result<()> {
    const UTIME_NOW: i64 = (1 << 30) - 1;
    let times = [0, UTIME_NOW, seconds, 0];
    plain!(__NR_utimensat, file.word(), 0, times.as_ptr(), 0).map(drop)
}

/// `mkdirat(2)`.
///
/// # Errors
/// Those of the path.
pub fn mkdir(dir: Fd, path: &CStr, mode: u32) -> Result<()> {
    plain!(__NR_mkdirat, dir.word(), path.as_ptr(), mode).map(drop)
}

/// `mknodat(2)` of an empty regular file.
///
/// # Errors
/// Those of the path.
pub fn make_file(dir: Fd, path: &CStr) -> Result<()> {
    plain!(__NR_mknodat, dir.word(), path.as_ptr(), nr::S_IFREG | 0o644, 0).map(drop)
}

/// `symlinkat(2)`.
///
/// # Errors
/// Those of the path.
pub fn symlink(target: &CStr, dir: Fd, path: &CStr) -> Result<()> {
    plain!(__NR_symlinkat, target.as_ptr(), dir.word(), path.as_ptr()).map(drop)
}

/// `faccessat(2)`, for existence only.
///
/// # Errors
/// Those of the path.
pub fn exists(path: &CStr) -> Result<()> {
    plain!(__NR_faccessat, Fd::CWD.word(), path.as_ptr(), 0).map(drop)
}

/// `chdir(2)`.
///
/// # Errors
/// Those of the path.
pub fn chdir(path: &CStr) -> Result<()> {
    plain!(__NR_chdir, path.as_ptr()).map(drop)
}

/// `fchdir(2)`.
///
/// # Errors
/// Those of the descriptor.
pub fn fchdir(dir: Fd) -> Result<()> {
    plain!(__NR_fchdir, dir.word()).map(drop)
}

/// Makes all mounts of this mount namespace private: nothing propagates either way.
///
/// # Errors
/// `EPERM` where a security module forbids mounting.
pub fn make_mounts_private() -> Result<()> {
    let flags = nr::MS_REC | nr::MS_PRIVATE;
    plain!(__NR_mount, 0, c"/".as_ptr(), 0, flags, 0).map(drop)
}

/// `open_tree(2)` with `OPEN_TREE_CLONE`: a detached copy of the mount at `path`.
///
/// # Errors
/// Those of the path; `EPERM`.
pub fn clone_tree(path: &CStr, recursive: bool) -> Result<Fd> {
    let recursive = if recursive { nr::AT_RECURSIVE } else { 0 };
    let flags = nr::OPEN_TREE_CLONE | nr::OPEN_TREE_CLOEXEC | recursive;
    plain!(__NR_open_tree, Fd::CWD.word(), path.as_ptr(), flags).map(|fd| Fd(fd as i32))
}

/// `mount_setattr(2)`; `attr` is what to set, what to clear, the propagation, and a user namespace.
fn mount_setattr(dir: Fd, path: &CStr, flags: u32, attr: [u64; 4]) -> Result<()> {
    let (attr, size) = (attr.as_ptr(), size_of::<[u64; 4]>());
    plain!(__NR_mount_setattr, dir.word(), path.as_ptr(), flags, attr, size).map(drop)
}

/// `mount_setattr(2)`: sets attributes on a mount, or on it and all below it.
///
/// # Errors
/// `ENOSYS` before Linux 5.12, `EPERM`.
pub fn set_mount_attr(mount: Fd, attributes: u64, recursive: bool) -> Result<()> {
    let recursive = if recursive { nr::AT_RECURSIVE } else { 0 };
    let attr = [attributes, 0, 0, 0];
    mount_setattr(mount, c"", nr::AT_EMPTY_PATH | recursive, attr)
}

/// `move_mount(2)` of a detached mount onto an open directory or file.
///
/// # Errors
/// `EINVAL`, `EPERM`, `ENOTDIR`.
pub fn attach(mount: Fd, target: Fd) -> Result<()> {
    let flags = nr::MOVE_MOUNT_F_EMPTY_PATH | nr::MOVE_MOUNT_T_EMPTY_PATH;
    plain!(__NR_move_mount, mount.word(), c"".as_ptr(), target.word(), c"".as_ptr(), flags)
        .map(drop)
}

/// `move_mount(2)` of a detached mount onto a path below `dir`, without following a link in its last
/// component.
///
/// # Errors
/// Those of the path; `EINVAL`, `EPERM`.
pub fn attach_at(mount: Fd, dir: Fd, path: &CStr) -> Result<()> {
    plain!(
        __NR_move_mount,
        mount.word(),
        c"".as_ptr(),
        dir.word(),
        path.as_ptr(),
        nr::MOVE_MOUNT_F_EMPTY_PATH
    )
    .map(drop)
}

/// [`set_mount_attr`] for the mount at a path that leads there from the current directory.
///
/// # Errors
/// Those of the path, and as there.
pub fn set_mount_attr_at(path: &CStr, attributes: u64, recursive: bool) -> Result<()> {
    let recursive = if recursive { nr::AT_RECURSIVE } else { 0 };
    let attr = [attributes, 0, 0, 0];
    mount_setattr(Fd::CWD, path, nr::AT_SYMLINK_NOFOLLOW | recursive, attr)
}

/// Makes a mount and all below it have these attributes, but for the one at the top, which stays
/// writable.
///
/// # Errors
/// As for [`set_mount_attr`].
pub fn set_mount_attr_below(top: Fd, attributes: u64) -> Result<()> {
    set_mount_attr(top, attributes, true)?;
    let attr = [0, u64::from(nr::MOUNT_ATTR_RDONLY), 0, 0];
    mount_setattr(top, c"", nr::AT_EMPTY_PATH, attr)
}

/// `mount(2)` with `MS_BIND`: shows what is at one path at another, too. One call where a detached
/// copy takes three and a mount namespace for itself; for paths in which no link can stand.
///
/// # Errors
/// Those of the paths; `EINVAL`, `EPERM`.
pub fn bind(source: &CStr, target: &CStr, recursive: bool) -> Result<()> {
    let flags = nr::MS_BIND | if recursive { nr::MS_REC } else { 0 };
    plain!(__NR_mount, source.as_ptr(), target.as_ptr(), 0, flags, 0).map(drop)
}

/// `mount(2)` of a new file system, for a path in which no link can stand. `MOUNT_ATTR_*` of whether
/// and how files are used have the values of their older `MS_*`.
///
/// # Errors
/// Those of the path; `EINVAL` for an option, `EPERM`.
pub fn mount_at(kind: &CStr, target: &CStr, options: &CStr, attributes: u64) -> Result<()> {
    plain!(__NR_mount, kind.as_ptr(), target.as_ptr(), kind.as_ptr(), attributes, options.as_ptr())
        .map(drop)
}

/// Cuts a detached mount and all below it from the propagation of what it was cloned from: nothing that
/// is mounted on the one appears on the other.
///
/// # Errors
/// As for [`set_mount_attr`].
pub fn make_private(mount: Fd) -> Result<()> {
    let attr = [0, 0, u64::from(nr::MS_PRIVATE), 0];
    mount_setattr(mount, c"", nr::AT_EMPTY_PATH | nr::AT_RECURSIVE, attr)
}

/// Has a detached mount show files of one owner as another's: `mount_setattr(2)` with
/// `MOUNT_ATTR_IDMAP` and a user namespace whose maps say who becomes who.
///
/// # Errors
/// `EINVAL` where the file system cannot do that, `EPERM`, `ENOSYS` before Linux 5.12.
pub fn map_ids(mount: Fd, user_namespace: Fd) -> Result<()> {
    let attr = [u64::from(nr::MOUNT_ATTR_IDMAP), 0, 0, user_namespace.0 as u64];
    mount_setattr(mount, c"", nr::AT_EMPTY_PATH | nr::AT_RECURSIVE, attr)
}

/// Whether a file can have attributes of a user's: sets one and takes it away.
///
/// # Errors
/// `EOPNOTSUPP` where its file system has none, as tmpfs before Linux 6.6.
pub fn try_user_attribute(path: &CStr) -> Result<()> {
    let name = c"user.fumehood";
    plain!(__NR_setxattr, path.as_ptr(), name.as_ptr(), c"1".as_ptr(), 1, 0)?;
    plain!(__NR_removexattr, path.as_ptr(), name.as_ptr()).map(drop)
}

/// `umount2(2)` of the topmost mount at `path` and all below it.
///
/// # Errors
/// `EINVAL` where nothing is mounted, and those of the path.
pub fn unmount(path: &CStr) -> Result<()> {
    plain!(__NR_umount2, path.as_ptr(), nr::MNT_DETACH).map(drop)
}

/// [`unmount`], and `unlinkat(2)` of the directory that it was on. The current directory must be `dir`.
///
/// # Errors
/// Those of the path.
pub fn detach(dir: Fd, path: &CStr) -> Result<()> {
    unmount(path)?;
    plain!(__NR_unlinkat, dir.word(), path.as_ptr(), nr::AT_REMOVEDIR).map(drop)
}

/// Mounts a new file system, detached: `fsopen(2)`, `fsconfig(2)` per option, `fsmount(2)`. An
/// option without a value is a flag.
///
/// # Errors
/// `EPERM` where the mount is forbidden, `EINVAL` for an option.
pub fn new_mount<'a>(
    kind: &CStr,
    options: impl Iterator<Item = (&'a CStr, &'a CStr)>,
    attributes: u64,
) -> Result<Fd> {
    const SET_FLAG: u32 = 0;
    const SET_STRING: u32 = 1;
    const CREATE: u32 = 6;
    let context = plain!(__NR_fsopen, kind.as_ptr(), nr::FSOPEN_CLOEXEC)?;
    let configure = || {
        for (key, value) in options {
            if value.is_empty() {
                plain!(__NR_fsconfig, context, SET_FLAG, key.as_ptr(), 0, 0)?;
            } else {
                plain!(__NR_fsconfig, context, SET_STRING, key.as_ptr(), value.as_ptr(), 0)?;
            }
        }
        plain!(__NR_fsconfig, context, CREATE, 0, 0, 0)?;
        plain!(__NR_fsmount, context, nr::FSMOUNT_CLOEXEC, attributes)
    };
    let mount = configure();
    // Who is refused may go on without this file system.
    close(Fd(context as i32));
    mount.map(|fd| Fd(fd as i32))
}

/// `pivot_root(".", ".")`, detaches the old root, and enters the new one.
///
/// # Errors
/// `EINVAL` where the current root is the initial ramfs.
pub fn pivot_here() -> Result<()> {
    plain!(__NR_pivot_root, c".".as_ptr(), c".".as_ptr())?;
    plain!(__NR_umount2, c".".as_ptr(), nr::MNT_DETACH)?;
    chdir(c"/")
}

/// `sethostname(2)`, and `setdomainname(2)` of what it is where nobody has set one: a new namespace has the
/// names of its maker's.
///
/// # Errors
/// `EPERM`.
pub fn set_hostname(name: &[u8]) -> Result<()> {
    const NONE: &[u8] = b"(none)";
    plain!(__NR_sethostname, name.as_ptr(), name.len())?;
    plain!(__NR_setdomainname, NONE.as_ptr(), NONE.len()).map(drop)
}

/// A descriptor of the network namespace that this process is in, which takes no process file system.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over it.
pub fn network_here() -> Result<Fd> {
    const SIOCGSKNS: u32 = 0x894c;
    let socket = plain!(__NR_socket, net::AF_UNIX, net::SOCK_DGRAM | nr::O_CLOEXEC, 0)?;
    let socket = Fd(socket as i32);
    let namespace = ioctl(socket, SIOCGSKNS, 0);
    close(socket);
    namespace.map(|fd| Fd(fd as i32))
}

/// Brings the loopback interface up; some kernels have it up from the start and refuse to touch it.
///
/// # Errors
/// `EPERM` where capabilities were taken away in the new network namespace.
pub fn loopback_up() -> Result<()> {
    const SIOCGIFFLAGS: u32 = 0x8913;
    const SIOCSIFFLAGS: u32 = 0x8914;
    const IFF_UP: u8 = 1;
    let socket = plain!(__NR_socket, net::AF_UNIX, net::SOCK_DGRAM | nr::O_CLOEXEC, 0)?;
    let socket = Fd(socket as i32);
    // struct ifreq: 16 bytes of name, then the flags IFF_UP | IFF_RUNNING.
    let mut request = [0u8; 40];
    (request[0], request[1], request[16]) = (b'l', b'o', 0x41);
    let mut up = plain!(__NR_ioctl, socket.word(), SIOCSIFFLAGS, request.as_ptr());
    if up.is_err() {
        let words = [socket.word(), SIOCGIFFLAGS as usize, request.as_mut_ptr() as usize, 0, 0, 0];
        // SAFETY: the kernel reads and writes a struct ifreq, which `request` has room for and which
        // outlives the call.
        let asked = unsafe { call(nr::__NR_ioctl, words) };
        up = if asked.is_ok() && request[16] & IFF_UP != 0 { Ok(0) } else { up };
    }
    close(socket);
    up.map(drop)
}
