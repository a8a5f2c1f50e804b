//! The sign that a runtime has made its container: it writes down the number of the container's process.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use super::Kind;
use super::place::Place;
use crate::Result;
use crate::backend::native::watch;

/// Where it is written.
pub(super) const FILE: &str = "pid";

/// How often it is looked for where nobody tells.
const PAUSE: Duration = Duration::from_millis(2);

/// How often it is looked for besides: a runtime may put a file in the place of the pipe.
const LONG_PAUSE: Duration = Duration::from_millis(20);

/// A runtime that opens what is there writes to a pipe, so that nobody has to get up every other
/// millisecond, in the middle of its work, to look for a file.
#[derive(Debug)]
pub(super) struct Sign {
    pipe: Option<AsyncFd<OwnedFd>>,
    seen: AtomicBool,
}

impl Sign {
    /// Expects one of a runtime that has not started yet.
    pub(super) fn expect(kind: Kind, place: &Place) -> Result<Self> {
        // runc writes to another file, which it renames.
        let pipe = match kind {
            Kind::Runsc | Kind::Crun => Some(place.pipe(Path::new(FILE))?),
            Kind::Runc => None,
        };
        let pipe = pipe.and_then(|pipe| watch::readable(pipe).ok());
        Ok(Self { pipe, seen: AtomicBool::new(false) })
    }

    /// Waits until it may be there.
    pub(super) async fn wait(&self) {
        let Some(pipe) = &self.pipe else { return sleep(PAUSE).await };
        tokio::select! {
            // Whoever opens it and writes nothing has it readable for good.
            ready = pipe.readable() => ready.into_iter().for_each(|mut ready| ready.clear_ready()),
            () = sleep(LONG_PAUSE) => {}
        }
    }

    /// Whether it is there.
    pub(super) fn is_there(&self, place: &Place) -> bool {
        let written = |pipe: &AsyncFd<OwnedFd>| {
            let mut digits = [0; 32];
            rustix::io::read(pipe.get_ref(), &mut digits).is_ok_and(|count| count > 0)
        };
        if self.pipe.as_ref().is_some_and(written) || place.has(FILE) {
            self.seen.store(true, Ordering::Relaxed);
        }
        self.seen.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn it_is_seen_in_whichever_way_it_is_given() {
        for kind in [Kind::Crun, Kind::Runsc, Kind::Runc] {
            let dir = std::env::temp_dir().join(format!("fumehood-sign-{}", std::process::id()));
            fs::create_dir(&dir).unwrap();
            let root = fs::File::open("/").unwrap();
            let place = Place::open(std::os::fd::AsFd::as_fd(&root), &dir).unwrap();
            let written = Sign::expect(kind, &place).unwrap();
            assert!(!written.is_there(&place), "{kind:?}");
            fs::write(dir.join(FILE), "7").unwrap();
            written.wait().await;
            let seen = [written.is_there(&place), written.is_there(&place)];
            fs::remove_file(dir.join(FILE)).unwrap();
            let renamed = Sign::expect(kind, &place).unwrap();
            fs::write(dir.join("new"), "7").unwrap();
            fs::rename(dir.join("new"), dir.join(FILE)).unwrap();
            renamed.wait().await;
            let renamed = renamed.is_there(&place);
            fs::remove_dir_all(&dir).unwrap();
            assert!(seen == [true, true] && renamed, "{kind:?}: {seen:?}, {renamed}");
        }
    }
}
