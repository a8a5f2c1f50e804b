//! Why a directory cannot be copy-on-write on this host.

use std::io;

use rustix::io::Errno;

use crate::Error;

/// The refusal of one mount, by its target and what the kernel said.
pub(super) fn refused(target: &str, errno: i32) -> Error {
    let source = io::Error::from_raw_os_error(errno);
    let why = match Errno::from_raw_os_error(errno) {
        Errno::NODEV => "the kernel has no overlay file system; modprobe overlay, if it has one",
        Errno::PERM | Errno::ACCESS => {
            "overlays in user namespaces take Linux 5.11, and no security module or filter that \
             forbids them"
        }
        Errno::OPNOTSUPP => {
            "its memory file systems keep no attributes for users, which came with Linux 6.6; have the \
             changes kept in a directory (upper) on ext4, XFS or Btrfs"
        }
        Errno::INVAL => {
            "the file system of the source cannot be the lower layer of an overlay, or that of upper \
             its upper layer (overlayfs, FUSE and network file systems cannot)"
        }
        _ => "the kernel refuses the overlay",
    };
    let problem = format!(
        "cannot be copy-on-write on this host: {why} ({source}); copy the directory in, or mount it \
         ro or rw"
    );
    Error::invalid("mounts", target, problem)
}
