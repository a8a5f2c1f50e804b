//! Runs programs from one pool for a while, and says whether anything grows: `endure SECONDS CONCURRENCY`.
//!
//! Prints a line for each part of the time: runs, what the process and its helpers hold, and how long
//! a run and a bare process took. Then what was held at the beginning, in the middle and at the end, and
//! whether that is flat, by [rules](verdict). Fails if it is not. Further arguments are ignored: they are
//! for whoever looks for the processes.
#![expect(clippy::print_stdout, reason = "an example talks to a person")]

mod held;
mod times;
mod verdict;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fumehood::{Job, Outcome, Pool};
use tokio::task::JoinSet;

use held::Held;
use times::{Counts, Times};

/// There are at least so many parts, and one each minute of a longer time.
const FEWEST: u64 = 12;
const MINUTE: Duration = Duration::from_secs(60);

/// The part before the first that counts: caches fill, heaps grow to their size, and groups and
/// networks are kept until there are as many as runs ever meet each other.
const SETTLING: u32 = 6;

/// Between two bare processes: some hundred in the shortest part, and little beside all runs.
const BARE_EVERY: Duration = Duration::from_millis(25);

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

fn main() -> Result<()> {
    fumehood::init();
    let mut args = std::env::args().skip(1);
    let mut number = || args.next().and_then(|arg| arg.parse::<usize>().ok());
    let (seconds, concurrency) = number().zip(number()).ok_or("endure SECONDS CONCURRENCY")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let time = Duration::from_secs(u64::try_from(seconds)?);
    runtime.block_on(endure(time, concurrency))
}

/// What a part of the time showed.
#[derive(Clone, Debug)]
struct Part {
    runs: u64,
    failed: u64,
    /// When nothing ran and all was parked that is to be.
    held: Held,
    run: Times,
    /// A process without a sandbox, meanwhile.
    bare: Times,
}

async fn endure(time: Duration, concurrency: usize) -> Result<()> {
    let pool = Pool::default();
    part(&pool, (time / SETTLING).min(MINUTE), concurrency).await?;
    println!("{}", Part::heading());
    let count = (time.as_secs() / MINUTE.as_secs()).max(FEWEST);
    let mut parts = Vec::new();
    for _ in 0..count {
        let part = part(&pool, time / u32::try_from(count)?, concurrency).await?;
        println!("{}", part.line());
        parts.push(part);
    }
    let runs: u64 = parts.iter().map(|part| part.runs).sum();
    println!("\n{runs} runs, {concurrency} at a time; {:?}\n", pool.metrics());
    println!("{}", verdict::table(&parts));
    let wrong = verdict::judge(&parts);
    wrong.iter().for_each(|line| println!("NOT FLAT: {line}"));
    if wrong.is_empty() {
        println!("flat");
        return Ok(());
    }
    Err("something grows, or failed".into())
}

impl Part {
    fn heading() -> String {
        format!(
            "{:>8} {:>6} | {:>9} {:>11} {:>9} | {:>9} {:>8} | {:>9} {:>8} | {:>6}",
            "runs",
            "failed",
            "KiB",
            "descriptors",
            "processes",
            "run µs",
            "p99",
            "bare µs",
            "p99",
            "× bare"
        )
    }

    fn line(&self) -> String {
        let all = self.held.all();
        format!(
            "{:>8} {:>6} | {:>9} {:>11} {:>9} | {:>9} {:>8} | {:>9} {:>8} | {:>6.2}",
            self.runs,
            self.failed,
            all.kib,
            all.descriptors,
            all.processes,
            self.run.median.as_micros(),
            self.run.p99.as_micros(),
            self.bare.median.as_micros(),
            self.bare.p99.as_micros(),
            self.ratio(),
        )
    }

    /// How many times as long as a bare process at that time a run took, so that a machine that is
    /// slower for a while does not count.
    fn ratio(&self) -> f64 {
        self.run.median.as_secs_f64() / self.bare.median.as_secs_f64().max(f64::EPSILON)
    }

    /// The same of what one of a hundred runs exceeds.
    fn tail_ratio(&self) -> f64 {
        self.run.p99.as_secs_f64() / self.bare.p99.as_secs_f64().max(f64::EPSILON)
    }
}

/// Runs for that long, and looks when nothing runs and all that is to be parked is.
async fn part(pool: &Pool, time: Duration, concurrency: usize) -> Result<Part> {
    let until = Instant::now() + time;
    let bare = tokio::task::spawn_blocking(move || bare(until));
    let done = run(pool, until, concurrency).await?;
    let bare = bare.await??.times();
    pool.warm(&job()).await?;
    // What was used ends by itself, a moment later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (runs, run) = (done.counts.all(), done.counts.times());
    Ok(Part { runs, failed: done.failed, held: Held::look(), run, bare })
}

fn job() -> Job {
    Job::new(["true"])
}

/// Starts a process now and then without any sandbox.
fn bare(until: Instant) -> Result<Counts> {
    let mut counts = Counts::default();
    while Instant::now() < until {
        let began = Instant::now();
        let mut command = Command::new("true");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        counts.add(began.elapsed());
        std::thread::sleep(BARE_EVERY);
    }
    Ok(counts)
}

/// What was run in a part.
#[derive(Debug, Default)]
struct Done {
    counts: Counts,
    failed: u64,
}

/// A run that fails is counted and told of, and the others go on.
async fn run(pool: &Pool, until: Instant, concurrency: usize) -> Result<Done> {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let done = Arc::new(Mutex::new(Done::default()));
    let mut tasks = JoinSet::new();
    for _ in 0..concurrency {
        let (pool, done) = (pool.clone(), Arc::clone(&done));
        tasks.spawn(async move {
            while Instant::now() < until {
                let began = Instant::now();
                let outcome = pool.run(&job()).await.map(|report| report.outcome);
                let took = began.elapsed();
                let good = matches!(outcome, Ok(Outcome::Exited { code: 0 }));
                if !good && TOLD.fetch_add(1, Ordering::Relaxed) < 5 {
                    println!("failed: {outcome:?}");
                }
                let mut done = done.lock().map_err(|_| "a run panicked")?;
                done.counts.add(took);
                done.failed += u64::from(!good);
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(std::mem::take(&mut *done.lock().map_err(|_| "a run panicked")?))
}
