//! What a run used, by the best source there is, and the clock of its CPU time.

use std::time::Duration;

use fumehood_child::wire::Ended;
use tokio::time::Instant;

use crate::backend::native::cgroup::Group;
use crate::plan::Plan;
use crate::report::Counted;
use crate::{Figure, Source, Usage};

/// What is known when a program has ended.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) usage: Usage,
    pub(crate) counted: Counted,
}

impl Tally {
    /// Reads the group's counters; what they do not say comes from the init.
    pub(crate) fn read(group: Option<&Group>, ended: &Ended, wall: Duration) -> Self {
        let figure = |value, source| Some(Figure { value, source });
        let cpu = group.and_then(|group| group.cpu_usage().ok().flatten());
        let (user_us, system_us) = match cpu {
            Some(cpu) => (figure(cpu.user_us, cpu.source), figure(cpu.system_us, cpu.source)),
            None => {
                (figure(ended.user_us, Source::Rusage), figure(ended.system_us, Source::Rusage))
            }
        };
        let peak = group.and_then(|group| group.memory_peak().ok().flatten());
        let usage = Usage {
            wall_us: figure(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX), Source::Clock),
            user_us,
            system_us,
            peak_memory: peak.or_else(|| figure(ended.maxrss_kib << 10, Source::RusageMaxrss)),
            peak_pids: group.and_then(|group| group.pids_peak().ok().flatten()),
        };
        Self { usage, counted: counted(group) }
    }
}

fn counted(group: Option<&Group>) -> Counted {
    let Some(group) = group else { return Counted::default() };
    Counted {
        out_of_memory: group.oom().is_ok_and(|oom| oom.at_limit),
        pids_denied: group.pids_denied().is_ok_and(|denied| denied > 0),
    }
}

/// Watches the CPU time of a whole cell against its limit.
#[derive(Debug)]
pub(crate) struct CpuClock<'a> {
    group: &'a Group,
    limit_us: u64,
    cpus: u64,
    /// The earliest moment at which the limit can have been reached.
    pub(crate) due: Instant,
}

/// Looking more often costs more than being this late.
const FINEST: Duration = Duration::from_millis(5);

/// A program may move to CPUs that its supervisor does not use, so the guess at the earliest moment
/// is not trusted for longer than this.
const COARSEST: Duration = Duration::from_millis(50);

impl<'a> CpuClock<'a> {
    /// A clock, if the job limits CPU time and a group counts it.
    pub(crate) fn new(plan: &Plan, started: Instant, group: Option<&'a Group>) -> Option<Self> {
        let group = group?;
        let limit = plan.job.limits.cpu_time().finite()?;
        group.cpu_total_us().ok().flatten()?;
        let cpus = rustix::thread::sched_getaffinity(None).map_or(1, |cpus| cpus.count());
        let cpus = u64::from(cpus.max(1));
        let limit_us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        let mut clock = Self { group, limit_us, cpus, due: started };
        clock.wait_for(limit_us);
        Some(clock)
    }

    /// Looks at the time. If some is left, `due` moves on to when all CPUs together could use it.
    pub(crate) fn has_run_out(&mut self) -> bool {
        let used = self.group.cpu_total_us().ok().flatten().unwrap_or(self.limit_us);
        let left = self.limit_us.saturating_sub(used);
        self.wait_for(left);
        left == 0
    }

    fn wait_for(&mut self, left_us: u64) {
        let soonest = Duration::from_micros(left_us / self.cpus);
        self.due = Instant::now() + soonest.clamp(FINEST, COARSEST);
    }
}
