//! Cells that are built ahead, each used once.

mod build;
mod keeper;
mod recipe;
mod stock;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::{Error, Job, Report, Result, Running, Sandbox, Streams};

use stock::{Stock, Taken};

/// How many cells a [`Pool`] keeps, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// Cells that are kept parked for each kind of job. A parked cell costs some 300 KiB of kernel
    /// memory, a hundred more where it has a control group, ten descriptors of this process, and no
    /// CPU time; the first eight of a kind, where programs begin before they are known, take a process and a
    /// descriptor more. No more are kept than three quarters of its descriptors (`RLIMIT_NOFILE`)
    /// allow; [`Pool::warm`] says so. Each has two pipes: from some 500 cells of one user on, who has no
    /// privileges, the kernel makes all further pipes of that user small (`pipe-user-pages-soft`,
    /// pipe(7)).
    pub parked: usize,
    /// Kinds of jobs for which cells are kept: those that were asked for last.
    pub kinds: usize,
    /// Age at which a parked cell is thrown away, and the host is looked at anew: a cell shows the
    /// host's directories as they were mounted when it was built. At least 100 ms.
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
    /// Templates that were made: what the cells of one kind have in common.
    pub templates: u64,
}

/// Runs jobs in cells that were built ahead: what is left to do when a job comes is to start its
/// program.
///
/// Every cell is used once. Which cell fits which job is decided by all that shapes the confinement:
/// mounts, network, limits that the kernel holds, filter, waivers. The first job of a kind is built
/// as by [`Sandbox`], and cells for the next ones are parked in the background: up to the full number
/// while no run is in progress, beside runs only to half of it, once some have been in progress for a
/// millisecond, and to a quarter at once. Jobs whose root is a directory or an image, those with
/// copy-on-write mounts, and those whose working directory has to be made are always built when they come.
///
/// A pool belongs to the runtime that it is first used on, until that is shut down: on any other its jobs
/// are built as by [`Sandbox`]. Copies share their cells; dropping the last one ends them.
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
    /// Held by whoever finds out what the cells of a shelf are made of.
    looking: tokio::sync::Mutex<()>,
    /// Something for the keeper to do.
    work: Arc<Notify>,
    running: AtomicUsize,
    /// Since when somebody has been running at any time.
    busy_since: Mutex<Instant>,
    counts: Counts,
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
    templates: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Pool {
    /// A pool whose cells come from this sandbox.
    #[must_use]
    pub fn new(sandbox: Sandbox, mut config: PoolConfig) -> Self {
        // Cells that are old as soon as they are built would be built without end.
        const LEAST: Duration = Duration::from_millis(100);
        config.max_age = config.max_age.max(LEAST);
        Self(Arc::new(Inner {
            sandbox,
            config,
            stock: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            work: Arc::default(),
            running: AtomicUsize::new(0),
            busy_since: Mutex::new(Instant::now()),
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
        let Some((parked, spent)) = self.0.take(job) else {
            count(&self.0.counts.misses);
            let running = Box::pin(self.0.sandbox.spawn(job, streams)).await?;
            return Ok(running.in_pool(None, progress));
        };
        let running = match parked {
            Some(Taken { plan: before, cell, recipe, told }) => {
                count(&self.0.counts.hits);
                let sandbox = &self.0.sandbox;
                match recipe {
                    Some(recipe) => sandbox.spawn_by(job, &recipe, cell, told, streams).await?,
                    None => {
                        let plan = before.again(job)?;
                        Box::pin(sandbox.spawn_in(plan, &before, cell, streams)).await?
                    }
                }
            }
            None => {
                count(&self.0.counts.misses);
                let running = Box::pin(self.0.spawn_new(job, streams)).await?;
                if job.can_be_parked() {
                    self.0.open_shelf(job);
                    self.0.ask(job);
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
    /// Why no cell can be built: as for [`Sandbox::run`]; and if this process may not have as many
    /// descriptors as so many cells take, ten each. On another runtime than the pool's it cannot be done.
    pub async fn warm(&self, job: &Job) -> Result<()> {
        if !job.can_be_parked() {
            return Ok(());
        }
        if self.0.own_stock().is_none() {
            let reason = "the pool belongs to another runtime, which is still there";
            return Err(Error::internal("park cells", std::io::Error::other(reason)));
        }
        self.0.has_room()?;
        self.0.prepare(job).await?;
        self.0.ask(job);
        self.keep();
        while let Some(shape) = self.0.wanting(|shelf| shelf.shape.same_cell(job)) {
            let (plan, cell) = self.0.build(&shape).await?;
            self.0.park(plan, cell);
        }
        self.0.learn();
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
            templates: read(&counts.templates),
        }
    }

    /// Ends all parked cells. Runs in progress go on.
    pub fn drain(&self) {
        let stock = std::mem::take(&mut *self.0.stock());
        // Ended here, where the stock is not locked.
        drop(stock);
    }

    /// Has a keeper look after the stock, on the runtime of the caller.
    fn keep(&self) {
        let mut stock = self.0.stock();
        if stock.spent.as_ref().is_none_or(mpsc::UnboundedSender::is_closed) {
            let (sender, spent) = mpsc::unbounded_channel();
            stock.spent = Some(sender);
            stock.home = Some(runtime::Handle::current().id());
            tokio::spawn(keeper::keep(Arc::downgrade(&self.0), spent));
        }
        drop(stock);
        self.0.work.notify_one();
    }
}

/// A run in progress; while there is one, a shelf is not filled at once, nor to more than half.
#[derive(Debug)]
pub(crate) struct InProgress(Arc<Inner>);

impl InProgress {
    fn new(inner: &Arc<Inner>) -> Self {
        if inner.running.fetch_add(1, Ordering::Relaxed) == 0 {
            *inner.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        Self(Arc::clone(inner))
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::sync::atomic::AtomicBool;
    use std::task::{Context, Wake};

    use super::*;

    /// Woken when what a stock holds is dropped.
    struct Dropped {
        pool: Weak<Inner>,
        is_free: AtomicBool,
    }

    impl Wake for Dropped {
        fn wake(self: Arc<Self>) {
            let pool = self.pool.upgrade().unwrap();
            self.is_free.store(pool.stock.try_lock().is_ok(), Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_drained_is_dropped_where_the_stock_is_not_locked() {
        let pool = Pool::default();
        let (sender, mut spent) = mpsc::unbounded_channel();
        pool.0.stock().spent = Some(sender);
        let is_free = AtomicBool::new(false);
        let dropped = Arc::new(Dropped { pool: Arc::downgrade(&pool.0), is_free });
        let waker = Arc::clone(&dropped).into();
        assert!(spent.poll_recv(&mut Context::from_waker(&waker)).is_pending());
        pool.drain();
        assert!(spent.is_closed() && dropped.is_free.load(Ordering::Relaxed));
    }
}
