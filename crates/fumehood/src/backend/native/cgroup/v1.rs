//! Control groups version 1: a directory of the same name in each hierarchy that is needed.
//!
//! Kernel behaviour behind this file: Documentation/admin-guide/cgroup-v1/.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::dir::{Dir, Procs, keyed, parse_procs};
use super::gauge::Gauge;
use super::group::{Control, CpuUsage, Entry, GroupLimits, Oom, bandwidth, kill_member};
use super::locate::{is_within, join, parse_memberships};
use crate::{Figure, Source};

/// A controller that is of use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Pids,
    Cpu,
    Cpuacct,
    Freezer,
}

impl Controller {
    pub(super) const ALL: [Self; 5] =
        [Self::Memory, Self::Pids, Self::Cpu, Self::Cpuacct, Self::Freezer];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Freezer => "freezer",
        }
    }

    /// Those among the names that `/proc/PID/cgroup` lists for one hierarchy.
    pub(super) fn among(names: &[String]) -> Vec<Self> {
        Self::ALL.into_iter().filter(|one| names.iter().any(|name| name == one.name())).collect()
    }
}

/// The groups below which ours are made.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) branches: Vec<Branch>,
}

/// The parent group in one hierarchy.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) controllers: Vec<Controller>,
    pub(super) dir: Dir,
    /// Its path in `/proc/PID/cgroup`.
    pub(super) group: String,
}

impl Branch {
    /// The names of its controllers.
    fn name(&self) -> String {
        let names: Vec<_> = self.controllers.iter().map(|one| one.name()).collect();
        names.join(",")
    }

    fn is_among(&self, wanted: &[Controller]) -> bool {
        self.controllers.iter().any(|controller| wanted.contains(controller))
    }
}

impl Parent {
    /// The names of the hierarchies that a group with these limits is in, in their order.
    pub(super) fn joined(&self, limits: &GroupLimits) -> Vec<String> {
        let wanted = wanted(limits, self);
        let joined = self.branches.iter().filter(|branch| branch.is_among(&wanted));
        joined.map(Branch::name).collect()
    }

    /// Those in which groups are ever made: the freezer is only for where processes are not counted.
    pub(super) fn used(&self) -> impl Iterator<Item = &Branch> {
        let counts = self.branch(Controller::Pids).is_some();
        self.branches.iter().filter(move |one| !counts || one.controllers != [Controller::Freezer])
    }

    pub(super) fn branch(&self, controller: Controller) -> Option<&Branch> {
        self.branches.iter().find(|branch| branch.controllers.contains(&controller))
    }
}

/// One group of ours: its part in each hierarchy.
#[derive(Debug)]
pub(super) struct Parts {
    parent: Arc<Parent>,
    name: String,
    parts: Vec<Part>,
    /// Whether a share of CPUs was written.
    has_quota: bool,
    gauges: Gauges,
}

/// What is read for every run, and what is written when a group is used again.
#[derive(Debug, Default)]
struct Gauges {
    cpu_total: Gauge,
    cpu_user: Gauge,
    cpu_system: Gauge,
    oom_control: Gauge,
    memory_now: Gauge,
    memory_peak: Gauge,
    /// Of memory and swap together, if this kernel counts that.
    memsw_peak: OnceLock<Option<Gauge>>,
    pids_now: Gauge,
    pids_events: Gauge,
}

#[derive(Debug)]
struct Part {
    /// Index of its parent among the branches.
    branch: usize,
    dir: Dir,
    tasks: Gauge,
}

impl Parts {
    pub(super) fn new(parent: Arc<Parent>, name: &str) -> Self {
        Self {
            parent,
            name: name.to_owned(),
            parts: Vec::new(),
            has_quota: false,
            gauges: Gauges::default(),
        }
    }

    fn join_branches(&mut self, wanted: &[Controller]) -> io::Result<()> {
        for (index, branch) in self.parent.branches.iter().enumerate() {
            if branch.is_among(wanted) {
                let dir = branch.dir.make(&self.name)?;
                self.parts.push(Part { branch: index, dir, tasks: Gauge::default() });
            }
        }
        Ok(())
    }

    /// The part that a controller governs.
    fn part(&self, controller: Controller) -> Option<&Dir> {
        let governs =
            |part: &&Part| self.parent.branches[part.branch].controllers.contains(&controller);
        self.parts.iter().find(governs).map(|part| &part.dir)
    }

    fn must(&self, controller: Controller) -> io::Result<&Dir> {
        self.part(controller).ok_or_else(|| {
            let reason = format!("no control group hierarchy with {}", controller.name());
            io::Error::new(io::ErrorKind::Unsupported, reason)
        })
    }

    /// Memory, then memory and swap together, which may never be the lower of the two.
    fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        let dir = self.must(Controller::Memory)?;
        dir.set_bytes("memory.limit_in_bytes", bytes)?;
        // What waits in sockets is an account of its own, and without a limit nobody counts it.
        match dir.set_bytes(TCP_LIMIT, bytes) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match dir.set_bytes(MEMSW_LIMIT, bytes) {
            // This kernel does not count swap.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                super::find::require_swap_off(dir.path())
            }
            set => set,
        }
    }

    fn limit_cpus(&mut self, milli: u32) -> io::Result<()> {
        self.has_quota = true;
        let dir = self.must(Controller::Cpu)?;
        let (quota, period) = bandwidth(milli);
        dir.set("cpu.cfs_period_us", &period.to_string())?;
        dir.set("cpu.cfs_quota_us", &quota.to_string())
    }

    fn write_limits(&mut self, limits: &GroupLimits) -> io::Result<()> {
        if let Some(bytes) = limits.memory {
            self.limit_memory(bytes)?;
        }
        if let Some(count) = limits.pids {
            self.must(Controller::Pids)?.set("pids.max", &count.to_string())?;
        }
        limits.cpus_milli.map_or(Ok(()), |milli| self.limit_cpus(milli))
    }

    /// Takes away the limits that were there: in particular that of memory and swap together, so
    /// that the one of memory can be raised.
    fn lift_limits(&self) -> io::Result<()> {
        if let Some(dir) = self.part(Controller::Memory) {
            for limit in [MEMSW_LIMIT, TCP_LIMIT].into_iter().filter(|limit| dir.has(limit)) {
                dir.write(limit, "-1")?;
            }
            dir.write("memory.limit_in_bytes", "-1")?;
        }
        if let Some(dir) = self.part(Controller::Pids) {
            dir.set("pids.max", "max")?;
        }
        if let Some(dir) = self.part(Controller::Cpu).filter(|_| self.has_quota) {
            dir.set("cpu.cfs_quota_us", "-1")?;
        }
        Ok(())
    }

    fn number(&self, controller: Controller, file: &str) -> io::Result<Option<u64>> {
        self.part(controller).map_or(Ok(None), |dir| dir.number(file))
    }

    /// Whether usage ever came as near to the limit as one charge: `memory.failcnt` would tell,
    /// but it stays 0 on some kernels (seen on 6.18).
    fn was_at_limit(&self) -> io::Result<bool> {
        let limit = self.number(Controller::Memory, "memory.limit_in_bytes")?;
        let peak = self.peak()?;
        Ok(peak.zip(limit).is_some_and(|(peak, limit)| limit.saturating_sub(peak) <= ONE_CHARGE))
    }

    fn peak(&self) -> io::Result<Option<u64>> {
        let Some(dir) = self.part(Controller::Memory) else { return Ok(None) };
        self.gauges.memory_peak.number(dir, "memory.max_usage_in_bytes")
    }

    fn procs(&self) -> io::Result<Procs> {
        let mut all = Procs::default();
        for part in &self.parts {
            let procs = parse_procs(&part.dir.read("cgroup.procs")?);
            all.foreign += procs.foreign;
            all.pids.extend(procs.pids);
        }
        all.pids.sort_unstable_by_key(|pid| pid.as_raw_pid());
        all.pids.dedup();
        Ok(all)
    }

    /// Whether a process is in any of our parts: half-way in is in when it comes to killing.
    fn touches(&self, proc_cgroup: &str) -> bool {
        let memberships = parse_memberships(proc_cgroup);
        self.parts.iter().any(|part| self.is_in(part, &memberships))
    }

    fn is_in(&self, part: &Part, memberships: &[super::locate::Membership]) -> bool {
        let branch = &self.parent.branches[part.branch];
        let group = join(&branch.group, &self.name);
        memberships.iter().any(|membership| {
            let governs = |one: &Controller| membership.controllers.iter().any(|n| n == one.name());
            branch.controllers.iter().any(governs) && is_within(&membership.path, &group)
        })
    }

    /// Keeps the members from forking while they are killed one by one: by a limit of no
    /// processes, which costs nothing to take back since the group is not used again before its
    /// limits are written anew; or by freezing them.
    fn hold_still(&self) -> io::Result<()> {
        if let Some(dir) = self.part(Controller::Pids) {
            dir.write("pids.max", "0")?;
        } else if let Some(dir) = self.part(Controller::Freezer) {
            dir.write("freezer.state", "FROZEN")?;
        }
        Ok(())
    }

    /// A frozen process does not die of a signal before it is thawed.
    fn let_go(&self) -> io::Result<()> {
        match (self.part(Controller::Pids), self.part(Controller::Freezer)) {
            (None, Some(dir)) => Ok(dir.write("freezer.state", "THAWED")?),
            _ => Ok(()),
        }
    }
}

/// Memory that the kernel charges at once on behalf of a processor (64 pages).
const ONE_CHARGE: u64 = 256 << 10;

const MEMSW_LIMIT: &str = "memory.memsw.limit_in_bytes";
const TCP_LIMIT: &str = "memory.kmem.tcp.limit_in_bytes";

/// The controllers whose hierarchies a group must be in. Something must always hold it, so that
/// it can be killed.
fn wanted(limits: &GroupLimits, parent: &Parent) -> Vec<Controller> {
    let mut wanted = Vec::new();
    let mut want = |condition: bool, controller| {
        if condition {
            wanted.push(controller);
        }
    };
    let has_pids = parent.branch(Controller::Pids).is_some();
    want(limits.memory.is_some() || limits.account, Controller::Memory);
    want(has_pids, Controller::Pids);
    // The kernel divides a processor among groups first. Without one a crowd takes what is due to
    // a crowd; where sessions count as groups (autogroup, sched(7)), each process can start one.
    let can_be_one = limits.as_one && parent.branch(Controller::Cpu).is_some();
    want(limits.cpus_milli.is_some() || can_be_one, Controller::Cpu);
    want(limits.account, Controller::Cpuacct);
    want(!has_pids, Controller::Freezer);
    wanted
}

impl Control for Parts {
    fn build(&mut self, limits: &GroupLimits) -> io::Result<()> {
        let parent = Arc::clone(&self.parent);
        self.join_branches(&wanted(limits, &parent))?;
        self.write_limits(limits)
    }

    fn change(&mut self, limits: &GroupLimits) -> io::Result<()> {
        self.lift_limits()?;
        self.write_limits(limits)
    }

    fn forget_peaks(&mut self) -> io::Result<()> {
        const MEMSW_PEAK: &str = "memory.memsw.max_usage_in_bytes";
        let Some(dir) = self.part(Controller::Memory) else { return Ok(()) };
        let memsw = || dir.has(MEMSW_PEAK).then(Gauge::default);
        if let Some(peak) = self.gauges.memsw_peak.get_or_init(memsw) {
            peak.write(dir, MEMSW_PEAK, "0")?;
        }
        self.gauges.memory_peak.write(dir, "memory.max_usage_in_bytes", "0")
    }

    fn reclaim(&self) -> io::Result<()> {
        let dir = self.part(Controller::Memory);
        Ok(dir.map_or(Ok(()), |dir| dir.write("memory.force_empty", "0"))?)
    }

    fn entry(&self) -> io::Result<Entry<'_>> {
        // Not `cgroup.procs`: moving whole processes takes a lock of the whole machine, and with it
        // an RCU grace period, 5 to 20 ms on a quiet one. A thread that moves itself takes none
        // (Linux commit 9a3284fad42f), and an init has one thread.
        let open = |part: &Part| {
            let name = self.parent.branches[part.branch].name();
            Ok((name, part.tasks.writer(&part.dir, "tasks")?))
        };
        let files: io::Result<Vec<(String, OwnedFd)>> = self.parts.iter().map(open).collect();
        Ok(Entry::Join(files?))
    }

    fn lists(&self, proc_cgroup: &str) -> bool {
        let memberships = parse_memberships(proc_cgroup);
        self.parts.iter().all(|part| self.is_in(part, &memberships))
    }

    fn memory_peak(&self) -> io::Result<Option<Figure>> {
        let peak = self.peak()?;
        Ok(peak.map(|value| Figure { value, source: Source::CgroupMemoryMaxUsage }))
    }

    fn memory_now(&self) -> io::Result<Option<u64>> {
        let Some(dir) = self.part(Controller::Memory) else { return Ok(None) };
        let now = self.gauges.memory_now.read(dir, "memory.usage_in_bytes")?;
        Ok(now.trim().parse().ok())
    }

    fn oom(&self) -> io::Result<Oom> {
        let Some(dir) = self.part(Controller::Memory) else { return Ok(Oom::default()) };
        let control = self.gauges.oom_control.read(dir, "memory.oom_control")?;
        let kills = keyed(&control, "oom_kill").unwrap_or(0);
        Ok(Oom { kills, at_limit: kills > 0 && self.was_at_limit()? })
    }

    fn dies_together(&self) -> bool {
        false
    }

    fn cpu(&self) -> io::Result<Option<CpuUsage>> {
        let Some(total_us) = self.cpu_total()? else { return Ok(None) };
        let ticks = |gauge: &Gauge, file| -> io::Result<u64> {
            let Some(dir) = self.part(Controller::Cpuacct) else { return Ok(0) };
            Ok(gauge
                .read_if_there(dir, file)?
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0))
        };
        let user = ticks(&self.gauges.cpu_user, "cpuacct.usage_user")?;
        let system = ticks(&self.gauges.cpu_system, "cpuacct.usage_sys")?;
        Ok(Some(split(total_us, user, system)))
    }

    fn cpu_total(&self) -> io::Result<Option<u64>> {
        let Some(dir) = self.part(Controller::Cpuacct) else { return Ok(None) };
        let nanoseconds: Option<u64> =
            self.gauges.cpu_total.read(dir, "cpuacct.usage")?.trim().parse().ok();
        Ok(nanoseconds.map(|value| value / 1000))
    }

    fn pids_peak(&self) -> io::Result<Option<u64>> {
        self.number(Controller::Pids, "pids.peak")
    }

    fn pids_denied(&self) -> io::Result<u64> {
        let Some(dir) = self.part(Controller::Pids) else { return Ok(0) };
        let events = self.gauges.pids_events.read_if_there(dir, "pids.events")?;
        Ok(events.and_then(|events| keyed(&events, "max")).unwrap_or(0))
    }

    fn close(&mut self) {
        self.gauges = Gauges::default();
        self.parts.iter_mut().for_each(|part| part.tasks = Gauge::default());
    }

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.procs()?.is_empty())
    }

    /// Whoever is in one part is in all, so one figure tells; only that there is nobody, since it
    /// counts those that have ended and were not waited for.
    fn is_surely_empty(&self) -> io::Result<bool> {
        if let Some(dir) = self.part(Controller::Pids) {
            let now = self.gauges.pids_now.read(dir, "pids.current")?;
            if now.trim() == "0" {
                return Ok(true);
            }
        }
        self.is_empty()
    }

    fn kill(&self) -> io::Result<()> {
        self.hold_still()?;
        let killed = self.procs().and_then(|procs| {
            procs.pids.into_iter().try_for_each(|pid| kill_member(pid, |text| self.touches(text)))
        });
        self.let_go()?;
        killed
    }

    /// Version 1 tells nobody when a group has become empty. What dies is mostly gone in less time than
    /// it takes to be woken by a timer.
    fn wait(&self, pause: Duration) -> io::Result<()> {
        const SHORT: Duration = Duration::from_micros(100);
        let since = Instant::now();
        if pause > SHORT {
            thread::sleep(pause);
        }
        while since.elapsed() < pause {
            thread::yield_now();
        }
        Ok(())
    }
}

/// The two parts of the CPU time. Their sum is exact to the nanosecond, but the parts are counted
/// by the timer tick: they give the proportion only.
fn split(total_us: u64, user: u64, system: u64) -> CpuUsage {
    let ticks = u128::from(user) + u128::from(system);
    let user_us = u128::from(total_us) * u128::from(user) / ticks.max(1);
    let user_us = u64::try_from(user_us).unwrap_or(total_us);
    CpuUsage { user_us, system_us: total_us - user_us, source: Source::CgroupCpuacct }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn cpu_time_is_split_by_ticks() {
        let cpu = split(1000, 30, 10);
        assert_eq!((cpu.user_us, cpu.system_us), (750, 250));
        assert_eq!(split(1000, 0, 0).total_us(), 1000);
        assert_eq!(split(u64::MAX, u64::MAX, u64::MAX).total_us(), u64::MAX);
    }
}
