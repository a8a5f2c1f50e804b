//! Control groups version 2: one directory.
//!
//! Kernel behaviour behind this file: Documentation/admin-guide/cgroup-v2.rst.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::dir::{Dir, keyed, parse_procs};
use super::gauge::Gauge;
use super::group::{Control, CpuUsage, Entry, GroupLimits, Oom, bandwidth, kill_member};
use super::locate::{is_within, join, parse_memberships};
use crate::{Figure, Source};

/// The group below which ours are made.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) dir: Dir,
    /// Its path in `/proc/PID/cgroup`.
    pub(super) group: String,
    /// The controllers that are enabled for its children.
    pub(super) controllers: Vec<String>,
}

/// One group of ours.
#[derive(Debug)]
pub(super) struct Leaf {
    parent: Arc<Parent>,
    name: String,
    dir: Option<Dir>,
    cpu_stat: Gauge,
    memory_peak: Gauge,
}

impl Leaf {
    pub(super) fn new(parent: Arc<Parent>, name: &str) -> Self {
        Self {
            parent,
            name: name.to_owned(),
            dir: None,
            cpu_stat: Gauge::default(),
            memory_peak: Gauge::default(),
        }
    }

    /// A second handle on a group that is made already.
    #[cfg(test)]
    pub(super) fn over(parent: Arc<Parent>, name: &str) -> io::Result<Self> {
        let dir = Some(parent.dir.child(name)?);
        Ok(Self { dir, ..Self::new(parent, name) })
    }

    fn dir(&self) -> io::Result<&Dir> {
        self.dir.as_ref().ok_or_else(|| io::Error::other("the control group is not made"))
    }

    fn has(&self, controller: &str) -> bool {
        self.parent.controllers.iter().any(|name| name == controller)
    }

    /// The whole group dies at once when the kernel kills for memory: what is left of a tree of
    /// processes after one of them was killed is of no use to anyone.
    fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        let dir = self.dir()?;
        dir.set_bytes("memory.max", bytes)?;
        dir.set("memory.oom.group", "1")?;
        if dir.has("memory.swap.max") {
            return dir.set("memory.swap.max", "0");
        }
        super::find::require_swap_off(dir.path())
    }

    fn write_limits(&self, limits: &GroupLimits) -> io::Result<()> {
        if let Some(bytes) = limits.memory {
            self.limit_memory(bytes)?;
        }
        if let Some(count) = limits.pids {
            self.dir()?.set("pids.max", &count.to_string())?;
        }
        if let Some(milli) = limits.cpus_milli {
            let (quota, period) = bandwidth(milli);
            self.dir()?.set("cpu.max", &format!("{quota} {period}"))?;
        }
        Ok(())
    }

    fn lift_limits(&self, limits: &GroupLimits) -> io::Result<()> {
        let dir = self.dir()?;
        if limits.memory.is_none() && self.has("memory") {
            dir.set("memory.max", "max")?;
        }
        if limits.pids.is_none() && self.has("pids") {
            dir.set("pids.max", "max")?;
        }
        if limits.cpus_milli.is_none() && self.has("cpu") {
            dir.write("cpu.max", "max")?;
        }
        Ok(())
    }

    fn cpu_stat(&self) -> io::Result<String> {
        self.cpu_stat.read(self.dir()?, "cpu.stat")
    }

    /// Kernels before 5.14 have no `cgroup.kill`. Without a process left to fork, killing one by
    /// one comes to an end.
    pub(super) fn kill_each(&self) -> io::Result<()> {
        let dir = self.dir()?;
        if self.has("pids") {
            dir.write("pids.max", "0")?;
        }
        let procs = parse_procs(&dir.read("cgroup.procs")?);
        procs.pids.into_iter().try_for_each(|pid| kill_member(pid, |text| self.lists(text)))
    }
}

impl Control for Leaf {
    fn build(&mut self, limits: &GroupLimits) -> io::Result<()> {
        self.dir = Some(self.parent.dir.make(&self.name)?);
        self.write_limits(limits)
    }

    fn change(&mut self, limits: &GroupLimits) -> io::Result<()> {
        self.lift_limits(limits)?;
        self.write_limits(limits)
    }

    /// Since Linux 6.12 a write to `memory.peak` starts the peak anew, for the readers of that
    /// open file alone: it stays open.
    fn forget_peaks(&mut self) -> io::Result<()> {
        if !self.has("memory") {
            return Ok(());
        }
        let dir = self.dir()?;
        let reset = dir.file("memory.peak", OFlags::RDWR).and_then(|fd| {
            rustix::io::write(&fd, b"reset")?;
            Ok(fd)
        });
        let fd = reset.map_err(|_| {
            let reason = "this kernel cannot start memory.peak anew (Linux 6.12 can)";
            io::Error::new(io::ErrorKind::Unsupported, reason)
        })?;
        self.memory_peak = Gauge::over(fd);
        Ok(())
    }

    /// Takes page cache away from the group; `memory.reclaim` is there since Linux 5.19.
    fn reclaim(&self) -> io::Result<()> {
        let everything = self.memory_now()?.unwrap_or(0).to_string();
        // It fails with EAGAIN where it could not reclaim all: what is left is looked at after.
        let _ = self.dir()?.write("memory.reclaim", &everything);
        Ok(())
    }

    fn entry(&self) -> io::Result<Entry<'_>> {
        Ok(Entry::Clone(self.dir()?.as_fd()))
    }

    fn lists(&self, proc_cgroup: &str) -> bool {
        let group = join(&self.parent.group, &self.name);
        parse_memberships(proc_cgroup)
            .iter()
            .any(|one| one.controllers.is_empty() && is_within(&one.path, &group))
    }

    /// `memory.peak` is there since Linux 5.19.
    fn memory_peak(&self) -> io::Result<Option<Figure>> {
        let text = match self.memory_peak.read(self.dir()?, "memory.peak") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let peak = text.trim().parse().ok();
        Ok(peak.map(|value| Figure { value, source: Source::CgroupMemoryPeak }))
    }

    fn memory_now(&self) -> io::Result<Option<u64>> {
        self.dir()?.number("memory.current")
    }

    fn oom(&self) -> io::Result<Oom> {
        let Some(events) = self.dir()?.read_if_there("memory.events")? else {
            return Ok(Oom::default());
        };
        let count = |key| keyed(&events, key).unwrap_or(0);
        Ok(Oom {
            kills: count("oom_kill").max(count("oom_group_kill")),
            at_limit: count("oom") > 0,
        })
    }

    /// By `memory.oom.group`, which is set together with the limit.
    fn dies_together(&self) -> bool {
        true
    }

    fn cpu(&self) -> io::Result<Option<CpuUsage>> {
        let stat = self.cpu_stat()?;
        let times = keyed(&stat, "user_usec").zip(keyed(&stat, "system_usec"));
        Ok(times.map(|(user_us, system_us)| CpuUsage {
            user_us,
            system_us,
            source: Source::CgroupCpuStat,
        }))
    }

    fn cpu_total(&self) -> io::Result<Option<u64>> {
        Ok(keyed(&self.cpu_stat()?, "usage_usec"))
    }

    /// `pids.peak` is there since Linux 6.1.
    fn pids_peak(&self) -> io::Result<Option<u64>> {
        self.dir()?.number("pids.peak")
    }

    fn pids_denied(&self) -> io::Result<u64> {
        let events = self.dir()?.read_if_there("pids.events")?;
        Ok(events.and_then(|events| keyed(&events, "max")).unwrap_or(0))
    }

    fn is_empty(&self) -> io::Result<bool> {
        match &self.dir {
            Some(dir) => Ok(keyed(&dir.read("cgroup.events")?, "populated") == Some(0)),
            None => Ok(true),
        }
    }

    fn kill(&self) -> io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        match dir.write("cgroup.kill", "1") {
            Err(error) if error.errno == Errno::NOENT => self.kill_each(),
            result => Ok(result?),
        }
    }

    /// A change of `cgroup.events` since it was read raises POLLPRI.
    fn wait(&self, pause: Duration) -> io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let events = dir.file("cgroup.events", OFlags::RDONLY)?;
        if keyed(&super::dir::read_all(events.as_fd())?, "populated") == Some(0) {
            return Ok(());
        }
        let timeout = Timespec::try_from(pause).map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
