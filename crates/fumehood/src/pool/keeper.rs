//! Who looks after a pool's stock.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::{Inner, count};
use crate::backend::native::cgroup::Group;
use crate::backend::native::tree;
use crate::supervise::Spent;

/// Groups that are kept to be used again.
const GROUPS: usize = 64;

/// After how long it is looked whether an init on its way out is gone, if nothing else happens. To be
/// told of each would take as many calls as all the rest of what a pool does for a run.
const SOON: Duration = Duration::from_millis(5);

/// Looks after the stock for as long as there is a pool: takes used cells back, builds new ones,
/// throws old ones away.
pub(super) async fn keep(pool: Weak<Inner>, mut spent: mpsc::UnboundedReceiver<Spent>) {
    let mut leaving = VecDeque::new();
    loop {
        let Some(inner) = pool.upgrade() else { return };
        while let Ok(cell) = spent.try_recv() {
            let_go(&mut leaving, cell);
        }
        take_back(&inner, &mut leaving);
        inner.tidy();
        inner.learn();
        inner.prime();
        // What failed is tried again when something happens.
        let mut pause = None;
        match inner.due() {
            Some(shape) => {
                if let Ok((plan, cell)) = inner.build(&shape).await {
                    inner.park(plan, cell);
                    continue;
                }
                count(&inner.counts.failed);
            }
            None if inner.is_short() => pause = inner.left_alone_until(),
            None => {}
        }
        let (expiry, work) = (inner.next_expiry(), Arc::clone(&inner.work));
        let look = (!leaving.is_empty()).then(|| Instant::now() + SOON);
        drop(inner);
        tokio::select! {
            () = work.notified() => {}
            () = until(expiry) => {}
            () = until(look) => {}
            () = until(pause) => {}
            cell = spent.recv() => match cell {
                Some(cell) => let_go(&mut leaving, cell),
                None => return,
            },
        }
    }
}

fn let_go(leaving: &mut VecDeque<Spent>, mut cell: Spent) {
    cell.init.hang_up();
    cell.pipes.clear();
    leaving.push_back(cell);
}

/// Keeps the groups of cells that were used, once nothing runs in them any more. They end in about the
/// order in which they were let go, so only the first few are looked at.
fn take_back(pool: &Arc<Inner>, leaving: &mut VecDeque<Spent>) {
    const FEW: usize = 4;
    let mut index = 0;
    while index < FEW {
        let Some(cell) = leaving.get(index) else { return };
        if cell.init.is_alive() {
            index += 1;
            continue;
        }
        if let Some(group) = leaving.remove(index).and_then(|mut cell| cell.group.take()) {
            keep_group(pool, group);
        }
    }
}

/// What took more than this, in bytes, may leave so much to its group that the kernel takes
/// milliseconds to take it back, as compilers and bombs do.
const LARGE: u64 = 4 << 20;

/// Keeps a group, but makes it as good as new before if that takes long: there where nobody waits for
/// this thread.
fn keep_group(pool: &Arc<Inner>, mut group: Group) {
    let is_large = matches!(group.memory_peak(), Ok(Some(peak)) if peak.value > LARGE);
    // One too many is removed where the stock is not locked.
    if !is_large {
        return drop(pool.keep_group(group, GROUPS));
    }
    let (plan, pool) = (pool.newest_plan(), Arc::downgrade(pool));
    spawn_blocking(move || {
        let is_new = plan.is_some_and(|plan| tree::reset(&mut group, &plan).is_ok());
        if let Some(pool) = pool.upgrade().filter(|_| is_new) {
            drop(pool.keep_group(group, GROUPS));
        }
    });
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
