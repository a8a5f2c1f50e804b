//! What a run costs from within a program, beside a bare process: `cargo bench -p fumehood --bench launch`.
//!
//! Takes the program to run, with its arguments, or else one that does nothing, and prints
//! microseconds: bare, in a parked cell, in one that is built for it in a template, and in one that is
//! built for it from nothing, one after the other in one run.
//!
//! With `--serve PAYLOAD` it measures what it is told to on standard input instead: that is how
//! `cargo xtask bench` has everything started by one and the same process.
#![expect(clippy::print_stdout, reason = "it reports")]

mod parked;
mod serve;
mod throughput;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fumehood::{Job, Outcome, Pool, PoolConfig, Sandbox};

const ROUNDS: usize = 20;
const PARKED: usize = 32;

const SUCCESS: Outcome = Outcome::Exited { code: 0 };

fn main() -> Result<(), Box<dyn std::error::Error>> {
    fumehood::init();
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, payload] = args.as_slice()
        && flag == "--serve"
    {
        return serve::serve(payload);
    }
    let args = if args.is_empty() { vec!["/usr/bin/true".to_owned()] } else { args };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&args))
}

async fn measure(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let job = Job::new(args.iter().cloned());
    let config = PoolConfig::default().parked(PARKED);
    let (sandbox, pool) = (Sandbox::new(), Pool::new(Sandbox::new(), config));
    let template = Pool::new(Sandbox::new(), config.parked(0));
    pool.run(&job).await?;
    template.warm(&job).await?;
    let [mut bare, mut warm, mut cold, mut in_template] = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        pool.warm(&job).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        for _ in 0..PARKED - 2 {
            bare.push(timed(async || spawn(args)).await?);
            warm.push(timed(async || Ok(pool.run(&job).await?.outcome == SUCCESS)).await?);
        }
        for _ in 0..5 {
            cold.push(timed(async || Ok(sandbox.run(&job).await?.outcome == SUCCESS)).await?);
            let run = async || Ok(template.run(&job).await?.outcome == SUCCESS);
            in_template.push(timed(run).await?);
        }
    }
    let floor = print("bare process", &mut bare, None);
    print("parked cell", &mut warm, Some(floor));
    print("in a template", &mut in_template, Some(floor));
    print("built for it", &mut cold, Some(floor));
    println!("{:?}", pool.metrics());
    Ok(())
}

fn spawn(args: &[String]) -> Result<bool, Box<dyn std::error::Error>> {
    let mut command = Command::new(&args[0]);
    command.args(&args[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.status()?.success())
}

async fn timed(
    run: impl AsyncFnOnce() -> Result<bool, Box<dyn std::error::Error>>,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let start = Instant::now();
    let succeeded = run().await?;
    let took = start.elapsed();
    if succeeded { Ok(took) } else { Err("the program failed".into()) }
}

/// Prints one line and gives the median.
fn print(name: &str, times: &mut [Duration], floor: Option<Duration>) -> Duration {
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100];
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let ratio = floor.map_or(1.0, |floor| at(50).as_secs_f64() / floor.as_secs_f64());
    let (min, median, p95) = (micros(times[0]), micros(at(50)), micros(at(95)));
    println!("{name:14} min {min:7.0}  median {median:7.0}  p95 {p95:7.0}  {ratio:5.2} x");
    at(50)
}
