//! What the parts of a run take, in microseconds: `cargo bench -p fumehood --bench parts [FILTER]`.
//!
//! Each is done many times, one after the other. A harness of sixty lines does for that: criterion
//! would bring some sixty crates, divan a command line parser and its macros.
#![expect(clippy::print_stdout, reason = "it reports")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use fumehood::policy::seccomp::{Arch, DEFAULT_JSON, Profile, Target, compile};
use fumehood::{Job, Plan, Pool, PoolConfig, Report, Sandbox, Streams};
use fumehood_child::Step;
use fumehood_child::step::{Reader, Sink};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const TIMES: usize = 200;

fn main() -> Result<()> {
    fumehood::init();
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    let mut parts = Parts { filter, printed: 0 };
    decisions(&mut parts)?;
    words(&mut parts)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(cells(&mut parts))?;
    if parts.printed == 0 { Err(format!("no part named {}", parts.filter).into()) } else { Ok(()) }
}

struct Parts {
    filter: String,
    printed: usize,
}

impl Parts {
    fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter)
    }

    fn print(&mut self, name: &str, times: &mut [Duration]) {
        if self.printed == 0 {
            println!("{:<34} {:>9} {:>9} {:>9}", "µs", "min", "median", "p95");
        }
        self.printed += 1;
        times.sort_unstable();
        let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e6;
        println!("{name:<34} {:>9.1} {:>9.1} {:>9.1}", at(0), at(50), at(95));
    }

    /// Does one thing over and over.
    fn time<T>(&mut self, name: &str, mut act: impl FnMut() -> Result<T>) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let mut times = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let start = Instant::now();
            black_box(act()?);
            times.push(start.elapsed());
        }
        self.print(name, &mut times);
        Ok(())
    }
}

fn decisions(parts: &mut Parts) -> Result<()> {
    let job = Job::new(["true"]);
    let plan = Plan::new(&job)?;
    parts.time("plan", || Ok(Plan::new(&job)?))?;
    parts.time("script", || Ok(plan.steps()?))?;
    let arch = Arch::host().ok_or("no filter for this architecture")?;
    let target = Target::new(arch, (6, 0));
    let profile = Profile::from_json(DEFAULT_JSON)?;
    parts.time("seccomp: read", || Ok(Profile::from_json(DEFAULT_JSON)?))?;
    parts.time("seccomp: compile", || Ok(compile(&profile, &target)?))
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// A list as long as that of a cell, written and read.
fn words(parts: &mut Parts) -> Result<()> {
    const LENGTH: u32 = 64;
    let write = || {
        let mut bytes = Bytes::default();
        for mode in 0..LENGTH {
            Step::Mkdir { parent: c"usr", name: c"lib", mode }.encode(&mut bytes);
        }
        bytes.0
    };
    parts.time("wire: write 64 steps", || Ok(write()))?;
    let bytes = write();
    parts.time("wire: read 64 steps", || {
        let mut reader = Reader::new(&bytes);
        let read = std::iter::from_fn(|| Step::decode(&mut reader)).count();
        if read == 64 { Ok(read) } else { Err(format!("{read} steps of 64").into()) }
    })
}

/// What is done with cells, each of which is used once.
async fn cells(parts: &mut Parts) -> Result<()> {
    const NAMES: [&str; 3] = ["park", "start", "wait"];
    let plain = Job::new(["true"]);
    let collecting = Job::new(["truncate", "-s", "1M", "out"]).collect("out");
    for (job, kind) in [(plain, ""), (collecting, ", with a file of 1 MiB to collect")] {
        let names = NAMES.map(|name| format!("{name}{kind}"));
        if !names.iter().any(|name| parts.wants(name)) {
            continue;
        }
        let pool = Pool::new(Sandbox::new(), PoolConfig::default().parked(1));
        pool.warm(&job).await?;
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..TIMES {
            let started = Instant::now();
            let mut running = pool.spawn(&job, Streams::captured()).await?;
            times[1].push(started.elapsed());
            let waiting = Instant::now();
            let report: Report = running.wait().await?;
            times[2].push(waiting.elapsed());
            black_box(report);
            let parking = Instant::now();
            pool.warm(&job).await?;
            times[0].push(parking.elapsed());
        }
        for (name, times) in names.iter().zip(&mut times) {
            if parts.wants(name) {
                parts.print(name, times);
            }
        }
    }
    Ok(())
}
