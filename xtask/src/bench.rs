//! What a launch costs: bare processes, Fumehood and its peers, one after the other in one run.

mod launchers;
mod numbers;
mod steps;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::build::binary_alone;
use crate::user::{Stage, is_root};
use crate::{Outcome, components};
use launchers::{Launcher, launchers};
use numbers::Numbers;

/// The command that measures as whoever runs it; the other one prepares and starts it.
pub(crate) const MEASURE: &str = "bench-measure";

/// Rounds that are run before anything is counted.
const WARM_UP: usize = 10;

const PAYLOAD: &str = "int main(void) { return 0; }\n";

/// Prepares everything and measures as root, if we are, and as an unprivileged user.
pub(crate) fn bench(args: &[String]) -> Outcome {
    let runs = runs(args)?;
    components::install();
    let binary = binary_alone(&["--release"])?;
    let size = std::fs::metadata(&binary).map_err(|error| error.to_string())?.len();
    println!("release binary: {}.{:02} MB", size / 1_000_000, size % 1_000_000 / 10_000);
    let stage = Stage::new()?;
    stage.copy(&binary, "fumehood")?;
    payload(&stage)?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let xtask = stage.copy(&own, "xtask")?;
    let mut all = true;
    if is_root() {
        println!("\n== as root");
        all &= measured(&mut Command::new(&xtask), &stage, runs)?;
    }
    println!("\n== as an unprivileged user");
    let mut command = Command::new(&xtask);
    if is_root() {
        stage.drop_privileges(&mut command);
    }
    Ok(measured(&mut command, &stage, runs)? && all)
}

fn measured(command: &mut Command, stage: &Stage, runs: usize) -> Result<bool, String> {
    let command = command.arg(MEASURE).arg(stage.path()).arg(runs.to_string());
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    Ok(status.success())
}

fn runs(args: &[String]) -> Result<usize, String> {
    match args {
        [] => Ok(500),
        [flag, number] if flag == "--runs" => {
            let runs = number.parse().map_err(|error| format!("--runs {number}: {error}"))?;
            if runs == 0 { Err("--runs 0 measures nothing".into()) } else { Ok(runs) }
        }
        other => Err(format!("bench takes --runs N, not {}", other.join(" "))),
    }
}

/// A program that does nothing. With musl, because the start-up of the other C library can cost
/// more than everything that is measured here.
fn payload(stage: &Stage) -> Result<(), String> {
    let dir = stage.path().join("payload");
    let source = dir.join("true.c");
    std::fs::create_dir(&dir)
        .and_then(|()| std::fs::write(&source, PAYLOAD))
        .map_err(|error| format!("{}: {error}", source.display()))?;
    let compile = |compiler: &str| {
        let mut command = Command::new(compiler);
        command.args(["-O2", "-static", "-s", "-o"]).arg(dir.join("true")).arg(&source);
        command.status().is_ok_and(|status| status.success())
    };
    if compile("musl-gcc") {
        println!("payload: static, musl");
        return Ok(());
    }
    println!("no musl-gcc (package musl-tools): the payload's own start-up is in every figure");
    if compile("cc") { Ok(()) } else { Err("no C compiler for the payload".into()) }
}

/// Measures as whoever we are: `bench-measure DIR RUNS`.
pub(crate) fn measure(args: &[String]) -> Outcome {
    let [dir, runs] = args else { return Err(format!("{MEASURE} is not for people")) };
    let dir = Path::new(dir);
    let runs = runs.parse().map_err(|_| "not a number of runs")?;
    let launchers: Vec<_> = launchers(dir).into_iter().filter(works).collect();
    let numbers = interleaved(&launchers, runs);
    numbers::print(&launchers, &numbers);
    steps::print(dir, runs.min(200));
    Ok(launchers.iter().any(|launcher| launcher.name == launchers::FUMEHOOD))
}

/// Tries a launcher once, and says what is left out and why.
fn works(launcher: &Launcher) -> bool {
    let output = launcher.command().stdin(Stdio::null()).output();
    let reason = match output {
        Ok(output) if output.status.success() => return true,
        Ok(output) => format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
        Err(error) => error.to_string(),
    };
    println!("left out: {}: {}", launcher.name, reason.trim());
    false
}

/// One run of each in turn, so that whatever else the machine does hits all alike.
fn interleaved(launchers: &[Launcher], runs: usize) -> Vec<Numbers> {
    let mut numbers = vec![Numbers::default(); launchers.len()];
    for round in 0..WARM_UP + runs {
        for (launcher, numbers) in launchers.iter().zip(&mut numbers) {
            let (micros, good) = launch(&mut launcher.command());
            if round >= WARM_UP {
                numbers.add(micros, good);
            }
        }
    }
    numbers
}

/// From before the start to after the end. A command without hooks is started by `posix_spawn`.
fn launch(command: &mut Command) -> (u64, bool) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status();
    let elapsed = start.elapsed().as_micros();
    let good = status.is_ok_and(|status| status.success());
    (u64::try_from(elapsed).unwrap_or(u64::MAX), good)
}
