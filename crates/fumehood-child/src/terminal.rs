//! A terminal from the sandbox's own instance of the pseudo-terminal file system.

use linux_raw_sys::general as nr;

use crate::sys::{self, Fd, Result};

/// Opens a terminal of that size: its controlling end and the program's end.
///
/// The program's end is asked of the controlling end (`TIOCGPTPEER`), not looked up by a path that
/// could lead elsewhere.
pub(crate) fn open(rows: u32, columns: u32) -> Result<(Fd, Fd)> {
    let controller = sys::open(c"/dev/pts/ptmx", nr::O_RDWR | nr::O_NOCTTY)?;
    sys::unlock_terminal(controller)?;
    let peer = sys::open_terminal(controller)?;
    let side = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
    sys::resize_terminal(controller, side(rows), side(columns))?;
    Ok((controller, peer))
}
