//! What a pool holds.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use rustix::process::{Resource, getrlimit};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Inner, count};
use crate::backend::native::cell::Cell;
use crate::backend::native::cgroup::Group;
use crate::backend::native::template::Template;
use crate::plan::Plan;
use crate::supervise::Spent;
use crate::{Error, Job, Result};

/// A cell, and the plan that it was built by.
pub(super) type Built = (Arc<Plan>, Cell);

#[derive(Debug, Default)]
pub(super) struct Stock {
    /// The one that was asked for last comes last.
    pub(super) shelves: Vec<Shelf>,
    /// Groups in which nothing runs any more.
    pub(super) groups: Vec<Group>,
    /// Where cells that have been used go; there when the keeper is.
    pub(super) spent: Option<mpsc::UnboundedSender<Spent>>,
}

/// The cells for one kind of job.
#[derive(Debug)]
pub(super) struct Shelf {
    /// A job of that kind, without anything that is a job's own.
    pub(super) shape: Arc<Job>,
    pub(super) origin: Origin,
    pub(super) cells: VecDeque<Parked>,
}

/// What the cells of a shelf are made of.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// Nobody has looked yet.
    Unknown,
    /// A template, by the plan that it was made by; `proven` if a cell was made in it.
    Template { plan: Arc<Plan>, template: Arc<Template>, since: Instant, proven: bool },
    /// Nothing: a template cannot be made, or could not be used.
    Nothing { since: Instant },
}

/// A cell with the plan that it was built by: later plans of its kind may differ as the host does.
#[derive(Debug)]
pub(super) struct Parked {
    plan: Arc<Plan>,
    cell: Cell,
    since: Instant,
}

/// Descriptors that a parked cell takes.
const EACH: u64 = 8;

/// For how many parked cells there are descriptors: a quarter is for what is kept open to save time.
fn room() -> usize {
    let most = descriptors();
    usize::try_from((most - most / 4) / EACH).unwrap_or(usize::MAX)
}

fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

impl Stock {
    pub(super) fn shelf(&mut self, job: &Job) -> Option<&mut Shelf> {
        self.shelves.iter_mut().find(|shelf| shelf.shape.same_cell(job))
    }
}

impl Inner {
    pub(super) fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process may have the descriptors that parked cells take. It is better told so at
    /// once than by the first of its own files that cannot be opened.
    ///
    /// # Errors
    /// What it takes, and what there is.
    pub(super) fn has_room(&self) -> Result<()> {
        let cells = self.config.parked;
        if cells <= room() {
            return Ok(());
        }
        let most = descriptors();
        let wanted = u64::try_from(cells).unwrap_or(u64::MAX).saturating_mul(EACH);
        let needed = wanted.saturating_add(wanted / 3).saturating_add(1);
        let reason = format!(
            "this process may have {most} descriptors, and needs {needed}: raise RLIMIT_NOFILE \
             (ulimit -n), or keep fewer parked"
        );
        Err(Error::internal(format!("park {cells} cells"), std::io::Error::other(reason)))
    }

    pub(super) fn is_old(&self, since: Instant) -> bool {
        since.elapsed() >= self.config.max_age
    }

    /// A parked cell for this job with the plan that it was built by, and where it goes after.
    pub(super) fn take(&self, job: &Job) -> (Option<Built>, Option<mpsc::UnboundedSender<Spent>>) {
        let mut stock = self.stock();
        let spent = stock.spent.clone();
        let found = stock.shelves.iter().position(|shelf| shelf.shape.same_cell(job));
        let Some(index) = found else { return (None, spent) };
        let shelf = stock.shelves.remove(index);
        stock.shelves.push(shelf);
        let Some(shelf) = stock.shelves.last_mut() else { return (None, spent) };
        while let Some(Parked { plan, cell, since }) = shelf.cells.pop_front() {
            if !self.is_old(since) && cell.is_alive() {
                return (Some((plan, cell)), spent);
            }
            count(&self.counts.discarded);
        }
        (None, spent)
    }

    /// Makes room for cells for jobs like this one.
    pub(super) fn open_shelf(&self, job: &Job) {
        let mut stock = self.stock();
        if stock.shelf(job).is_some() {
            return;
        }
        let shape = Arc::new(job.shape());
        stock.shelves.push(Shelf { shape, origin: Origin::Unknown, cells: VecDeque::new() });
        let excess = stock.shelves.len().saturating_sub(self.config.kinds);
        stock.shelves.drain(..excess);
    }

    /// A job for which there are too few cells, among those that are asked for.
    pub(super) fn wanting(&self, which: impl Fn(&Shelf) -> bool) -> Option<Arc<Job>> {
        let most = self.config.parked.min(room());
        let stock = self.stock();
        let short = |shelf: &&Shelf| which(shelf) && shelf.cells.len() < most;
        stock.shelves.iter().rev().find(short).map(|shelf| Arc::clone(&shelf.shape))
    }

    /// A job for which a cell should be built now: nothing runs, or its shelf is empty.
    pub(super) fn due(&self) -> Option<Arc<Job>> {
        let idle = self.running.load(Ordering::Relaxed) == 0;
        self.wanting(|shelf| idle || shelf.cells.is_empty())
    }

    /// Puts a cell on its shelf, unless that is full or gone.
    pub(super) fn park(&self, plan: Arc<Plan>, cell: Cell) {
        let mut stock = self.stock();
        match stock.shelf(&plan.job).filter(|shelf| shelf.cells.len() < self.config.parked) {
            Some(shelf) => shelf.cells.push_back(Parked { plan, cell, since: Instant::now() }),
            None => count(&self.counts.discarded),
        }
    }

    /// Keeps a group, or gives it back if there are as many as that.
    pub(super) fn keep_group(&self, group: Group, most: usize) -> Option<Group> {
        let mut stock = self.stock();
        if stock.groups.len() >= most {
            return Some(group);
        }
        stock.groups.push(group);
        None
    }

    /// Throws away what is too old.
    pub(super) fn tidy(&self) {
        let mut old = Vec::new();
        for shelf in &mut self.stock().shelves {
            while shelf.cells.front().is_some_and(|parked| self.is_old(parked.since)) {
                old.extend(shelf.cells.pop_front());
                count(&self.counts.discarded);
            }
        }
        // Ended here, where the stock is not locked.
        drop(old);
    }

    /// When the next cell is too old.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let stock = self.stock();
        let oldest =
            stock.shelves.iter().filter_map(|shelf| shelf.cells.front()).map(|parked| parked.since);
        oldest.min()?.checked_add(self.config.max_age)
    }
}
