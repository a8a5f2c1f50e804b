//! What a run used, by the best source there is, and the meter of what it may use up.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Ending;
use crate::backend::native::cgroup::Group;
use crate::plan::Plan;
use crate::report::{Counted, Stop};
use crate::{Figure, Source, TimeLimit, Usage};

/// What is known when a program has ended.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) usage: Usage,
    pub(crate) counted: Counted,
}

impl Tally {
    /// Reads the group's counters; what they do not say comes from whoever ran the program.
    pub(crate) fn read(group: Option<&Group>, ending: &Ending, wall: Duration) -> Self {
        let figure = |value, source| Some(Figure { value, source });
        let cpu = group.and_then(|group| group.cpu_usage().ok().flatten());
        let (user_us, system_us) = match cpu {
            Some(cpu) => (figure(cpu.user_us, cpu.source), figure(cpu.system_us, cpu.source)),
            None => (ending.user_us.clone(), ending.system_us.clone()),
        };
        let peak = group.and_then(|group| group.memory_peak().ok().flatten());
        let usage = Usage {
            wall_us: figure(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX), Source::Clock),
            user_us,
            system_us,
            peak_memory: peak.or_else(|| ending.peak_memory.clone()),
            peak_pids: group.and_then(|group| group.pids_peak().ok().flatten()),
            output: None,
        };
        Self { usage, counted: counted(group, ending.counted) }
    }
}

fn counted(group: Option<&Group>, told: Counted) -> Counted {
    let Some(group) = group else { return told };
    Counted {
        out_of_memory: told.out_of_memory || group.oom().is_ok_and(|oom| oom.at_limit),
        pids_denied: told.pids_denied || group.pids_denied().is_ok_and(|denied| denied > 0),
    }
}

/// Watches what a cell uses up and the kernel does not stop by itself: CPU time, which it only
/// counts, and, with version 1, memory, for which it kills one process and leaves the others.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    group: &'a Group,
    cpu: Option<CpuLimit>,
    memory: bool,
    /// When to look again.
    pub(crate) due: Instant,
}

#[derive(Debug)]
struct CpuLimit {
    us: u64,
    /// How many CPUs can use it up at the same time.
    cpus: u64,
}

/// Looking more often costs more than being this late.
const FINEST: Duration = Duration::from_millis(5);

/// A program may move to CPUs that its supervisor does not use, so the guess at the earliest moment
/// is not trusted for longer than this.
const COARSEST: Duration = Duration::from_millis(50);

impl<'a> Meter<'a> {
    /// A meter, if the job limits something that a group counts and does not hold alone.
    pub(crate) fn new(plan: &Plan, group: Option<&'a Group>) -> Option<Self> {
        let group = group?;
        let cpu = CpuLimit::new(plan, group);
        let memory = group.limits_memory() && !group.dies_together();
        let left_us = cpu.as_ref().map_or(u64::MAX, |cpu| cpu.us);
        let mut meter = Self { group, cpu, memory, due: Instant::now() };
        meter.wait_for(left_us);
        (meter.cpu.is_some() || memory).then_some(meter)
    }

    /// Looks at the counters: what is used up, if anything is. If not, `due` moves on.
    pub(crate) fn look(&mut self) -> Option<Stop> {
        if self.memory && self.group.oom().is_ok_and(|oom| oom.at_limit) {
            return Some(Stop::Memory);
        }
        let left_us = self.cpu.as_ref().map_or(u64::MAX, |limit| {
            let used = self.group.cpu_total_us().ok().flatten().unwrap_or(limit.us);
            limit.us.saturating_sub(used)
        });
        self.wait_for(left_us);
        (left_us == 0).then_some(Stop::Time(TimeLimit::Cpu))
    }

    /// Moves `due` to when all CPUs together could have used this up.
    fn wait_for(&mut self, left_us: u64) {
        let cpus = self.cpu.as_ref().map_or(1, |limit| limit.cpus);
        let soonest = Duration::from_micros(left_us / cpus);
        self.due = Instant::now() + soonest.clamp(FINEST, COARSEST);
    }
}

impl CpuLimit {
    fn new(plan: &Plan, group: &Group) -> Option<Self> {
        let limit = plan.job.limits.cpu_time().finite()?;
        group.cpu_total_us().ok().flatten()?;
        let cpus = rustix::thread::sched_getaffinity(None).map_or(1, |cpus| cpus.count());
        let us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        Some(Self { us, cpus: u64::from(cpus.max(1)) })
    }
}
