//! Measures on request: a line in, with its words divided by tabs, and a line out.
//!
//! | request | answer |
//! | --- | --- |
//! | `spawn ARGV…`, `cold`, `template`, `warm` | `MICROSECONDS ok` or `MICROSECONDS failed`, of one run |
//! | `job JSON` | `ok`: `cold`, `template`, `warm` and `fill` are about this job from now on |
//! | `fill` | `filled N`: so many cells are parked for the next requests of `warm` |
//! | `throughput CONCURRENCY MILLISECONDS spawn ARGV…|cold|pool` | `RUNS FAILED MICROSECONDS` |
//! | `filter` | `FLAGS HEX`: those of the job's filter, and its instructions |
//! | `park N` | what [so many parked cells](super::parked::park) take |
//! | `grow MEBIBYTES` | `grown` |
//!
//! What cannot be done is answered with `error` and a reason.

use std::fmt::Write as _;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use fumehood::{Job, Plan, Pool, PoolConfig, Report, Sandbox};
use tokio::runtime::{Builder, Runtime};

use super::parked::{grow, park};
use super::throughput::{Kind, throughput};
use super::{PARKED, SUCCESS, spawn};

pub(super) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Time for the kernel to be done with what building the cells left to it.
const SETTLE: Duration = Duration::from_millis(50);

/// Two runtimes, so that the pool builds nothing while anything but the pool is measured: a runtime
/// of one thread does its work only while somebody waits on it.
struct Harness {
    job: Job,
    sandbox: Sandbox,
    cold: Runtime,
    pool: Pool,
    warm: Runtime,
    /// That never has a cell parked.
    empty: Pool,
    /// What makes this process large.
    ballast: Vec<u8>,
}

/// Answers requests until there are no more.
pub(super) fn serve(payload: &str) -> Result<()> {
    let mut harness = Harness::new(payload)?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split('\t').collect();
        match harness.answer(&words) {
            Ok(answer) => writeln!(out, "{answer}")?,
            Err(error) => writeln!(out, "error {}", error.to_string().replace('\n', " "))?,
        }
        out.flush()?;
    }
    Ok(())
}

impl Harness {
    fn new(payload: &str) -> Result<Self> {
        let runtime = || Builder::new_current_thread().enable_all().build();
        let config = PoolConfig::default().parked(PARKED);
        Ok(Self {
            job: job(payload)?,
            sandbox: Sandbox::new(),
            cold: runtime()?,
            pool: Pool::new(Sandbox::new(), config),
            warm: runtime()?,
            empty: Pool::new(Sandbox::new(), config.parked(0)),
            ballast: Vec::new(),
        })
    }

    fn answer(&mut self, request: &[&str]) -> Result<String> {
        match request {
            ["spawn", argv @ ..] if !argv.is_empty() => {
                let argv: Vec<String> = argv.iter().map(|&arg| arg.to_owned()).collect();
                timed(|| spawn(&argv))
            }
            ["cold"] => timed(|| Ok(good(&self.cold.block_on(self.sandbox.run(&self.job))?))),
            ["template"] => self.template(),
            ["warm"] => self.warm(),
            ["fill"] => self.fill(),
            ["filter"] => filter(&self.job),
            ["park", cells] => self.cold.block_on(park(&self.job, cells.parse()?)),
            ["grow", mebibytes] => {
                self.ballast = grow(mebibytes.parse()?);
                Ok("grown".to_owned())
            }
            ["job", json] => {
                self.job = Job::from_json(json)?;
                Ok("ok".to_owned())
            }
            ["throughput", concurrency, millis, kind, argv @ ..] => {
                let kind = Kind::new(kind, argv, &self.job)?;
                throughput(&kind, concurrency.parse()?, Duration::from_millis(millis.parse()?))
            }
            other => Err(format!("no request {}", other.join(" ")).into()),
        }
    }

    fn fill(&self) -> Result<String> {
        self.warm.block_on(async {
            self.pool.warm(&self.job).await?;
            tokio::time::sleep(SETTLE).await;
            Ok(format!("filled {}", self.pool.metrics().parked))
        })
    }

    /// One run in a cell that is made for it in a template.
    fn template(&self) -> Result<String> {
        if self.empty.metrics().templates == 0 {
            self.warm.block_on(self.empty.warm(&self.job))?;
        }
        let answer = timed(|| Ok(good(&self.warm.block_on(self.empty.run(&self.job))?)))?;
        self.settle();
        Ok(answer)
    }

    /// What a pool does between two runs is not left for the next one.
    fn settle(&self) {
        self.warm.block_on(async { tokio::time::sleep(SETTLE).await });
    }

    /// One run in a parked cell; one that had none would be something else under this name.
    fn warm(&self) -> Result<String> {
        let hits = self.pool.metrics().hits;
        let answer = timed(|| Ok(good(&self.warm.block_on(self.pool.run(&self.job))?)))?;
        self.settle();
        if self.pool.metrics().hits > hits { Ok(answer) } else { Err("no cell was parked".into()) }
    }
}

/// The payload in a directory of its own, as the command line is told to run it.
fn job(payload: &str) -> Result<Job> {
    let path = Path::new(payload);
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("not a program")?;
    let dir = path.parent().ok_or("not in a directory")?;
    Ok(Job::new([format!("/payload/{name}")]).mount(dir, "/payload"))
}

/// What the kernel is given for the job, so that another program can give it the same.
fn filter(job: &Job) -> Result<String> {
    let plan = Plan::new(job)?;
    let filter = plan.filter.as_deref().ok_or("the job has no filter")?;
    let digits = filter.program.to_bytes().iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    });
    Ok(format!("{} {digits}", filter.program.flags()))
}

pub(super) fn good(report: &Report) -> bool {
    report.outcome == SUCCESS
}

fn timed(run: impl FnOnce() -> Result<bool>) -> Result<String> {
    let start = Instant::now();
    let succeeded = run()?;
    let micros = start.elapsed().as_micros();
    Ok(format!("{micros} {}", if succeeded { "ok" } else { "failed" }))
}
