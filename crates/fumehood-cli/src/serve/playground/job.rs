//! The job that a program makes.

use std::collections::BTreeSet;
use std::time::Duration;

use fumehood::{ByteSize, Guarantee, Input, Job, Limit, Tmpfs};

use crate::serve::config::Config;
use crate::serve::service::processors;

/// Where a program is, which it can see from its own arguments.
pub(super) const PROGRAM: &str = "/tmpfs/play";
/// Bytes of a program.
pub(super) const LARGEST_PROGRAM: u64 = 100 << 20;
/// Bytes that each stream may carry; one more and there is no result.
const OUTPUT: ByteSize = ByteSize::mib(100);
/// Where programs are.
const DIRECTORY: &str = "/tmpfs";
/// Room for the largest, and for some files of its own.
const ROOM: ByteSize = ByteSize::mib(128);
/// From how many bytes on a program leaves too little of the memory to itself.
const LARGE: usize = 32 << 20;
/// What it then gets in addition.
const MORE: u64 = 100 << 20;
/// Our own clock ends a program earlier, and in the way that the protocol wants.
const LATEST: Duration = Duration::from_secs(5);

/// The job of this program. All but those of large programs have the same kind of cell.
pub(super) fn job(
    config: &Config,
    program: Vec<u8>,
    arguments: impl IntoIterator<Item = String>,
) -> Job {
    let settings = &config.playground;
    let require = &config.required() - &settings.waive;
    let cpu_time = cpu_time(&require);
    let more = if program.len() < LARGE { 0 } else { MORE };
    let args = std::iter::once(PROGRAM.to_owned()).chain(arguments);
    let mut job = Job::new(args)
        .cwd("/")
        .input(Input::bytes(program).to(PROGRAM).executable())
        .limits(|limits| {
            limits.wall_time = Some(LATEST.into());
            limits.cpu_time = Some(cpu_time);
            limits.memory = Some(ByteSize(settings.memory.0.saturating_add(more)).into());
            limits.output = Some(OUTPUT.into());
            limits.pids = Some(settings.pids.into());
        });
    job.tmpfs.push(Tmpfs { target: DIRECTORY.into(), size: Some(ROOM.into()) });
    job.require = require;
    job.waive.clone_from(&settings.waive);
    job
}

/// The wall clock is enough, but what is required must be limited: to what all processors can do
/// before that clock runs out.
fn cpu_time(require: &BTreeSet<Guarantee>) -> Limit<Duration> {
    if !require.contains(&Guarantee::CpuTime) {
        return Limit::Unlimited;
    }
    let processors = u32::try_from(processors()).unwrap_or(u32::MAX);
    Limit::Finite(LATEST.saturating_mul(processors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_valid_and_large_programs_get_more_memory() {
        let config = Config::default();
        let [small, large] = [0, LARGE].map(|len| job(&config, vec![0; len], ["-x".to_owned()]));
        assert_eq!(small.args, ["/tmpfs/play", "-x"]);
        assert_eq!(small.validate().map_err(|error| error.to_string()), Ok(()));
        assert_eq!(small.limits.memory(), Limit::Finite(ByteSize::mib(100)));
        assert_eq!(large.limits.memory(), Limit::Finite(ByteSize::mib(200)));
    }

    #[test]
    fn what_strangers_programs_need_is_required_unless_it_is_waived() {
        let mut config = Config { listen: vec!["0.0.0.0:80".into()], ..Config::default() };
        config.playground.waive = [Guarantee::Memory].into();
        let job = job(&config, Vec::new(), []);
        assert_eq!(job.require, [Guarantee::Pids, Guarantee::CpuTime].into());
        assert_eq!(job.waive, [Guarantee::Memory].into());
        // What is required must be limited.
        assert_eq!(job.validate().map_err(|error| error.to_string()), Ok(()));
    }
}
