//! One control group: made, entered, read, killed, removed.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::dir::read_proc;
use super::find::{Hierarchy, Parent};
use super::{label, remains, v1, v2};
use crate::{Figure, Source};

/// What the processes of a group may use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupLimits {
    /// Bytes of memory, swap off.
    pub(crate) memory: Option<u64>,
    /// Processes and threads.
    pub(crate) pids: Option<u64>,
    /// Thousandths of a CPU.
    pub(crate) cpus_milli: Option<u32>,
    /// Whether memory, CPU time and processes are counted even where they are not limited.
    pub(crate) account: bool,
    /// Whether all processes together compete for CPU time as one, where groups can do that, so
    /// that a crowd of them gets no more than anybody else.
    pub(crate) as_one: bool,
}

/// A control group of ours. Dropping it kills what is in it and removes it.
#[derive(Debug)]
pub(crate) struct Group {
    parent: Parent,
    name: String,
    control: Box<dyn Control>,
    /// What the counters that cannot be reset said when the group was last handed out.
    before: Counters,
    limits: GroupLimits,
    /// Refusals up to the first kill, which may itself refuse processes and change that limit.
    denied_at_kill: OnceLock<u64>,
    is_recycled: bool,
    is_gone: bool,
}

/// How a process gets into a group.
#[derive(Debug)]
pub(crate) enum Entry<'a> {
    /// `clone3` with `CLONE_INTO_CGROUP` and this directory: the child is born inside.
    Clone(BorrowedFd<'a>),
    /// The child writes `0` to each of these before it does anything else; each with the names of
    /// its controllers.
    Join(Vec<(String, OwnedFd)>),
}

/// CPU time of all processes of a group, ended ones included, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuUsage {
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) source: Source,
}

/// What the kernel counted about memory running out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Oom {
    /// Processes of the group that the kernel killed for memory.
    pub(crate) kills: u64,
    /// Whether the group was at its own limit. Kills without that were for the memory of the
    /// machine or of an outer group.
    pub(crate) at_limit: bool,
}

/// Counters that only ever grow.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    oom_kills: u64,
    denied: u64,
    cpu: Option<CpuUsage>,
}

/// What the two versions do differently.
pub(super) trait Control: fmt::Debug + Send + Sync {
    /// Makes the directories and writes the limits.
    fn build(&mut self, limits: &GroupLimits) -> io::Result<()>;
    /// Writes other limits, those that are not wanted any more included.
    fn change(&mut self, limits: &GroupLimits) -> io::Result<()>;
    /// Takes away what memory may be taken from a group without processes.
    fn reclaim(&self) -> io::Result<()>;
    /// Starts the peaks anew; an error where the kernel cannot.
    fn forget_peaks(&mut self) -> io::Result<()>;
    fn entry(&self) -> io::Result<Entry<'_>>;
    /// Whether a `/proc/PID/cgroup` is that of a member.
    fn lists(&self, proc_cgroup: &str) -> bool;
    fn memory_peak(&self) -> io::Result<Option<Figure>>;
    fn memory_now(&self) -> io::Result<Option<u64>>;
    fn oom(&self) -> io::Result<Oom>;
    /// Whether the kernel kills the whole group when it kills one of its processes for memory.
    fn dies_together(&self) -> bool;
    fn cpu(&self) -> io::Result<Option<CpuUsage>>;
    /// User and system time together, in microseconds, by the cheapest reading.
    fn cpu_total(&self) -> io::Result<Option<u64>>;
    fn pids_peak(&self) -> io::Result<Option<u64>>;
    fn pids_denied(&self) -> io::Result<u64>;
    /// Closes the files that are kept open for reading them again.
    fn close(&mut self) {}
    fn is_empty(&self) -> io::Result<bool>;
    /// The same by a cheaper reading, for a group that was lived in.
    fn is_surely_empty(&self) -> io::Result<bool> {
        self.is_empty()
    }
    /// Sends SIGKILL to all members such that none escapes by forking.
    fn kill(&self) -> io::Result<()>;
    /// Waits until the group may be empty, or for this long.
    fn wait(&self, pause: Duration) -> io::Result<()>;
}

/// How long [`Drop`] waits for processes to end: a killed process ends within microseconds unless
/// the kernel holds it in an uninterruptible wait.
const PATIENCE_OF_DROP: Duration = Duration::from_millis(100);

impl Group {
    /// Makes a group with a name of our own, writes its limits and reads them back.
    ///
    /// # Errors
    /// If a limit cannot be written or does not hold as written. Nothing is left behind.
    pub(crate) fn create(hierarchy: &Hierarchy, limits: &GroupLimits) -> io::Result<Self> {
        Self::create_named(hierarchy.parent(), hierarchy.owner().name(), limits)
    }

    pub(super) fn create_named(
        parent: &Parent,
        name: String,
        limits: &GroupLimits,
    ) -> io::Result<Self> {
        remains::sweep();
        let control: Box<dyn Control> = match parent {
            Parent::V1(parent) => Box::new(v1::Parts::new(Arc::clone(parent), &name)),
            Parent::V2(parent) => Box::new(v2::Leaf::new(Arc::clone(parent), &name)),
        };
        let mut group = Self {
            parent: parent.clone(),
            name,
            control,
            before: Counters::default(),
            limits: *limits,
            denied_at_kill: OnceLock::new(),
            is_recycled: false,
            is_gone: false,
        };
        group.control.build(limits)?; // Dropping the group removes what was made.
        Ok(group)
    }

    /// What its directory is called, and no other.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How a process gets in.
    pub(crate) fn entry(&self) -> io::Result<Entry<'_>> {
        self.control.entry()
    }

    /// Whether a process is in the group, in all of its hierarchies, by `/proc/PID/cgroup`.
    ///
    /// # Errors
    /// If the process does not exist.
    pub(crate) fn contains(&self, pid: Pid) -> io::Result<bool> {
        let path = format!("/proc/{}/cgroup", pid.as_raw_pid());
        Ok(self.control.lists(&read_proc(&path)?))
    }

    /// Most memory that the group ever used, in bytes, page cache and kernel memory included.
    pub(crate) fn memory_peak(&self) -> io::Result<Option<Figure>> {
        self.control.memory_peak()
    }

    /// What the kernel counted about memory running out since the group was handed out.
    pub(crate) fn oom(&self) -> io::Result<Oom> {
        let now = self.control.oom()?;
        let kills = now.kills.saturating_sub(self.before.oom_kills);
        Ok(Oom { kills, at_limit: kills > 0 && now.at_limit })
    }

    /// Whether the kernel kills the whole group when it kills one of its processes for memory: if
    /// not, whoever supervises it has to.
    pub(crate) fn dies_together(&self) -> bool {
        self.control.dies_together()
    }

    /// Whether a limit of memory was set.
    pub(crate) fn limits_memory(&self) -> bool {
        self.limits.memory.is_some()
    }

    /// CPU time of all processes that were ever in the group.
    pub(crate) fn cpu_usage(&self) -> io::Result<Option<CpuUsage>> {
        let Some(now) = self.control.cpu()? else { return Ok(None) };
        Ok(Some(match self.before.cpu {
            None => now,
            Some(before) => CpuUsage {
                user_us: now.user_us.saturating_sub(before.user_us),
                system_us: now.system_us.saturating_sub(before.system_us),
                source: now.source,
            },
        }))
    }

    /// User and system time together, in microseconds: one read of an open file.
    pub(crate) fn cpu_total_us(&self) -> io::Result<Option<u64>> {
        let before = self.before.cpu.map_or(0, |cpu| cpu.total_us());
        Ok(self.control.cpu_total()?.map(|now| now.saturating_sub(before)))
    }

    /// Most processes and threads at one time. A recycled group cannot tell.
    pub(crate) fn pids_peak(&self) -> io::Result<Option<Figure>> {
        if self.is_recycled {
            return Ok(None);
        }
        let peak = self.control.pids_peak()?;
        Ok(peak.map(|value| Figure { value, source: Source::CgroupPidsPeak }))
    }

    /// How often a process or thread was refused at the limit before the group was killed.
    pub(crate) fn pids_denied(&self) -> io::Result<u64> {
        let denied = match self.denied_at_kill.get() {
            Some(denied) => *denied,
            None => self.control.pids_denied()?,
        };
        Ok(denied.saturating_sub(self.before.denied))
    }

    /// Opens the files by which a run in the group will be accounted for, while nobody waits for it.
    pub(crate) fn open_figures(&self) {
        // What cannot be read is an error of whoever asks for it.
        let _ = (self.memory_peak(), self.oom(), self.cpu_usage());
        let _ = (self.pids_peak(), self.pids_denied());
    }

    /// Kills every process in the group and waits until none is left.
    ///
    /// # Errors
    /// `TimedOut` if some are still there after `patience`.
    pub(crate) fn kill(&self, patience: Duration) -> io::Result<()> {
        let mut pauses = Pauses::until(Instant::now() + patience);
        while !self.is_gone && !self.control.is_empty()? {
            if self.denied_at_kill.get().is_none() {
                let _ = self.denied_at_kill.set(self.control.pids_denied()?);
            }
            self.control.kill()?;
            self.control.wait(pauses.next()?)?;
        }
        Ok(())
    }

    /// Closes the files that were kept open for the next time, of a group that has no next time.
    pub(crate) fn retire(&mut self) {
        self.control.close();
    }

    /// Kills every process in the group and removes it. Doing it again does nothing.
    ///
    /// # Errors
    /// `TimedOut` if processes are still there after `patience`; the group remains.
    pub(crate) fn destroy(&mut self, patience: Duration) -> io::Result<()> {
        let mut pauses = Pauses::until(Instant::now() + patience);
        while !self.is_gone {
            self.is_gone = self.parent.remove(&self.name)?;
            if !self.is_gone {
                self.control.kill()?;
                self.control.wait(pauses.next()?)?;
            }
        }
        Ok(())
    }

    /// Gives other limits to a group in which nothing ever ran.
    pub(super) fn retarget(&mut self, limits: &GroupLimits) -> io::Result<()> {
        if self.limits != *limits {
            self.control.change(limits)?;
            self.limits = *limits;
        }
        Ok(())
    }

    /// Makes the group as good as new, with other limits: its counters start at zero.
    ///
    /// # Errors
    /// If a process or charged memory is in it, or if this kernel cannot start its peaks anew
    /// (version 2 before Linux 6.12). The group must then be destroyed.
    pub(crate) fn reset(&mut self, limits: &GroupLimits) -> io::Result<()> {
        if !self.control.is_surely_empty()? {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the group is not empty"));
        }
        if self.limits != *limits || self.denied_at_kill.get().is_some() {
            self.control.change(limits)?;
            self.limits = *limits;
            self.denied_at_kill = OnceLock::new();
        }
        self.take_leftover_memory()?;
        self.control.forget_peaks()?;
        self.before = Counters {
            oom_kills: self.control.oom()?.kills,
            denied: self.control.pids_denied()?,
            cpu: self.control.cpu()?,
        };
        self.is_recycled = true;
        Ok(())
    }

    /// To take memory from a group takes longer than anything else that is done to use it again, and
    /// mostly it is only what two processors have in reserve. That much is little where the limit is not.
    fn leftover(&self) -> u64 {
        let ample = self.limits.memory.is_none_or(|limit| limit >= 64 << 20);
        if ample { 2 * LEFTOVER } else { LEFTOVER }
    }

    /// Page cache of the last run would count as memory of the next.
    fn take_leftover_memory(&self) -> io::Result<()> {
        let most = self.leftover();
        if self.control.memory_now()?.is_none_or(|bytes| bytes <= most) {
            return Ok(());
        }
        self.control.reclaim()?;
        match self.control.memory_now()? {
            Some(bytes) if bytes > most => {
                Err(io::Error::other(format!("{bytes} bytes are still charged to the group")))
            }
            _ => Ok(()),
        }
    }
}

/// What may stay charged to a group that is used again: far less than a report's accuracy. It is as
/// much as a processor keeps charged in reserve, which the next run uses up first.
const LEFTOVER: u64 = 256 << 10;

impl Drop for Group {
    fn drop(&mut self) {
        if self.destroy(PATIENCE_OF_DROP).is_err() {
            remains::keep(self.parent.clone(), std::mem::take(&mut self.name));
        }
    }
}

impl CpuUsage {
    /// User and system time together.
    pub(crate) fn total_us(&self) -> u64 {
        self.user_us + self.system_us
    }
}

/// Pauses that double from 50 µs to 5 ms, until a deadline.
struct Pauses {
    deadline: Instant,
    pause: Duration,
}

impl Pauses {
    fn until(deadline: Instant) -> Self {
        Self { deadline, pause: Duration::from_micros(50) }
    }

    fn next(&mut self) -> io::Result<Duration> {
        if Instant::now() >= self.deadline {
            let late = "processes of the control group do not end";
            return Err(io::Error::new(io::ErrorKind::TimedOut, late));
        }
        self.pause = (self.pause * 2).min(Duration::from_millis(5));
        Ok(self.pause)
    }
}

/// Quota and period, in microseconds, that give this many thousandths of a CPU. The kernel takes
/// no quota below 1 ms and no period above 1 s.
pub(super) fn bandwidth(milli: u32) -> (u64, u64) {
    let period = if milli < 10 { 1_000_000 } else { 100_000 };
    (u64::from(milli) * period / 1000, period)
}

/// Kills one process if it still is a member: its id may have passed to another process since it
/// was listed, so it is held by a pidfd first.
pub(super) fn kill_member(pid: Pid, lists: impl Fn(&str) -> bool) -> io::Result<()> {
    let Some(pidfd) = open_unless_gone(pid)? else { return Ok(()) };
    match fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_pid())) {
        Ok(text) if lists(&text) => match pidfd_send_signal(&pidfd, Signal::KILL) {
            Err(Errno::SRCH) => Ok(()),
            sent => Ok(sent?),
        },
        Err(error) if !label::is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// A process that has ended since it was listed has no pidfd: because there is none of that id; before
/// Linux 6.15, because the id is not (or no longer) that of a process, but still in use for its group; since
/// then, because it has become a thread's.
fn open_unless_gone(pid: Pid) -> io::Result<Option<OwnedFd>> {
    match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

#[cfg(test)]
mod tests {
    use super::bandwidth;

    #[test]
    fn small_shares_get_a_longer_period() {
        assert_eq!(bandwidth(500), (50_000, 100_000));
        assert_eq!(bandwidth(2_000), (200_000, 100_000));
        assert_eq!(bandwidth(10), (1_000, 100_000));
        assert_eq!(bandwidth(1), (1_000, 1_000_000));
    }
}
