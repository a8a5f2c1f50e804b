//! What cells cost while they wait, and a caller that is large.

use std::fs::{read_dir, read_to_string};
use std::time::{Duration, Instant};

use fumehood::{Job, Pool, PoolConfig, Sandbox};

use super::serve::Result;

/// Time for the kernel to free what is due.
const QUIET: Duration = Duration::from_secs(1);

/// Time to build the cell that a run took.
const REFILL: Duration = Duration::from_millis(20);

/// Parks so many cells of one kind, and says what all of them take: microseconds to build, KiB of the
/// kernel's memory, KiB of their inits' memory, descriptors of this process, and microseconds of a run
/// among them, the median of a few.
///
/// Both are the machine's before and after, so they are as good as the machine is quiet. Nobody but root
/// may ask which pages of an init are its own; on the machine, those that all have of their template
/// count once.
pub(super) async fn park(job: &Job, cells: usize) -> Result<String> {
    let first = Pool::new(Sandbox::new(), PoolConfig::default().parked(1));
    first.warm(job).await?;
    tokio::time::sleep(QUIET).await;
    let (kernel, user, open) = (kernel_kib()?, user_kib()?, descriptors()?);
    let pool = Pool::new(Sandbox::new(), PoolConfig::default().parked(cells));
    let start = Instant::now();
    pool.warm(job).await?;
    let took = start.elapsed().as_micros();
    tokio::time::sleep(QUIET).await;
    let parked = pool.metrics().parked;
    if parked < cells {
        return Err(format!("{parked} of {cells} cells are parked: {:?}", pool.metrics()).into());
    }
    let kernel = kernel_kib()?.saturating_sub(kernel);
    let user = user_kib()?.saturating_sub(user);
    let open = descriptors()?.saturating_sub(open);
    let run = run_among(&pool, job).await?;
    Ok(format!("{took} {kernel} {user} {open} {run}"))
}

/// Each finds the pool full again.
async fn run_among(pool: &Pool, job: &Job) -> Result<u128> {
    const RUNS: usize = 15;
    let mut took = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let start = Instant::now();
        pool.run(job).await?;
        took.push(start.elapsed().as_micros());
        tokio::time::sleep(REFILL).await;
    }
    took.sort_unstable();
    Ok(took[RUNS / 2])
}

/// Memory of this process that nobody needs, as that of a large service.
pub(super) fn grow(mebibytes: usize) -> Vec<u8> {
    // Every page is written to: one that was not is not there.
    vec![1; mebibytes << 20]
}

fn kernel_kib() -> Result<u64> {
    meminfo(&["Slab", "KernelStack", "PageTables", "Percpu"])
}

fn user_kib() -> Result<u64> {
    meminfo(&["AnonPages"])
}

/// The sum of lines of `/proc/meminfo` (proc_meminfo(5)).
fn meminfo(names: &[&str]) -> Result<u64> {
    let text = read_to_string("/proc/meminfo")?;
    let one = |name: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    Ok(names.iter().map(one).sum())
}

fn descriptors() -> Result<usize> {
    Ok(read_dir("/proc/self/fd")?.count())
}
