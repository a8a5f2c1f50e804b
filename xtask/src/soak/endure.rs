//! One pool that is in use for a long time.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::traces::{Traces, processes_naming};
use crate::Outcome;
use crate::build::example;
use crate::user::Stage;

/// Runs the example `endure`, as fast as it goes, which prints what it holds as it goes along and
/// judges it; and then looks at what is left.
pub(super) fn endure(seconds: u32, concurrency: u32) -> Outcome {
    let stage = Stage::new()?;
    let word = format!("soak-{}", std::process::id());
    let mut command = example("endure")?;
    command.args([seconds.to_string(), concurrency.to_string(), word.clone()]);
    command.env("TMPDIR", stage.home()).stdin(Stdio::null());
    let look = |pids: &[u32]| Traces::look(&word, pids, &stage.home());
    let before = look(&[]);
    let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let pid = child.id();
    let flat = wait(child)?;
    wait_until_quiet(&word);
    let after = look(&[pid]);
    println!("\n{}", Traces::table(&[("before", &before), ("after", &after)]));
    let clean = before == after;
    let verdict = |good, what: &str| println!("{what}: {}", if good { "yes" } else { "NO" });
    verdict(flat, "flat");
    verdict(clean, "nothing left");
    Ok(flat && clean)
}

fn wait(mut child: Child) -> Result<bool, String> {
    Ok(child.wait().map_err(|error| error.to_string())?.success())
}

/// The kernel takes a moment to tear namespaces down.
fn wait_until_quiet(word: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while processes_naming(word) > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(20));
    }
}
