//! Inits that this process cloned itself. They are its children, and stay as zombies until it waits for
//! them, which nobody else does: a run is over before its init is quite gone.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{WaitId, WaitIdOptions, waitid};

static CHILDREN: Mutex<Vec<Arc<OwnedFd>>> = Mutex::new(Vec::new());

/// Remembers a child by its pidfd, and waits for those before it that have ended. Waiting for all children,
/// as whoever embeds this may do, leaves nothing to wait for here.
pub(super) fn remember(pidfd: Arc<OwnedFd>) {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.retain(|pidfd| is_there(pidfd));
    children.push(pidfd);
}

/// Whether a child has not ended yet. If it has, it is gone now.
fn is_there(pidfd: &OwnedFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    matches!(waitid(WaitId::PidFd(pidfd.as_fd()), options), Ok(None))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::thread::sleep;
    use std::time::Duration;

    use super::super::launch::{Launcher, Pending, Shape};
    use crate::Job;
    use crate::plan::Plan;

    fn init(shape: &Shape) -> Option<Pending> {
        Launcher::Direct.begin(shape, None).ok()
    }

    /// Each of them ends because nobody keeps its line.
    #[test]
    fn inits_that_have_ended_are_gone_when_others_begin() {
        let plan = Plan::new(&Job::new(["true"])).unwrap();
        let shape = Shape::of(&plan);
        let process = |init: Pending| PathBuf::from(format!("/proc/{}", init.spawned.unwrap().0));
        let first: Vec<_> = (0..3).filter_map(|_| init(&shape)).map(process).collect();
        if first.is_empty() {
            eprintln!("skipped: no init can be cloned here");
            return;
        }
        for _ in 0..500 {
            drop(init(&shape));
            if !first.iter().any(|process| process.exists()) {
                return;
            }
            sleep(Duration::from_millis(5));
        }
        panic!("some are left: {first:?}");
    }
}
