//! Descriptors that the runtime watches.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches an owned descriptor; gives it back if epoll refuses it.
///
/// # Errors
/// `EPERM` for a file that never makes anyone wait (`epoll_ctl(2)`).
#[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
pub(crate) fn owned(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    // SAFETY: an `OwnedFd` is open and the same for as long as it lives, and the `AsyncFd` owns it.
    unsafe { AsyncFd::register(fd) }.map_err(tokio::io::unix::AsyncFdRegisterError::into_parts)
}

/// Watches an owned descriptor for something to read only; gives it back if epoll refuses it.
///
/// # Errors
/// As for [`owned`].
#[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
pub(crate) fn readable(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    // SAFETY: as for `owned`.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(tokio::io::unix::AsyncFdRegisterError::into_parts)
}

/// Watches an owned descriptor for room to write only; gives it back if epoll refuses it.
///
/// # Errors
/// As for [`owned`].
#[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
pub(crate) fn writable(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    // SAFETY: as for `owned`.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::WRITABLE) };
    watched.map_err(tokio::io::unix::AsyncFdRegisterError::into_parts)
}
