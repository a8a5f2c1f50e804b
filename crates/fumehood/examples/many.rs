//! Runs a program many times from one process, a tenth of them dropped in the middle, and says
//! whether the process has as many descriptors as before: `many RUNS CONCURRENCY`.
#![expect(clippy::print_stdout, reason = "an example talks to a person")]

use std::time::{Duration, Instant};

use fumehood::{Job, Sandbox};
use tokio::task::JoinSet;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    fumehood::init();
    let mut args = std::env::args().skip(1);
    let mut number = || args.next().and_then(|arg| arg.parse::<usize>().ok());
    let (runs, concurrency) = number().zip(number()).ok_or("many RUNS CONCURRENCY")?;
    let (before, after) = fumehood::blocking::block_on(async {
        let sandbox = Sandbox::new();
        // What is made once and kept is there after the first run.
        one(&sandbox, 0).await?;
        let before = descriptors()?;
        let mut running = JoinSet::new();
        for index in 0..runs {
            if running.len() >= concurrency
                && let Some(done) = running.join_next().await
            {
                done??;
            }
            let sandbox = sandbox.clone();
            running.spawn(async move { one(&sandbox, index).await });
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        // What was dropped ends by itself, a moment later.
        let deadline = Instant::now() + Duration::from_secs(30);
        while descriptors()? > before && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, Box<dyn std::error::Error>>((before, descriptors()?))
    })??;
    println!("{runs} runs by one supervisor: {before} descriptors before, {after} after");
    if after > before { Err("descriptors are left".into()) } else { Ok(()) }
}

async fn one(sandbox: &Sandbox, index: usize) -> fumehood::Result<()> {
    if index % 10 == 9 {
        let job = Job::new(["sleep", "600"]);
        let _dropped = tokio::time::timeout(Duration::from_millis(20), sandbox.run(&job)).await;
        return Ok(());
    }
    sandbox.run(&Job::new(["true"])).await.map(drop)
}

fn descriptors() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}
