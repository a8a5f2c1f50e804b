//! Programs that have a start-up of their own, bare and in a parked cell.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use super::harness::Harness;
use super::numbers::{Numbers, ratio};
use super::scene::{PAYLOAD, Scene, Who};
use super::table::Table;

/// The harness keeps so many cells parked; two are left, so that none is built between two runs.
const AT_ONCE: usize = 30;
const SETTLE: Duration = Duration::from_millis(5);

/// A program as everybody starts it, and as it is started in a cell.
struct Program {
    name: &'static str,
    bare: Vec<String>,
    confined: Vec<String>,
}

/// Runs each bare and in a parked cell in turn, and says how they compare.
pub(super) fn compare(scene: &Scene, who: Who, runs: usize) -> Result<String, String> {
    let mut harness = Harness::of(scene, who)?;
    let heading = ["a parked cell, and", "bare, µs", "p95", "in the cell, µs", "p95", "× bare"];
    let mut table = Table::new(&heading, 1);
    for program in programs(&scene.dir())? {
        let [bare, confined] = measure(&mut harness, scene, &program, runs)?;
        let medians = [&bare, &confined].map(|numbers| numbers.percentile(50));
        let tails = [&bare, &confined].map(|numbers| numbers.percentile(95));
        let numbers = [medians[0], tails[0], medians[1], tails[1]].map(|micros| micros.to_string());
        let times = ratio(medians[1], Some(medians[0]));
        table.row([program.name.to_owned()].into_iter().chain(numbers).chain([times]));
    }
    Ok(table.to_string())
}

/// Those that this machine has.
fn programs(dir: &str) -> Result<Vec<Program>, String> {
    let own = |name: &'static str, file: &str| Program {
        name,
        bare: vec![format!("{dir}/payload/{file}")],
        confined: vec![format!("/payload/{file}")],
    };
    let mut all = vec![own("the payload", "true"), own("the same with shared libraries", "shared")];
    compile(dir)?;
    let python = "/usr/bin/python3";
    if Path::new(python).exists() {
        let argv = [python, "-c", "pass"].map(str::to_owned).to_vec();
        all.push(Program { name: "python3 -c pass", bare: argv.clone(), confined: argv });
    }
    Ok(all)
}

fn compile(dir: &str) -> Result<(), String> {
    let mut command = Command::new("cc");
    command.args(["-O2", "-o", &format!("{dir}/payload/shared"), &format!("{dir}/payload/true.c")]);
    let status = command.status().map_err(|error| format!("cc: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cc could not compile {PAYLOAD:?}")) }
}

fn measure(
    harness: &mut Harness,
    scene: &Scene,
    program: &Program,
    runs: usize,
) -> Result<[Numbers; 2], String> {
    harness.ask(&format!("job\t{}", program.job(&scene.dir())))?;
    let bare = format!("spawn\t{}", program.bare.join("\t"));
    let mut numbers = [Numbers::default(), Numbers::default()];
    for round in 0..runs {
        if round % AT_ONCE == 0 {
            harness.ask("fill")?;
        }
        for (request, numbers) in [bare.as_str(), "warm"].into_iter().zip(&mut numbers) {
            sleep(SETTLE);
            let (micros, good) = harness.run(request)?;
            if !good {
                return Err(format!("{} failed", program.name));
            }
            numbers.add(micros, good);
        }
    }
    Ok(numbers)
}

impl Program {
    fn job(&self, dir: &str) -> String {
        format!(
            r#"{{"args": {:?}, "mounts": [{{"source": "{dir}/payload", "target": "/payload"}}]}}"#,
            self.confined
        )
    }
}
