//! What a run costs through the service beyond what it costs in the library: the same job, in turn, by
//! two processes that both have cells parked for it.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::http::{Connection, Request};
use super::kinds::Kinds;
use super::server::{Server, cpu_time};
use super::stats::Times;
use crate::bench::Harness;

/// The job of the kind `echo`, with the limit that the service puts in.
const JOB: &str = r#"{"args":["/bin/echo","hello"],"limits":{"output":"4MiB"}}"#;

/// Runs between two refills of the library's pool.
const BATCH: usize = 24;

/// Time for a pool to put a cell in the place of one that was used.
const PAUSE: Duration = Duration::from_millis(15);

/// What was seen of one of the two.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) times: Times,
    /// CPU time of the process, in all.
    cpu: Duration,
}

impl Side {
    fn micros_of_cpu(&self) -> u128 {
        self.cpu.as_micros() / self.times.count().max(1) as u128
    }
}

/// Both, and what was wrong.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) library: Side,
    pub(super) service: Side,
    pub(super) wrong: Vec<String>,
}

impl Seen {
    /// How much later the service's answer comes at the median, in milliseconds.
    pub(super) fn more(&self) -> Option<f64> {
        let median = |side: &Side| side.times.quantile(500).map(|time| time.as_secs_f64() * 1e3);
        Some(median(&self.service)? - median(&self.library)?)
    }
}

/// Runs the same job so many times by each.
pub(super) fn measure(
    server: &Server,
    bench: &Path,
    kinds: &Kinds,
    runs: usize,
) -> Result<Seen, String> {
    let mut command = Command::new(bench);
    let mut harness = Harness::start({
        command.args(["--serve", "/bin/true"]);
        command
    })?;
    harness.ask(&format!("job\t{JOB}"))?;
    let open = || Connection::open(server.address).map_err(|error| error.to_string());
    let (mut connection, mut seen) = (open()?, Seen::default());
    let kind = kinds.named("echo");
    // The first of both find nothing parked.
    connection.ask(&kind.request).map_err(|error| error.to_string())?;
    let hits = pool_hits(server);
    for run in 0..runs {
        if run % BATCH == 0 {
            harness.ask("fill")?;
        }
        thread::sleep(PAUSE);
        let (cpu, began) = (cpu_time(server.pid()), Instant::now());
        let reply = connection.ask(&kind.request).map_err(|error| error.to_string())?;
        seen.service.times.add(began.elapsed());
        seen.service.cpu += cpu_time(server.pid()).saturating_sub(cpu);
        seen.wrong.extend(kind.fault(&reply));
        thread::sleep(PAUSE);
        let cpu = cpu_time(harness.pid());
        let (micros, good) = harness.run("warm")?;
        seen.library.times.add(Duration::from_micros(micros));
        seen.library.cpu += cpu_time(harness.pid()).saturating_sub(cpu);
        seen.wrong.extend((!good).then(|| "the library's run failed".to_owned()));
    }
    let missed = (runs as u64).saturating_sub(pool_hits(server).saturating_sub(hits));
    if missed > 0 {
        println!("{missed} of the service's {runs} runs found no cell parked");
    }
    Ok(seen)
}

pub(super) fn print(seen: &Seen) {
    println!("\n{:>8} {:>9} {:>9} {:>9} {:>9}", "", "p50 ms", "p99 ms", "most ms", "CPU us");
    for (name, side) in [("library", &seen.library), ("service", &seen.service)] {
        println!("{name:>8} {} {:>9}", side.times, side.micros_of_cpu());
    }
}

fn pool_hits(server: &Server) -> u64 {
    let metrics = super::http::once(server.address, &Request::get("/metrics"));
    let text = metrics.map_or_else(|_| Vec::new(), |reply| reply.body);
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("fumehood_pool_hits_total "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}
