//! What the host's directories were when the cell was built.
//!
//! Nothing is remembered but a moment. The kernel notes the time of every change of a file in its
//! `ctime`, which no call can set, so whatever has a `ctime` from that moment on was changed since.
//! A directory of any size costs nothing that way. It takes that the clock of the file system is
//! this host's and that nobody set it back, which is looked at before anything is written.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{Stat, fstatfs};
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};

use super::at;
use super::kept::Kept;
use crate::plan::mounts::shown;
use crate::plan::{Entry, Identity};
use crate::sabotage::leaves_out;
use crate::{Error, Result};

/// The directories of copy-on-write mounts, and since when changes to them count.
#[derive(Debug)]
pub(crate) struct Base {
    pub(super) mounts: Vec<Mounted>,
    pub(super) since: Since,
}

/// One directory.
#[derive(Debug)]
pub(super) struct Mounted {
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
    pub(super) host: OwnedFd,
    /// Where its layer is kept, if it outlives the run.
    pub(super) kept: Option<Kept>,
}

/// A moment on the clock by which the kernel stamps files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Since {
    /// In nanoseconds since the epoch.
    #[serde(with = "as_text")]
    stamp: i128,
    /// That clock less one that nobody can set.
    #[serde(with = "as_text")]
    offset: i128,
}

/// Numbers that are longer than those of JSON.
mod as_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &i128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i128, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

const SECOND: i128 = 1_000_000_000;

/// How far the difference of the two clocks may shift by being read at two moments, and by a clock
/// that is steered rather than set.
const DRIFT: i128 = 5_000_000;

impl Base {
    /// Opens the directories of the copy-on-write mounts in a root; `None` if it has none.
    pub(crate) fn open(root: &[Entry], who: Identity) -> Result<Option<Self>> {
        let mounts = root.iter().filter_map(|entry| Mounted::open(entry, who).transpose());
        let mounts: Vec<_> = mounts.collect::<Result<_>>()?;
        Ok((!mounts.is_empty()).then(|| Self { mounts, since: Since::now() }))
    }

    /// Waits until a change that comes from now on cannot have the stamp of one that was before: a
    /// tick of the kernel, at most 10 ms. Must be done before there is a program. Layers that are kept
    /// remember that moment.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        let before = self.since.stamp;
        loop {
            self.since = Since::now();
            if self.since.stamp > before {
                break;
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        let kept = self.mounts.iter().filter_map(|mounted| mounted.kept.as_ref());
        kept.into_iter().try_for_each(|kept| kept.remember(self.since))
    }

    /// The directories that layers are kept in, in the order of their mounts.
    pub(crate) fn layers(&self) -> impl Iterator<Item = Option<&OwnedFd>> {
        self.mounts.iter().map(|mounted| mounted.kept.as_ref().map(Kept::layer))
    }

    /// Since when changes to what is below a mount count.
    pub(super) fn since(&self, mounted: &Mounted) -> Since {
        mounted.kept.as_ref().and_then(|kept| kept.since).unwrap_or(self.since)
    }

    /// Whether it can be told what was changed on the host.
    pub(super) fn can_tell(&self) -> Result<()> {
        let refuse = |problem: String| {
            Err(Error::internal("apply the changes", std::io::Error::other(problem)))
        };
        for mounted in &self.mounts {
            if mounted.kept.as_ref().is_some_and(|kept| !kept.is_of_this_boot()) {
                let problem = "the changes are from before this start of the machine, so that it \
                               cannot be told what was changed on the host meanwhile; nothing was \
                               written";
                return refuse(problem.to_owned());
            }
            if Since::now().offset < self.since(mounted).offset - DRIFT {
                let problem = "the clock was set back during the run, so that it cannot be told what \
                               was changed on the host meanwhile; nothing was written";
                return refuse(problem.to_owned());
            }
            let kind = fstatfs(&mounted.host).map_err(|errno| Error::internal("statfs", errno))?;
            if !keeps_our_time(kind.f_type) {
                return refuse(format!(
                    "{} is on a file system (type {:#x}) that may keep another clock, so that it \
                     cannot be told what was changed on the host meanwhile; nothing was written",
                    shown(&mounted.source),
                    kind.f_type
                ));
            }
        }
        Ok(())
    }
}

impl Mounted {
    /// Opens the directories of a mount, if it is copy-on-write.
    fn open(entry: &Entry, who: Identity) -> Result<Option<Self>> {
        let Entry::Cow { source, target, mode, upper } = entry else { return Ok(None) };
        let host = at::named(source).map_err(|errno| {
            Error::invalid("mounts", shown(source), format!("cannot be read: {errno}"))
        })?;
        let kept = upper.as_ref().map(|upper| Kept::open(upper, &host, *mode, who));
        let kept = kept.transpose()?;
        Ok(Some(Self { source: source.clone(), target: target.clone(), host, kept }))
    }
}

impl Since {
    pub(super) fn now() -> Self {
        // File systems stamp with the clock of the last tick (since Linux 6.13 a finer one that
        // never runs behind it).
        let stamp = nanoseconds(clock_gettime(ClockId::RealtimeCoarse));
        let steady = nanoseconds(clock_gettime(ClockId::Boottime));
        Self { stamp, offset: nanoseconds(clock_gettime(ClockId::Realtime)) - steady }
    }

    /// As it would be if somebody set the clock back by a minute after it.
    #[cfg(test)]
    pub(super) fn as_if_set_back(self) -> Self {
        Self { offset: self.offset + 60 * SECOND, ..self }
    }

    /// Whether a file was changed since then. A stamp of a whole second is taken for one of a file
    /// system that knows no finer ones.
    pub(super) fn has_changed(self, stat: &Stat) -> bool {
        let stamp = changed_at(stat);
        let latest = if stamp % SECOND == 0 { stamp + SECOND - 1 } else { stamp };
        latest >= self.stamp && !leaves_out("conflicts")
    }
}

fn nanoseconds(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * SECOND + i128::from(time.tv_nsec)
}

pub(super) fn changed_at(stat: &Stat) -> i128 {
    i128::from(stat.st_ctime) * SECOND + i128::from(stat.st_ctime_nsec)
}

/// File systems whose time is this kernel's (`statfs(2)`): ext2 to 4, XFS, Btrfs, tmpfs, overlay,
/// F2FS, ZFS, bcachefs. Those of servers have the server's.
fn keeps_our_time(kind: rustix::fs::FsWord) -> bool {
    const LOCAL: [rustix::fs::FsWord; 8] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0x0102_1994,
        0x794c_7630,
        0xf2f5_2010,
        0x2fc1_2fc1,
        0xca45_1a4e,
    ];
    LOCAL.contains(&kind)
}
