//! Cells that are built ahead, each used once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::backend::native::cell::{Cell, NotBuilt};
use crate::backend::native::cgroup::Group;
use crate::backend::native::tree;
use crate::host::Host;
use crate::plan::Plan;
use crate::supervise::Spent;
use crate::{Job, Report, Result, Running, Sandbox, Streams};

/// How many cells a [`Pool`] keeps, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// Cells that are kept parked for each kind of job. A parked cell costs some 300 KiB of kernel
    /// memory and no CPU time.
    pub parked: usize,
    /// Kinds of jobs for which cells are kept: those that were asked for last.
    pub kinds: usize,
    /// Age at which a parked cell is thrown away, and the host is looked at anew: a cell shows the
    /// host's directories as they were mounted when it was built.
    pub max_age: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { parked: 8, kinds: 8, max_age: Duration::from_secs(300) }
    }
}

impl PoolConfig {
    /// Sets how many cells are kept parked for each kind of job.
    #[must_use]
    pub const fn parked(mut self, cells: usize) -> Self {
        self.parked = cells;
        self
    }

    /// Sets for how many kinds of jobs cells are kept.
    #[must_use]
    pub const fn kinds(mut self, kinds: usize) -> Self {
        self.kinds = kinds;
        self
    }

    /// Sets the age at which a parked cell is thrown away.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }
}

/// What a [`Pool`] has done so far, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolMetrics {
    /// Cells that are parked now.
    pub parked: usize,
    /// Runs that are in progress.
    pub running: usize,
    /// Runs that got a parked cell.
    pub hits: u64,
    /// Runs that had to wait for a cell to be built.
    pub misses: u64,
    /// Cells that were built ahead.
    pub built: u64,
    /// Time that building them took, in microseconds.
    pub build_us: u64,
    /// Cells that were thrown away unused because of their age, or were found dead.
    pub discarded: u64,
    /// Cells that could not be built ahead. The next run is built without the pool, and says why.
    pub failed: u64,
    /// Control groups that were used again.
    pub groups_recycled: u64,
}

/// Runs jobs in cells that were built ahead: what is left to do when a job comes is to start its
/// program.
///
/// Every cell is used once. Which cell fits which job is decided by all that shapes the confinement:
/// mounts, network, limits that the kernel holds, filter, waivers. The first job of a kind is built
/// as by [`Sandbox`], and cells for the next ones are parked in the background, while no run is in
/// progress or as soon as there is none left. Jobs whose root is a directory or an image, and those
/// with copy-on-write mounts, are always built when they come.
///
/// A pool belongs to the runtime that it is first used on. Copies share their cells; dropping the
/// last one ends them.
///
/// ```no_run
/// # async fn example() -> fumehood::Result<()> {
/// fumehood::init(); // first in main, before there are threads
/// let pool = fumehood::Pool::default();
/// let job = fumehood::Job::new(["python3", "-c", "print('hello')"]);
/// pool.warm(&job).await?;
/// let report = pool.run(&job).await?;
/// assert_eq!(report.stdout.data, b"hello\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Pool(Arc<Inner>);

impl Default for Pool {
    fn default() -> Self {
        Self::new(Sandbox::new(), PoolConfig::default())
    }
}

#[derive(Debug)]
struct Inner {
    sandbox: Sandbox,
    config: PoolConfig,
    stock: Mutex<Stock>,
    /// Something for the keeper to do.
    work: Arc<Notify>,
    running: AtomicUsize,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Stock {
    /// The one that was asked for last comes last.
    shelves: Vec<Shelf>,
    /// Groups in which nothing runs any more.
    groups: Vec<Group>,
    /// Where cells that have been used go; there when the keeper is.
    spent: Option<mpsc::UnboundedSender<Spent>>,
}

/// The cells for one kind of job.
#[derive(Debug)]
struct Shelf {
    plan: Plan,
    since: Instant,
    cells: VecDeque<Parked>,
}

/// A cell with the plan that it was built by: later plans of its kind may differ as the host does.
#[derive(Debug)]
struct Parked {
    plan: Plan,
    cell: Cell,
    since: Instant,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    built: AtomicU64,
    build_us: AtomicU64,
    discarded: AtomicU64,
    failed: AtomicU64,
    groups_recycled: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Pool {
    /// A pool whose cells come from this sandbox.
    #[must_use]
    pub fn new(sandbox: Sandbox, config: PoolConfig) -> Self {
        Self(Arc::new(Inner {
            sandbox,
            config,
            stock: Mutex::default(),
            work: Arc::default(),
            running: AtomicUsize::new(0),
            counts: Counts::default(),
        }))
    }

    /// Runs a job to its end and captures its output. Dropping the future kills the program and
    /// everything it started.
    ///
    /// # Errors
    /// As for [`Sandbox::run`].
    pub async fn run(&self, job: &Job) -> Result<Report> {
        let mut running = self.spawn(job, Streams::captured()).await?;
        running.wait().await
    }

    /// Starts a job, with its streams led where the caller wants them.
    ///
    /// # Errors
    /// As for [`Sandbox::spawn`].
    pub async fn spawn(&self, job: &Job, streams: Streams) -> Result<Running> {
        let progress = InProgress::new(&self.0);
        let (parked, spent) = self.0.take(job);
        let running = match parked {
            Some((plan, cell)) => {
                count(&self.0.counts.hits);
                let plan = plan.again(job)?;
                self.0.sandbox.spawn_in(plan, cell, streams).await?
            }
            None => {
                count(&self.0.counts.misses);
                let running = self.0.sandbox.spawn(job, streams).await?;
                if job.can_be_parked() {
                    self.0.open_shelf(running.plan());
                    self.keep();
                }
                running
            }
        };
        Ok(running.in_pool(spent, progress))
    }

    /// Parks cells for jobs like this one, as many as are kept of a kind.
    ///
    /// # Errors
    /// Why no cell can be built: as for [`Sandbox::run`].
    pub async fn warm(&self, job: &Job) -> Result<()> {
        if !job.can_be_parked() {
            return Ok(());
        }
        let (plan, cell) = self.0.build(job).await?;
        self.0.open_shelf(Some(&plan));
        self.0.park(plan, cell);
        self.keep();
        while let Some(plan) = self.0.wanting(|shelf| shelf.plan.job.same_cell(job)) {
            let (plan, cell) = self.0.build(&plan.job).await?;
            self.0.park(plan, cell);
        }
        Ok(())
    }

    /// What the pool has done and holds.
    #[must_use]
    pub fn metrics(&self) -> PoolMetrics {
        let counts = &self.0.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PoolMetrics {
            parked: self.0.stock().shelves.iter().map(|shelf| shelf.cells.len()).sum(),
            running: self.0.running.load(Ordering::Relaxed),
            hits: read(&counts.hits),
            misses: read(&counts.misses),
            built: read(&counts.built),
            build_us: read(&counts.build_us),
            discarded: read(&counts.discarded),
            failed: read(&counts.failed),
            groups_recycled: read(&counts.groups_recycled),
        }
    }

    /// Ends all parked cells. Runs in progress go on.
    pub fn drain(&self) {
        let mut stock = self.0.stock();
        let stock = std::mem::take(&mut *stock);
        drop(stock);
    }

    /// Has a keeper look after the stock, on the runtime of the caller.
    fn keep(&self) {
        let mut stock = self.0.stock();
        if stock.spent.as_ref().is_none_or(mpsc::UnboundedSender::is_closed) {
            let (sender, spent) = mpsc::unbounded_channel();
            stock.spent = Some(sender);
            tokio::spawn(keep(Arc::downgrade(&self.0), spent));
        }
        drop(stock);
        self.0.work.notify_one();
    }
}

/// A run in progress; while there is one, nothing is built ahead.
#[derive(Debug)]
pub(crate) struct InProgress(Arc<Inner>);

impl InProgress {
    fn new(inner: &Arc<Inner>) -> Self {
        inner.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(inner))
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.work.notify_one();
    }
}

impl Inner {
    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A parked cell for this job with the plan that it was built by, and where it goes after.
    fn take(&self, job: &Job) -> (Option<(Plan, Cell)>, Option<mpsc::UnboundedSender<Spent>>) {
        let mut stock = self.stock();
        let spent = stock.spent.clone();
        let found = stock.shelves.iter().position(|shelf| shelf.plan.job.same_cell(job));
        let Some(index) = found else { return (None, spent) };
        let shelf = stock.shelves.remove(index);
        stock.shelves.push(shelf);
        let Some(shelf) = stock.shelves.last_mut() else { return (None, spent) };
        while let Some(Parked { plan, cell, since }) = shelf.cells.pop_front() {
            if since.elapsed() < self.config.max_age && cell.is_alive() {
                return (Some((plan, cell)), spent);
            }
            count(&self.counts.discarded);
        }
        (None, spent)
    }

    /// Makes room for cells of this plan.
    fn open_shelf(&self, plan: Option<&Plan>) {
        let Some(plan) = plan else { return };
        let mut stock = self.stock();
        let known = stock.shelves.iter_mut().find(|shelf| shelf.plan.job.same_cell(&plan.job));
        if let Some(shelf) = known {
            if shelf.since.elapsed() >= self.config.max_age {
                (shelf.plan, shelf.since) = (plan.clone(), Instant::now());
            }
            return;
        }
        let shelf = Shelf { plan: plan.clone(), since: Instant::now(), cells: VecDeque::new() };
        stock.shelves.push(shelf);
        let excess = stock.shelves.len().saturating_sub(self.config.kinds);
        stock.shelves.drain(..excess);
    }

    /// The plan of a shelf that has too few cells, among those that are asked for.
    fn wanting(&self, which: impl Fn(&Shelf) -> bool) -> Option<Plan> {
        let stock = self.stock();
        let short = |shelf: &&Shelf| which(shelf) && shelf.cells.len() < self.config.parked;
        stock.shelves.iter().rev().find(short).map(|shelf| shelf.plan.clone())
    }

    /// Puts a cell on its shelf, unless that is full or gone.
    fn park(&self, plan: Plan, cell: Cell) {
        let mut stock = self.stock();
        let shelf = stock.shelves.iter_mut().find(|shelf| shelf.plan.job.same_cell(&plan.job));
        match shelf.filter(|shelf| shelf.cells.len() < self.config.parked) {
            Some(shelf) => shelf.cells.push_back(Parked { plan, cell, since: Instant::now() }),
            None => count(&self.counts.discarded),
        }
    }

    /// Builds a cell and waits until it stands.
    async fn build(&self, job: &Job) -> Result<(Plan, Cell)> {
        let (host, began) = (Host::current(), Instant::now());
        let mut plan = Plan::make(job, host, Vec::new())?;
        loop {
            match self.build_by(&plan).await {
                Ok(cell) => {
                    let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                    count(&self.counts.built);
                    self.counts.build_us.fetch_add(us, Ordering::Relaxed);
                    return Ok((plan, cell));
                }
                Err(NotBuilt::Failed(error)) => return Err(error),
                Err(NotBuilt::Blocked(blocked)) => plan = plan.do_without(blocked, host)?,
            }
        }
    }

    async fn build_by(&self, plan: &Plan) -> Result<Cell, NotBuilt> {
        let group = match self.recycled(plan) {
            Some(group) => Some(group),
            None => tree::group(plan)?,
        };
        Cell::build_in(&self.sandbox.launcher, plan, group).await?.park().await
    }

    /// A group in which something ran before, made as good as new.
    fn recycled(&self, plan: &Plan) -> Option<Group> {
        let mut group = self.stock().groups.pop()?;
        // What cannot be made new is removed when it is dropped.
        tree::reset(&mut group, plan).ok()?;
        count(&self.counts.groups_recycled);
        Some(group)
    }

    /// Throws away what is too old.
    fn tidy(&self) {
        let is_old = |parked: &Parked| parked.since.elapsed() >= self.config.max_age;
        let mut old = Vec::new();
        for shelf in &mut self.stock().shelves {
            while shelf.cells.front().is_some_and(is_old) {
                old.extend(shelf.cells.pop_front());
                count(&self.counts.discarded);
            }
        }
        // Ended here, where the stock is not locked.
        drop(old);
    }

    /// When the next cell is too old.
    fn next_expiry(&self) -> Option<Instant> {
        let stock = self.stock();
        let oldest =
            stock.shelves.iter().filter_map(|shelf| shelf.cells.front()).map(|parked| parked.since);
        oldest.min()?.checked_add(self.config.max_age)
    }

    /// A kind of job for which a cell should be built now: nothing runs, or its shelf is empty.
    fn due(&self) -> Option<Plan> {
        let idle = self.running.load(Ordering::Relaxed) == 0;
        self.wanting(|shelf| idle || shelf.cells.is_empty())
    }
}

/// Groups that are kept to be used again.
const GROUPS: usize = 64;

/// Looks after the stock for as long as there is a pool: takes used cells back, builds new ones,
/// throws old ones away.
async fn keep(pool: Weak<Inner>, mut spent: mpsc::UnboundedReceiver<Spent>) {
    loop {
        let Some(inner) = pool.upgrade() else { return };
        while let Ok(cell) = spent.try_recv() {
            take_back(&inner, cell).await;
        }
        inner.tidy();
        if let Some(plan) = inner.due() {
            match inner.build(&plan.job).await {
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
