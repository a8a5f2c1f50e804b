//! A terminal from the sandbox's own instance of the pseudo-terminal file system.

use linux_raw_sys::{general as nr, ioctl};

use crate::sys::{self, Fd, Result};

/// Opens a terminal of that size: its controlling end and the program's end.
///
/// The program's end is asked of the controlling end (`TIOCGPTPEER`), not looked up by a path that
/// could lead elsewhere.
pub(crate) fn open(rows: u32, columns: u32) -> Result<(Fd, Fd)> {
    let controller = sys::open(c"/dev/pts/ptmx", nr::O_RDWR | nr::O_NOCTTY)?;
    let unlock = 0u32;
    sys::ioctl(controller, ioctl::TIOCSPTLCK, core::ptr::from_ref(&unlock) as usize)?;
    let flags = nr::O_RDWR | nr::O_NOCTTY | nr::O_CLOEXEC;
    let peer = sys::ioctl(controller, ioctl::TIOCGPTPEER, flags as usize)?;
    let peer = Fd(i32::try_from(peer).unwrap_or(-1));
    let side = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
    let size = [side(rows), side(columns), 0, 0];
    sys::ioctl(controller, ioctl::TIOCSWINSZ, size.as_ptr() as usize)?;
    Ok((controller, peer))
}
