//! The connections that are open, and which of them is closed when there are too many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::sending::Unsent;
use super::unread::Unread;

/// All connections that are open. Copies share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    /// Counts what happens, to tell who has been idle for longest.
    clock: AtomicU64,
    changed: Notify,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Requests in progress.
    busy: AtomicUsize,
    /// When the last one began or ended.
    since: AtomicU64,
    /// Tells the connection to close.
    pub(crate) close: Notify,
    pub(crate) unread: Unread,
    pub(crate) unsent: Unsent,
}

impl Connection {
    /// Whether nothing runs on it, and no answer is on its way.
    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0 && !self.unsent.is_set()
    }
}

/// A connection's entry among the open ones, for as long as it is open.
#[derive(Debug)]
pub(crate) struct Entry {
    all: Connections,
    number: u64,
    pub(crate) connection: Arc<Connection>,
}

/// A request in progress, its answer included.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Inner>, Arc<Connection>);

impl Connections {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection. If there are more than `most` now, the one that has been idle for
    /// longest is told to close; a connection on which something runs never is.
    pub(crate) fn enter(&self, most: usize) -> Entry {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            busy: AtomicUsize::new(0),
            since: AtomicU64::new(self.0.tick()),
            close: Notify::new(),
            unread: Unread::default(),
            unsent: Unsent::default(),
        });
        let mut open = self.open();
        if open.len() >= most {
            let idle = open.values().filter(|one| one.is_idle());
            if let Some(oldest) = idle.min_by_key(|one| one.since.load(Ordering::Relaxed)) {
                oldest.close.notify_one();
            }
        }
        open.insert(number, Arc::clone(&connection));
        drop(open);
        Entry { all: self.clone(), number, connection }
    }

    pub(crate) fn count(&self) -> usize {
        self.open().len()
    }

    /// Waits until there are fewer connections than this.
    pub(crate) async fn fewer_than(&self, most: usize) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if self.count() < most {
                return;
            }
            changed.await;
        }
    }
}

impl Inner {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }
}

impl Entry {
    /// Notes that a request is in progress, for as long as what is returned lives.
    pub(crate) fn busy(&self) -> Busy {
        self.connection.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.all.0), Arc::clone(&self.connection))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.open().remove(&self.number);
        self.all.0.changed.notify_waiters();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.1.since.store(self.0.tick(), Ordering::Relaxed);
        self.1.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_told_to_close(entry: &Entry) -> bool {
        use std::future::Future;
        let mut told = std::pin::pin!(entry.connection.close.notified());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        told.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn the_one_that_was_idle_for_longest_makes_room() {
        let all = Connections::default();
        let entries: Vec<_> = (0..4).map(|_| all.enter(10)).collect();
        drop(entries[0].busy());
        let _works = entries[1].busy();
        entries[2].connection.unsent.set(true);
        let _newest = all.enter(4);
        let told: Vec<_> = entries.iter().map(is_told_to_close).collect();
        assert_eq!(told, [false, false, false, true]);
        assert_eq!(all.count(), 5);
    }
}
