//! Children of an init that is not process 1.

use linux_raw_sys::general as nr;

use crate::sys;

/// Sends `SIGKILL` to every child. Their orphans become our children in turn, because the init is
/// a subreaper, so the caller repeats this until there is no child.
///
/// A child keeps its number until it is waited for, which nobody else does meanwhile: no stranger
/// can have it.
pub(crate) fn kill_children() {
    const KILL: i32 = 9;
    signal_children(0, KILL);
}

/// Sends a signal to every child but one.
pub(crate) fn signal_children(except: i32, signal: i32) {
    let Ok(list) = sys::open(c"/proc/thread-self/children", nr::O_RDONLY) else { return };
    let mut buffer = [0u8; 4096];
    let len = sys::read(list, &mut buffer).unwrap_or(0);
    sys::close(list);
    let complete = buffer.get(..len).unwrap_or(&[]);
    let mut pid: i32 = 0;
    for &byte in complete {
        if byte.is_ascii_digit() {
            pid = pid.saturating_mul(10).saturating_add(i32::from(byte - b'0'));
        } else {
            if pid > 0 && pid != except {
                let _ = sys::kill(pid, signal);
            }
            pid = 0;
        }
    }
}
