//! The resource limits of a program's processes.

use std::borrow::Cow;

use fumehood_child::Step;
use linux_raw_sys::general as nr;
use rustix::process::{Resource, getrlimit};

use super::{Script, asking};
use crate::backend::native::cgroup::Resource as Held;
use crate::backend::native::tree;
use crate::job::Limit;
use crate::plan::Plan;

/// A limit of the caller's own that is lower stays: raising it would take a privilege.
pub(super) fn rlimits(script: &mut Script, plan: &Plan) {
    for limit in limits(plan) {
        rlimit(script, limit);
    }
}

/// Also of the init, or a [tool](super::Tool), so that what they start has it from them: the shipped filter,
/// which may be there before the program's own steps, lets nobody set it.
pub(super) fn no_core(script: &mut Script) {
    rlimit(script, (nr::RLIMIT_CORE, Resource::Core, NO_CORE, NO_CORE));
}

fn rlimit(script: &mut Script, (resource, kind, soft, hard): (u32, Resource, u64, u64)) {
    let own = getrlimit(kind).maximum.unwrap_or(u64::MAX);
    if soft < u64::MAX || own < u64::MAX {
        let (soft, hard) = (soft.min(own), hard.min(own));
        script.push_as(&Step::Rlimit { resource, soft, hard }, Cow::Borrowed(label(kind)));
    }
}

const fn label(kind: Resource) -> &'static str {
    match kind {
        Resource::Core => "rlimit core",
        Resource::Fsize => "rlimit fsize",
        Resource::Memlock => "rlimit memlock",
        Resource::Msgqueue => "rlimit msgqueue",
        Resource::Sigpending => "rlimit sigpending",
        Resource::Nice => "rlimit nice",
        Resource::Rtprio => "rlimit rtprio",
        Resource::Cpu => "rlimit cpu",
        Resource::Nproc => "rlimit nproc",
        Resource::Nofile => "rlimit nofile",
        Resource::Data => "rlimit data",
        _ => "rlimit",
    }
}

/// Less than any core, so there is no file, and the one number with which the kernel does not start a
/// program of the host's either (`coredump_pipe` in fs/coredump.c). The filter keeps it from being lowered.
pub(crate) const NO_CORE: u64 = 1;

fn limits(plan: &Plan) -> Vec<(u32, Resource, u64, u64)> {
    let limits = &plan.job.limits;
    let number = |limit: Limit<u64>| limit.finite().unwrap_or(u64::MAX);
    let seconds = limits
        .cpu_time()
        .finite()
        .map_or(u64::MAX, |time| time.as_secs() + u64::from(time.subsec_nanos() > 0));
    let files = number(limits.open_files());
    let size = limits.file_size().finite().map_or(u64::MAX, |size| size.0);
    let mut set = vec![
        (nr::RLIMIT_FSIZE, Resource::Fsize, size, size),
        (nr::RLIMIT_MEMLOCK, Resource::Memlock, 64 << 10, 64 << 10),
        (nr::RLIMIT_MSGQUEUE, Resource::Msgqueue, 0, 0),
        // Timers count, too: `timer_create(2)` sets a signal aside.
        (nr::RLIMIT_SIGPENDING, Resource::Sigpending, 1024, 1024),
        (nr::RLIMIT_NICE, Resource::Nice, 0, 0),
        (nr::RLIMIT_RTPRIO, Resource::Rtprio, 0, 0),
        // SIGXCPU at the soft limit, SIGKILL a second later for a program that ignores it.
        (nr::RLIMIT_CPU, Resource::Cpu, seconds, seconds.saturating_add(1)),
        (nr::RLIMIT_NPROC, Resource::Nproc, pids(plan), pids(plan)),
        (nr::RLIMIT_NOFILE, Resource::Nofile, files, files),
    ];
    if plan.job.waive.contains(&crate::Guarantee::Memory)
        && let Some(Limit::Finite(size)) = plan.job.limits.memory
    {
        set.push((nr::RLIMIT_DATA, Resource::Data, size.0, size.0));
    }
    set
}

/// How many processes and threads of a cell are not the program's: its init, and the thread of it
/// that a filter asks.
pub(crate) fn own_tasks(plan: &Plan) -> u64 {
    1 + u64::from(asking(plan).is_some())
}

/// The init counts as a process of the namespace, too. Where a control group holds the limit this
/// one is a step behind: the group counts what it refuses, which is the proof of why a program
/// failed, and this does not.
fn pids(plan: &Plan) -> u64 {
    match plan.job.limits.pids() {
        Limit::Finite(pids) if tree::holds(Held::Pids).is_ok() => {
            pids.saturating_add(own_tasks(plan) + 1)
        }
        Limit::Finite(pids) if plan.namespaces.base => pids.saturating_add(own_tasks(plan)),
        Limit::Finite(pids) => pids,
        Limit::Unlimited => u64::MAX,
    }
}
