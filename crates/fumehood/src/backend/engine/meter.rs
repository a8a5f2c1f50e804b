//! The control group of a container, as it is seen from inside: engines show it read-only.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Figure, Source, Usage};

/// Limits that an engine was asked to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) memory: Option<u64>,
    pub(super) pids: Option<u64>,
}

const MOUNTED: &str = "/sys/fs/cgroup";

/// Where the counters are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Counters {
    /// Nowhere: the container shares the group of others, as of an engine that may make none. What is
    /// counted there is not the container's.
    Shared,
    /// One hierarchy for each controller, with this directory above them.
    V1(PathBuf),
    /// One for all.
    V2(PathBuf),
}

impl Counters {
    /// The container's own group. Which it is tell the limits that the engine was asked to set: where
    /// neither is, the group is somebody else's, and nothing else in it says so.
    pub(super) fn find(asked: &Asked) -> Self {
        Self::below(Path::new(MOUNTED), asked)
    }

    fn below(dir: &Path, asked: &Asked) -> Self {
        let dir = dir.to_path_buf();
        let v2 = dir.join("cgroup.controllers").exists();
        let found = if v2 { Self::V2(dir) } else { Self::V1(dir) };
        let is_set = |asked: Option<u64>, found: Option<u64>| {
            asked.zip(found).is_some_and(|(asked, found)| found <= asked)
        };
        let own =
            is_set(asked.memory, found.memory_limits().0) || is_set(asked.pids, found.pids_limit());
        if own { found } else { Self::Shared }
    }

    /// Bytes of memory, and of memory and swap together; none where there is no limit, or none can
    /// be read.
    pub(super) fn memory_limits(&self) -> (Option<u64>, Option<u64>) {
        match self {
            Self::Shared => (None, None),
            Self::V1(_) => (
                self.number("memory/memory.limit_in_bytes").filter(is_finite),
                self.number("memory/memory.memsw.limit_in_bytes").filter(is_finite),
            ),
            Self::V2(_) => {
                let memory = self.number("memory.max");
                let swap = self.number("memory.swap.max");
                (memory, memory.zip(swap).map(|(memory, swap)| memory + swap))
            }
        }
    }

    pub(super) fn pids_limit(&self) -> Option<u64> {
        self.number(self.choose("pids/pids.max", "pids.max"))
    }

    /// Thousandths of a CPU.
    pub(super) fn cpus_milli(&self) -> Option<u64> {
        let (quota, period) = match self {
            Self::Shared => return None,
            Self::V1(_) => {
                (self.number("cpu/cpu.cfs_quota_us")?, self.number("cpu/cpu.cfs_period_us")?)
            }
            Self::V2(_) => {
                let text = self.text("cpu.max")?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.parse().ok()?, period.parse().ok()?)
            }
        };
        quota.checked_mul(1000)?.checked_div(period)
    }

    /// CPU time of everything so far, in microseconds.
    pub(super) fn cpu_us(&self) -> Option<u64> {
        match self {
            Self::Shared => None,
            Self::V1(_) => Some(self.number("cpuacct/cpuacct.usage")? / 1000),
            Self::V2(_) => self.field("cpu.stat", "usage_usec"),
        }
    }

    /// How many processes the kernel killed at the limit of memory.
    pub(super) fn oom_kills(&self) -> u64 {
        let file = self.choose("memory/memory.oom_control", "memory.events");
        self.field(file, "oom_kill").unwrap_or(0)
    }

    /// How many processes were refused.
    pub(super) fn pids_denied(&self) -> u64 {
        self.field(self.choose("pids/pids.events", "pids.events"), "max").unwrap_or(0)
    }

    /// What was used so far, but the time by the clock.
    pub(super) fn usage(&self) -> Usage {
        let figure = |value: Option<u64>, source| value.map(|value| Figure { value, source });
        let (user, system, cpu) = match self {
            Self::V1(_) => (
                self.number("cpuacct/cpuacct.usage_user").map(|ns| ns / 1000),
                self.number("cpuacct/cpuacct.usage_sys").map(|ns| ns / 1000),
                Source::CgroupCpuacct,
            ),
            Self::Shared => return Usage::default(),
            Self::V2(_) => (
                self.field("cpu.stat", "user_usec"),
                self.field("cpu.stat", "system_usec"),
                Source::CgroupCpuStat,
            ),
        };
        let (peak, memory) = match self {
            Self::V1(_) => {
                (self.number("memory/memory.max_usage_in_bytes"), Source::CgroupMemoryMaxUsage)
            }
            Self::Shared | Self::V2(_) => (self.number("memory.peak"), Source::CgroupMemoryPeak),
        };
        let pids = self.number(self.choose("pids/pids.peak", "pids.peak"));
        Usage {
            user_us: figure(user, cpu),
            system_us: figure(system, cpu),
            peak_memory: figure(peak, memory),
            peak_pids: figure(pids, Source::CgroupPidsPeak),
            ..Usage::default()
        }
    }

    const fn choose<'a>(&self, v1: &'a str, v2: &'a str) -> &'a str {
        match self {
            Self::V1(_) => v1,
            Self::Shared | Self::V2(_) => v2,
        }
    }

    fn text(&self, file: &str) -> Option<String> {
        match self {
            Self::Shared => None,
            Self::V1(dir) | Self::V2(dir) => fs::read_to_string(dir.join(file)).ok(),
        }
    }

    /// A number; `max` and -1 are none.
    fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }

    fn field(&self, file: &str, name: &str) -> Option<u64> {
        let text = self.text(file)?;
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
    }
}

/// With version 1 no limit is the largest number of pages that there can be.
const fn is_finite(bytes: &u64) -> bool {
    *bytes < 1 << 62
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(files: &[(&str, &str)]) -> (tempfile::TempDir, Counters) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let asked = Asked { memory: Some(1 << 20), pids: None };
        let counters = Counters::below(dir.path(), &asked);
        (dir, counters)
    }

    #[test]
    fn version_2_is_read() {
        let (_dir, found) = counters(&[
            ("cgroup.controllers", "cpu memory pids\n"),
            ("memory.max", "1048576\n"),
            ("memory.swap.max", "0\n"),
            ("pids.max", "max\n"),
            ("cpu.max", "50000 100000\n"),
            ("cpu.stat", "usage_usec 30\nuser_usec 20\nsystem_usec 10\n"),
            ("memory.events", "low 0\noom 1\noom_kill 2\n"),
            ("pids.events", "max 3\n"),
        ]);
        assert_eq!(found.memory_limits(), (Some(1 << 20), Some(1 << 20)));
        assert_eq!(found.pids_limit(), None);
        assert_eq!(found.cpus_milli(), Some(500));
        assert_eq!(found.cpu_us(), Some(30));
        assert_eq!((found.oom_kills(), found.pids_denied()), (2, 3));
        let usage = found.usage();
        assert_eq!(usage.user_us.map(|figure| figure.value), Some(20));
        assert_eq!(usage.peak_memory, None, "before Linux 5.19");
    }

    #[test]
    fn version_1_is_read() {
        let (_dir, found) = counters(&[
            ("memory/memory.limit_in_bytes", "1048576\n"),
            ("memory/memory.memsw.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("cpuacct/cpuacct.usage", "5000000\n"),
        ]);
        assert_eq!(found.memory_limits(), (Some(1 << 20), None));
        assert_eq!(found.cpus_milli(), None);
        assert_eq!(found.cpu_us(), Some(5000));
        assert_eq!((found.oom_kills(), found.pids_denied()), (1, 0));
    }

    #[test]
    fn a_group_without_the_limits_that_were_asked_for_is_somebody_else_s() {
        let (_dir, found) = counters(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("cpuacct/cpuacct.usage", "5000000\n"),
        ]);
        assert_eq!(found, Counters::Shared);
        assert_eq!((found.memory_limits(), found.cpu_us()), ((None, None), None));
    }
}
