//! How many runs a second, with so many in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fumehood::{Job, Pool, PoolConfig, Sandbox};

use super::serve::{Result, good};
use super::{PARKED, spawn};

/// What is run over and over.
#[derive(Clone)]
pub(super) enum Kind {
    /// A command, started by nobody of ours.
    Spawn(Vec<String>),
    Cold(Sandbox, Job),
    /// Every run in a cell of its own all the same, whether one was parked or not: whatever the
    /// pool does to make them is in the figure.
    Pool(Pool, Job),
}

impl Kind {
    pub(super) fn new(name: &str, argv: &[&str], job: &Job) -> Result<Self> {
        match (name, argv) {
            ("spawn", [_, ..]) => Ok(Self::Spawn(argv.iter().map(|&arg| arg.to_owned()).collect())),
            ("cold", []) => Ok(Self::Cold(Sandbox::new(), job.clone())),
            ("pool", []) => {
                let config = PoolConfig::default().parked(PARKED);
                Ok(Self::Pool(Pool::new(Sandbox::new(), config), job.clone()))
            }
            _ => Err(format!("no kind of run {name}, or not with such arguments").into()),
        }
    }

    async fn run(&self) -> bool {
        match self {
            Self::Spawn(_) => false,
            Self::Cold(sandbox, job) => sandbox.run(job).await.is_ok_and(|report| good(&report)),
            Self::Pool(pool, job) => pool.run(job).await.is_ok_and(|report| good(&report)),
        }
    }
}

#[derive(Default)]
struct Count {
    runs: AtomicU64,
    failed: AtomicU64,
}

impl Count {
    fn add(&self, succeeded: bool) {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(!succeeded), Ordering::Relaxed);
    }
}

/// All runs that are started within the time, and how long it took until the last one had ended.
pub(super) fn throughput(kind: &Kind, concurrency: usize, time: Duration) -> Result<String> {
    let count = Arc::new(Count::default());
    let elapsed = match kind {
        Kind::Spawn(argv) => in_threads(argv, concurrency, time, &count),
        sandboxed => {
            let cores = std::thread::available_parallelism()?.get();
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(cores).enable_all().build()?;
            runtime.block_on(in_tasks(sandboxed, concurrency, time, &count))?
        }
    };
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(format!("{} {} {}", read(&count.runs), read(&count.failed), elapsed.as_micros()))
}

fn in_threads(argv: &[String], concurrency: usize, time: Duration, count: &Count) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..concurrency {
            scope.spawn(|| {
                while start.elapsed() < time {
                    count.add(spawn(argv).is_ok_and(|succeeded| succeeded));
                }
            });
        }
    });
    start.elapsed()
}

async fn in_tasks(
    kind: &Kind,
    concurrency: usize,
    time: Duration,
    count: &Arc<Count>,
) -> Result<Duration> {
    if let Kind::Pool(pool, job) = kind {
        pool.warm(job).await?;
    }
    let start = Instant::now();
    let tasks: Vec<_> = (0..concurrency)
        .map(|_| {
            let (kind, count) = (kind.clone(), Arc::clone(count));
            tokio::spawn(async move {
                while start.elapsed() < time {
                    count.add(kind.run().await);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    Ok(start.elapsed())
}
