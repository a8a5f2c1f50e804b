//! Limits of a job in the units of an engine.

use rustix::process::{Resource, getrlimit};

use super::preset::Ulimit;
use crate::backend::native::script::NO_CORE;
use crate::backend::native::tree::MOST_PIDS;
use crate::{Limit, Limits};

/// Sizes of directories in memory: bytes, 0 for no limit, and inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) workspace: u64,
    pub(super) tmp: u64,
    pub(super) inodes: Option<u64>,
}

impl Sizes {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            workspace: limits.workspace().finite().map_or(0, |size| size.0),
            tmp: limits.tmp().finite().map_or(0, |size| size.0),
            inodes: limits.inodes().finite(),
        }
    }
}

/// How many processes a container may have: the program's, and the init.
pub(super) fn pids(limits: &Limits) -> Option<u64> {
    limits.pids().finite().map(|pids| pids.saturating_add(1).min(MOST_PIDS))
}

/// Processes of all containers of Podman together. Services of most hosts may have twice as many.
const FOR_ALL: u64 = 16_384;

/// Limits of each process. The number of processes is none of them: `RLIMIT_NPROC` counts all of a
/// user, and all containers have the same. Podman gets one all the same, because it would set one of its
/// own, so high that it fails where the engine may not raise limits.
pub(super) fn ulimits(limits: &Limits, podman: bool) -> Vec<Ulimit> {
    let both = |name, most| Ulimit { name, soft: most, hard: most };
    let mut set = vec![both("core", NO_CORE)];
    if podman {
        let own = getrlimit(Resource::Nproc).maximum.unwrap_or(u64::MAX);
        set.push(both("nproc", own.min(FOR_ALL)));
    }
    if let Limit::Finite(files) = limits.open_files() {
        set.push(both("nofile", files));
    }
    if let Limit::Finite(size) = limits.file_size() {
        set.push(both("fsize", size.0));
    }
    set
}
