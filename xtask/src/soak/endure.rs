//! One pool that is in use for a long time.

use crate::Outcome;
use crate::build::cargo;

/// Runs the example `endure`, as fast as it goes, which prints what it holds as it goes along.
pub(super) fn endure(seconds: u32, concurrency: u32) -> Outcome {
    let mut command = cargo();
    command.args(["run", "--release", "--package", "fumehood", "--example", "endure", "--"]);
    command.args([seconds.to_string(), concurrency.to_string()]);
    let status = command.status().map_err(|error| error.to_string())?;
    Ok(status.success())
}
