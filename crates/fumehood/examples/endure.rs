//! Runs programs from one pool for a while, and says whether anything grows: `endure SECONDS CONCURRENCY`.
//!
//! Prints a line for each part of the time: runs, what the process and its helpers hold, and how long
//! a run took. Fails if the last part is not like the first.
#![expect(clippy::print_stdout, reason = "an example talks to a person")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fumehood::{Job, Outcome, Pool};
use tokio::task::JoinSet;

/// How many lines there are.
const PARTS: u32 = 10;

/// The part before the first that counts: caches fill, heaps grow to their size.
const SETTLING: Duration = Duration::from_secs(5);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

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
#[derive(Clone, Copy, Debug)]
struct Part {
    runs: u64,
    resident_kib: u64,
    descriptors: usize,
    median: Duration,
    p95: Duration,
}

static FAILED: AtomicU64 = AtomicU64::new(0);

async fn endure(time: Duration, concurrency: usize) -> Result<()> {
    let pool = Pool::default();
    part(&pool, SETTLING.min(time), concurrency).await?;
    println!(
        "{:>9} {:>12} {:>12} {:>10} {:>10}",
        "runs", "resident KiB", "descriptors", "median µs", "p95 µs"
    );
    let (mut first, mut last, mut runs) = (None, None, 0);
    for _ in 0..PARTS {
        let part = part(&pool, time / PARTS, concurrency).await?;
        runs += part.runs;
        println!(
            "{:>9} {:>12} {:>12} {:>10} {:>10}",
            part.runs,
            part.resident_kib,
            part.descriptors,
            part.median.as_micros(),
            part.p95.as_micros()
        );
        first.get_or_insert(part);
        last = Some(part);
    }
    let failed = FAILED.load(Ordering::Relaxed);
    println!("{runs} runs, {concurrency} at a time, {failed} failed; {:?}", pool.metrics());
    let (first, last) = first.zip(last).ok_or("no time")?;
    if failed > 0 { Err("runs failed".into()) } else { compare(first, last) }
}

/// Latency is only shown: it is the machine's as much as ours.
fn compare(first: Part, last: Part) -> Result<()> {
    // A network that nobody is in takes eight, and their number depends on how runs met each other.
    if last.descriptors > first.descriptors + 64 {
        return Err(format!("descriptors: {} then {}", first.descriptors, last.descriptors).into());
    }
    // What an allocator keeps varies by a few pages for each thread.
    if last.resident_kib > first.resident_kib + first.resident_kib / 10 + 1024 {
        return Err(format!("KiB: {} then {}", first.resident_kib, last.resident_kib).into());
    }
    Ok(())
}

/// Runs for that long, and looks when nothing runs and all that is to be parked is.
async fn part(pool: &Pool, time: Duration, concurrency: usize) -> Result<Part> {
    let times = run(pool, time, concurrency).await?;
    pool.warm(&job()).await?;
    // What was used ends by itself, a moment later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut sorted = times;
    sorted.sort_unstable();
    let at = |percent: usize| sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default();
    let processes = processes()?;
    Ok(Part {
        runs: u64::try_from(sorted.len())?,
        resident_kib: processes.iter().map(|pid| resident(pid)).sum(),
        descriptors: processes.iter().map(|pid| descriptors(pid)).sum(),
        median: at(50),
        p95: at(95),
    })
}

fn job() -> Job {
    Job::new(["true"])
}

async fn run(pool: &Pool, time: Duration, concurrency: usize) -> Result<Vec<Duration>> {
    let times = std::sync::Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..concurrency {
        let (pool, times) = (pool.clone(), std::sync::Arc::clone(&times));
        tasks.spawn(async move {
            while start.elapsed() < time {
                let began = Instant::now();
                let report = pool.run(&job()).await?;
                if report.outcome != (Outcome::Exited { code: 0 }) {
                    FAILED.fetch_add(1, Ordering::Relaxed);
                }
                let took = began.elapsed();
                times.lock().map_err(|_| "a run panicked")?.push(took);
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let times = std::mem::take(&mut *times.lock().map_err(|_| "a run panicked")?);
    Ok(times)
}

/// This process and all below it: zygote, template, and the inits that are parked, which are as many
/// each time.
fn processes() -> Result<Vec<String>> {
    let mut found = vec![std::process::id().to_string()];
    let mut index = 0;
    while let Some(parent) = found.get(index) {
        found.extend(children(parent));
        index += 1;
    }
    Ok(found)
}

fn children(parent: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn resident(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn descriptors(pid: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
