//! What can be said against limits, and against what a job requires and gives up, without looking at
//! the host.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::validate::refuse;
use super::{Access, Cpus, Job, Limit, Limits, Network};
use crate::{ByteSize, Guarantee, Result, format_duration};

pub(super) fn check(job: &Job) -> Result<()> {
    limits(&job.limits)?;
    guarantees(job)
}

fn limits(limits: &Limits) -> Result<()> {
    time("limits.wall_time", limits.wall_time())?;
    time("limits.cpu_time", limits.cpu_time())?;
    // The kernel's share and a small C program take several hundred KiB.
    size("limits.memory", limits.memory(), ByteSize::mib(1))?;
    size("limits.output", limits.output(), ByteSize(1))?;
    size("limits.file_size", limits.file_size(), ByteSize(1))?;
    // A tmpfs counts in pages.
    size("limits.workspace", limits.workspace(), ByteSize::kib(4))?;
    size("limits.tmp", limits.tmp(), ByteSize::kib(4))?;
    // The kernel's own bound, PID_MAX_LIMIT: pids.max refuses more.
    within("limits.pids", limits.pids(), 1..=4_194_304, u64::to_string)?;
    // The standard streams, and what a dynamic linker and an interpreter open at once.
    within("limits.open_files", limits.open_files(), 16..=1 << 30, u64::to_string)?;
    // The root of a tmpfs takes one itself.
    within("limits.inodes", limits.inodes(), 16..=1 << 40, u64::to_string)?;
    let cpus = Cpus { milli: 1 }..=Cpus { milli: u32::MAX };
    within("limits.cpus", limits.cpus(), cpus, Cpus::to_string)?;
    let most = Duration::from_secs(3600);
    if limits.grace() > most {
        let grace = format_duration(limits.grace());
        return refuse("limits.grace", grace, "is too long; at most 1h");
    }
    Ok(())
}

/// A time that a clock can be set to: sums with it do not overflow.
fn time(name: &str, limit: Limit<Duration>) -> Result<()> {
    let year = Duration::from_secs(365 * 24 * 3600);
    within(name, limit, Duration::from_millis(1)..=year, |time| format_duration(*time))
}

/// A size far from the largest number, which resource limits take for no limit (`getrlimit(2)`,
/// `RLIM_INFINITY`).
pub(super) fn size(name: &str, limit: Limit<ByteSize>, least: ByteSize) -> Result<()> {
    within(name, limit, least..=ByteSize(1 << 62), ByteSize::to_string)
}

/// Refuses a limit under which no program could run, and one that the kernel cannot hold.
fn within<T: PartialOrd>(
    field: &str,
    limit: Limit<T>,
    range: RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<()> {
    let Limit::Finite(amount) = limit else { return Ok(()) };
    let (least, most) = range.into_inner();
    let problem = if amount < least {
        format!("is too small; at least {}, or unlimited", show(&least))
    } else if amount > most {
        format!("is too large; at most {}, or unlimited", show(&most))
    } else {
        return Ok(());
    };
    refuse(field, show(&amount), problem)
}

fn guarantees(job: &Job) -> Result<()> {
    if let Some(both) = job.require.intersection(&job.waive).next() {
        return refuse("waive", both, "is required as well; take it out of require or of waive");
    }
    for (guarantee, given_up, how) in given_up(job) {
        if given_up && job.require.contains(&guarantee) {
            let problem = format!("is required, but {how} gives it up; change one of the two");
            return refuse("require", guarantee, problem);
        }
    }
    Ok(())
}

/// For each guarantee that a job itself can give up: whether it does, and by what.
fn given_up(job: &Job) -> [(Guarantee, bool, &'static str); 9] {
    let Job { limits, network, .. } = job;
    let bytes = [limits.workspace(), limits.tmp()];
    let own = job.tmpfs.iter().any(|tmpfs| tmpfs.size == Some(Limit::Unlimited));
    let disk = own || bytes.contains(&Limit::Unlimited) || limits.inodes() == Limit::Unlimited;
    let writable = job.mounts.iter().any(|mount| mount.access == Access::ReadWrite);
    [
        (Guarantee::Output, limits.output() == Limit::Unlimited, "limits.output unlimited"),
        (Guarantee::Disk, writable, "a mount with access \"rw\""),
        (Guarantee::Network, *network == Network::Host, "network \"host\""),
        (Guarantee::Network, matches!(network, Network::Named(_)), "a network of an engine"),
        (Guarantee::Memory, limits.memory() == Limit::Unlimited, "limits.memory unlimited"),
        (Guarantee::Pids, limits.pids() == Limit::Unlimited, "limits.pids unlimited"),
        (Guarantee::CpuTime, limits.cpu_time() == Limit::Unlimited, "limits.cpu_time unlimited"),
        (Guarantee::WallTime, limits.wall_time() == Limit::Unlimited, "limits.wall_time unlimited"),
        (Guarantee::Disk, disk, "limits.workspace, limits.tmp or limits.inodes unlimited"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job::new(["true"])
    }

    fn limited(change: impl FnOnce(&mut Limits)) -> Job {
        job().limits(change)
    }

    #[test]
    fn limits_that_cannot_be_held_are_named() {
        type Change = fn(&mut Limits);
        let cases: [(Change, &str); 15] = [
            (
                |l| l.pids = Some(4_194_305.into()),
                "pids: 4194305: is too large; at most 4194304, or unlimited",
            ),
            (
                |l| l.wall_time = Some(Duration::from_secs(8761 * 3600).into()),
                "wall_time: 8761h: is too large; at most 8760h, or unlimited",
            ),
            (
                |l| l.file_size = Some(ByteSize(u64::MAX).into()),
                "file_size: 18446744073709551615B: is too large; at most 4194304TiB, or unlimited",
            ),
            (
                |l| l.wall_time = Some(Duration::ZERO.into()),
                "wall_time: 0s: is too small; at least 1ms, or unlimited",
            ),
            (
                |l| l.cpu_time = Some(Duration::ZERO.into()),
                "cpu_time: 0s: is too small; at least 1ms, or unlimited",
            ),
            (
                |l| l.memory = Some(ByteSize::kib(4).into()),
                "memory: 4KiB: is too small; at least 1MiB, or unlimited",
            ),
            (|l| l.pids = Some(0.into()), "pids: 0: is too small; at least 1, or unlimited"),
            (
                |l| l.output = Some(ByteSize(0).into()),
                "output: 0B: is too small; at least 1B, or unlimited",
            ),
            (
                |l| l.file_size = Some(ByteSize(0).into()),
                "file_size: 0B: is too small; at least 1B, or unlimited",
            ),
            (
                |l| l.open_files = Some(15.into()),
                "open_files: 15: is too small; at least 16, or unlimited",
            ),
            (
                |l| l.workspace = Some(ByteSize(0).into()),
                "workspace: 0B: is too small; at least 4KiB, or unlimited",
            ),
            (
                |l| l.tmp = Some(ByteSize(0).into()),
                "tmp: 0B: is too small; at least 4KiB, or unlimited",
            ),
            (|l| l.inodes = Some(0.into()), "inodes: 0: is too small; at least 16, or unlimited"),
            (
                |l| l.cpus = Some(Cpus { milli: 0 }.into()),
                "cpus: 0: is too small; at least 0.001, or unlimited",
            ),
            (|l| l.grace = Some(Duration::from_secs(7200)), "grace: 2h: is too long; at most 1h"),
        ];
        for (change, message) in cases {
            let error = limited(change).validate().unwrap_err().to_string();
            assert_eq!(error, format!("invalid job: limits.{message}"));
        }
    }

    #[test]
    fn a_guarantee_is_not_required_and_given_up() {
        let both = job().require(Guarantee::Landlock).waive(Guarantee::Landlock);
        let error = both.validate().unwrap_err().to_string();
        assert!(error.starts_with("invalid job: waive: landlock: is required as well"), "{error}");
        let error = job().network(Network::Host).require(Guarantee::Network).validate();
        assert_eq!(
            error.unwrap_err().to_string(),
            "invalid job: require: network: is required, but network \"host\" gives it up; \
             change one of the two"
        );
        for (guarantee, change) in [
            (Guarantee::Memory, (|l| l.memory = Some(Limit::Unlimited)) as fn(&mut Limits)),
            (Guarantee::Pids, |l| l.pids = Some(Limit::Unlimited)),
            (Guarantee::CpuTime, |l| l.cpu_time = Some(Limit::Unlimited)),
            (Guarantee::WallTime, |l| l.wall_time = Some(Limit::Unlimited)),
            (Guarantee::Disk, |l| l.tmp = Some(Limit::Unlimited)),
            (Guarantee::Disk, |l| l.inodes = Some(Limit::Unlimited)),
        ] {
            assert!(limited(change).require(guarantee).validate().is_err(), "{guarantee}");
        }
    }
}
