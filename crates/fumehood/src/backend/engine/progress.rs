//! Who hears of a pull.

use std::sync::OnceLock;

use super::api::Progress;

type Listener = Box<dyn Fn(&str) + Send + Sync>;

static LISTENER: OnceLock<Listener> = OnceLock::new();

/// Has this function hear of every image that an engine pulls for a job, a line at a time: `busybox:
/// Downloading [==> ] 1MB/2MB`. The first of a process stays; false for any later one.
///
/// A pull takes as long as it takes, before any limit of the job begins to count.
pub fn on_pull(listener: impl Fn(&str) + Send + Sync + 'static) -> bool {
    LISTENER.set(Box::new(listener)).is_ok()
}

pub(super) fn tell(image: &str, progress: &Progress) {
    let Some(listener) = LISTENER.get() else { return };
    let words = [progress.id.as_str(), &progress.status, &progress.progress];
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    listener(&format!("{image}: {}", words.join(" ")));
}
