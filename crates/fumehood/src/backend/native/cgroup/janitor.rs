//! Has the groups of this process removed if it is killed.

use std::os::fd::{BorrowedFd, IntoRawFd};
use std::sync::Once;

use fumehood_child::Fd;
use fumehood_child::janitor::{Duty, MAX_DIRS, start};
use fumehood_child::step::Sink;
use fumehood_child::wire::Buffer;
use rustix::pipe::{PipeFlags, pipe_with};

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

/// Its descriptors stay open in this process for as long as it lives.
fn duty<'a>(dirs: impl Iterator<Item = BorrowedFd<'a>>, owner: &Owner) -> Option<Duty> {
    let (line, held) = pipe_with(PipeFlags::CLOEXEC).ok()?;
    let mut kept = [Fd(-1); MAX_DIRS];
    for (place, dir) in kept.iter_mut().zip(dirs) {
        *place = Fd(dir.try_clone_to_owned().ok()?.into_raw_fd());
    }
    let mut prefix = Buffer::new();
    prefix.put(format!("{owner}-").as_bytes());
    let _ = held.into_raw_fd();
    Some(Duty { line: Fd(line.into_raw_fd()), dirs: kept, prefix })
}
