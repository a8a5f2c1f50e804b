//! The job that a program makes.

use std::time::Duration;

use fumehood::{ByteSize, Input, Job, Limit, Tmpfs};

use super::Settings;

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
    settings: &Settings,
    program: Vec<u8>,
    arguments: impl IntoIterator<Item = String>,
) -> Job {
    let more = if program.len() < LARGE { 0 } else { MORE };
    let args = std::iter::once(PROGRAM.to_owned()).chain(arguments);
    let mut job = Job::new(args)
        .cwd("/")
        .input(Input::bytes(program).to(PROGRAM).executable())
        .limits(|limits| {
            limits.wall_time = Some(LATEST.into());
            limits.cpu_time = Some(Limit::Unlimited);
            limits.memory = Some(ByteSize(settings.memory.0.saturating_add(more)).into());
            limits.output = Some(OUTPUT.into());
            limits.pids = Some(settings.pids.into());
        });
    job.tmpfs.push(Tmpfs { target: DIRECTORY.into(), size: Some(ROOM.into()) });
    job.waive.clone_from(&settings.waive);
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_valid_and_large_programs_get_more_memory() {
        let settings = Settings::default();
        let [small, large] = [0, LARGE].map(|len| job(&settings, vec![0; len], ["-x".to_owned()]));
        assert_eq!(small.args, ["/tmpfs/play", "-x"]);
        assert_eq!(small.validate().map_err(|error| error.to_string()), Ok(()));
        assert_eq!(small.limits.memory(), Limit::Finite(ByteSize::mib(100)));
        assert_eq!(large.limits.memory(), Limit::Finite(ByteSize::mib(200)));
    }
}
