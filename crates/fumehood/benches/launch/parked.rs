//! What cells cost while they wait, and a caller that is large.

use std::fs::{read_dir, read_to_string};
use std::time::{Duration, Instant};

use fumehood::{Job, Pool, PoolConfig, Sandbox};

use super::serve::Result;

/// Time for the kernel to free what is due.
const QUIET: Duration = Duration::from_secs(1);

/// Parks so many cells of one kind, and says what all of them take: microseconds to build, KiB of the
/// kernel's memory, KiB of their inits' memory, descriptors of this process, and microseconds of a run
/// among them.
///
/// The kernel's memory is that of the machine before and after, so it is as good as the machine is
/// quiet. That of an init is its share: most pages it has are those of its template.
pub(super) async fn park(job: &Job, cells: usize) -> Result<String> {
    let first = Pool::new(Sandbox::new(), PoolConfig::default().parked(1));
    first.warm(job).await?;
    tokio::time::sleep(QUIET).await;
    let (inits, before, open) = (descendants()?, kernel_kib()?, descriptors()?);
    let pool = Pool::new(Sandbox::new(), PoolConfig::default().parked(cells));
    let start = Instant::now();
    pool.warm(job).await?;
    let took = start.elapsed().as_micros();
    tokio::time::sleep(QUIET).await;
    let parked = pool.metrics().parked;
    if parked < cells {
        return Err(format!("{parked} of {cells} cells are parked: {:?}", pool.metrics()).into());
    }
    let kernel = kernel_kib()?.saturating_sub(before);
    let open = descriptors()?.saturating_sub(open);
    let new = descendants()?.into_iter().filter(|pid| !inits.contains(pid));
    let user: u64 = new.map(|pid| share_kib(&pid)).sum();
    let start = Instant::now();
    pool.run(job).await?;
    let run = start.elapsed().as_micros();
    Ok(format!("{took} {kernel} {user} {open} {run}"))
}

/// Memory of this process that nobody needs, as that of a large service.
pub(super) fn grow(mebibytes: usize) -> Vec<u8> {
    // Every page is written to: one that was not is not there.
    vec![1; mebibytes << 20]
}

fn kernel_kib() -> Result<u64> {
    let text = read_to_string("/proc/meminfo")?;
    let one = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    Ok(["Slab", "KernelStack", "PageTables", "Percpu"].into_iter().map(one).sum())
}

fn descriptors() -> Result<usize> {
    Ok(read_dir("/proc/self/fd")?.count())
}

fn descendants() -> Result<Vec<String>> {
    let mut found = vec![std::process::id().to_string()];
    let mut index = 0;
    while let Some(parent) = found.get(index) {
        let tasks = read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| read_to_string(task.path().join("children")).ok());
        let children: Vec<String> = lists
            .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        found.extend(children);
        index += 1;
    }
    Ok(found)
}

/// Whoever may not look at a process is shown less of it: then all that it has counts as its own.
fn share_kib(pid: &str) -> u64 {
    let field = |file: &str, name: &str| {
        let text = read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    field("smaps_rollup", "Pss:").or_else(|| field("status", "RssAnon:")).unwrap_or(0)
}
