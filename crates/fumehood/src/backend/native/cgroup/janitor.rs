//! Has the groups of this process removed if it is killed.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::{Once, OnceLock};

use fumehood_child::Fd;
use fumehood_child::janitor::{Duty, MAX_DIRS, start};
use fumehood_child::step::Sink;
use fumehood_child::wire::Buffer;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};

use super::label::Owner;
use crate::sabotage::leaves_out;

/// Starts the janitor of this process, once. What it cannot be started for, `gc` removes.
pub(super) fn engage<'a>(dirs: impl Iterator<Item = BorrowedFd<'a>>, owner: &Owner) {
    static ENGAGED: Once = Once::new();
    ENGAGED.call_once(|| {
        if leaves_out("janitor") {
            return;
        }
        if let Some(duty) = duty(dirs, owner) {
            let _ = start(Box::leak(Box::new(duty)));
        }
    });
}

/// Our end of its line.
static LINE: OnceLock<OwnedFd> = OnceLock::new();

/// Has something held open until this process has ended, and let go of by somebody for whom nobody waits.
/// Only the first: one more for each run would be too much where there are many.
pub(crate) fn entrust(fd: BorrowedFd<'_>) {
    static ENTRUSTED: Once = Once::new();
    let Some(line) = LINE.get() else { return };
    ENTRUSTED.call_once(|| {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [fd];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        // Without a janitor it is let go of by whoever else has it.
        let _ = sendmsg(line, &[IoSlice::new(b".")], &mut ancillary, flags);
    });
}

/// Its descriptors stay open in this process for as long as it lives.
fn duty<'a>(dirs: impl Iterator<Item = BorrowedFd<'a>>, owner: &Owner) -> Option<Duty> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let (line, held) = socketpair(family, kind, SocketFlags::CLOEXEC, None).ok()?;
    let mut kept = [Fd(-1); MAX_DIRS];
    for (place, dir) in kept.iter_mut().zip(dirs) {
        *place = Fd(dir.try_clone_to_owned().ok()?.into_raw_fd());
    }
    let mut prefix = Buffer::new();
    prefix.put(format!("{owner}-").as_bytes());
    let _ = LINE.set(held);
    Some(Duty { line: Fd(line.into_raw_fd()), dirs: kept, prefix })
}
