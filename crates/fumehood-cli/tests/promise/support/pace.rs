//! Clocks on machines of any speed.

use std::time::Duration;

use super::{Ran, Skip};

/// Runs something with a time that is doubled until the run has come as far as it must in it: how
/// long that takes is no promise, and differs by a factor of a hundred between machines. The last
/// run, which has not come far enough if even the longest time was too short.
pub(crate) fn given_time(
    run: impl Fn(Duration) -> Result<Ran, Skip>,
    is_far_enough: impl Fn(&Ran) -> bool,
) -> Result<Ran, Skip> {
    let mut time = Duration::from_millis(500);
    loop {
        let ran = run(time)?;
        if is_far_enough(&ran) || time > Duration::from_secs(30) {
            return Ok(ran);
        }
        time *= 2;
    }
}

/// A time as a flag has it.
pub(crate) fn flag(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}
