//! The sign that a runtime has made its container: it writes down the number of the container's process.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use super::place::Place;
use crate::backend::native::watch;

/// Where it is written.
pub(super) const FILE: &str = "pid";

/// How often it is looked for where the kernel does not tell.
const PAUSE: Duration = Duration::from_millis(2);

/// The kernel tells of files that are finished in the place (`inotify(7)`), whether they were written there
/// or renamed: nobody has to get up every other millisecond, in the middle of a runtime's work, to look.
#[derive(Debug)]
pub(super) struct Sign {
    /// None where the user has no watch left (`fs.inotify.max_user_instances`).
    watch: Option<AsyncFd<OwnedFd>>,
    seen: AtomicBool,
}

impl Sign {
    /// Expects one of a runtime that has not started yet.
    pub(super) fn expect(place: &Place) -> Self {
        Self { watch: finished(place), seen: AtomicBool::new(false) }
    }

    /// Waits until it may be there.
    pub(super) async fn wait(&self) {
        let Some(watch) = &self.watch else { return sleep(PAUSE).await };
        if let Ok(mut ready) = watch.readable().await {
            drain(watch.get_ref());
            ready.clear_ready();
        }
    }

    /// Whether it is there.
    pub(super) fn is_there(&self, place: &Place) -> bool {
        if place.has(FILE) {
            self.seen.store(true, Ordering::Relaxed);
        }
        self.seen.load(Ordering::Relaxed)
    }
}

/// A descriptor that can be read from whenever a file in the place is finished.
fn finished(place: &Place) -> Option<AsyncFd<OwnedFd>> {
    let path = format!("/proc/self/fd/{}", place.as_fd().as_raw_fd());
    let events = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
    inotify::add_watch(&watch, path, events).ok()?;
    watch::readable(watch).ok()
}

/// Takes all events: what happened is looked up.
fn drain(watch: &OwnedFd) {
    let mut events = [0; 1024];
    while rustix::io::read(watch, &mut events).is_ok_and(|count| count > 0) {}
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn it_is_seen_in_whichever_way_it_is_given() {
        let dir = std::env::temp_dir().join(format!("fumehood-sign-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let root = fs::File::open("/").unwrap();
        let place = Place::open(std::os::fd::AsFd::as_fd(&root), &dir).unwrap();
        let unwatched = |_: &Place| Sign { watch: None, seen: AtomicBool::new(false) };
        for expect in [Sign::expect, unwatched] {
            let written = expect(&place);
            assert!(!written.is_there(&place));
            fs::write(dir.join(FILE), "7").unwrap();
            written.wait().await;
            assert!(written.is_there(&place));
            fs::remove_file(dir.join(FILE)).unwrap();
            assert!(written.is_there(&place), "once seen it is seen for good");
            fs::write(dir.join("new"), "7").unwrap();
            let renamed = expect(&place);
            fs::rename(dir.join("new"), dir.join(FILE)).unwrap();
            renamed.wait().await;
            assert!(renamed.is_there(&place));
            fs::remove_file(dir.join(FILE)).unwrap();
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
