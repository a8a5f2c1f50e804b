//! Pseudo-terminals (`pty(7)`, `ioctl_tty(2)`).

use linux_raw_sys::{general as nr, ioctl as request};

use super::{Fd, Result, call, ioctl};

/// Lets the program's end of this terminal be opened (`TIOCSPTLCK`).
///
/// # Errors
/// `ENOTTY` for what is no controlling end.
pub fn unlock_terminal(controller: Fd) -> Result<()> {
    let locked = 0u32;
    plain!(__NR_ioctl, controller.word(), request::TIOCSPTLCK, core::ptr::from_ref(&locked))
        .map(drop)
}

/// Opens the program's end of this terminal, which no path can lead away from (`TIOCGPTPEER`).
///
/// # Errors
/// `EIO` while it is locked.
pub fn open_terminal(controller: Fd) -> Result<Fd> {
    let flags = nr::O_RDWR | nr::O_NOCTTY | nr::O_CLOEXEC;
    ioctl(controller, request::TIOCGPTPEER, flags).map(|fd| Fd(fd as i32))
}

/// Sets a terminal's size, in characters (`TIOCSWINSZ`).
///
/// # Errors
/// `ENOTTY`.
pub fn resize_terminal(terminal: Fd, rows: u16, columns: u16) -> Result<()> {
    // struct winsize, whose pixels nobody knows.
    let size = [rows, columns, 0, 0];
    plain!(__NR_ioctl, terminal.word(), request::TIOCSWINSZ, size.as_ptr()).map(drop)
}

/// Makes a terminal the controlling one of this session (`TIOCSCTTY`).
///
/// # Errors
/// `EPERM` if this process leads no session, or the terminal is another's.
pub fn control_by_terminal(terminal: Fd) -> Result<()> {
    ioctl(terminal, request::TIOCSCTTY, 0).map(drop)
}
