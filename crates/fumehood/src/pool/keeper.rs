//! Who looks after a pool's stock.

use std::sync::{Arc, Weak};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{Inner, count};
use crate::supervise::Spent;

/// Groups that are kept to be used again.
const GROUPS: usize = 64;

/// Looks after the stock for as long as there is a pool: takes used cells back, builds new ones,
/// throws old ones away.
pub(super) async fn keep(pool: Weak<Inner>, mut spent: mpsc::UnboundedReceiver<Spent>) {
    loop {
        let Some(inner) = pool.upgrade() else { return };
        while let Ok(cell) = spent.try_recv() {
            take_back(&inner, cell).await;
        }
        inner.tidy();
        if let Some(shape) = inner.due() {
            match inner.build(&shape).await {
                Ok((plan, cell)) => {
                    inner.park(plan, cell);
                    continue;
                }
                Err(_) => count(&inner.counts.failed),
            }
        }
        let (expiry, work) = (inner.next_expiry(), Arc::clone(&inner.work));
        drop(inner);
        tokio::select! {
            () = work.notified() => {}
            () = until(expiry) => {}
            cell = spent.recv() => match (cell, pool.upgrade()) {
                (Some(cell), Some(inner)) => take_back(&inner, cell).await,
                _ => return,
            },
        }
    }
}

/// Keeps the group of a cell that was used, once nothing runs in it any more.
async fn take_back(pool: &Inner, mut cell: Spent) {
    cell.init.ended().await;
    let mut stock = pool.stock();
    if let Some(group) = cell.group.take()
        && stock.groups.len() < GROUPS
    {
        stock.groups.push(group);
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
