//! From a refused step to the layer that refused it and what would fix that.
//!
//! A pure function of the step, its errno and the facts of the host: every row is tested with the
//! facts of a host on which it was seen or whose documentation describes it.

mod clone;
mod fix;
mod namespace;
mod steps;
#[cfg(test)]
mod table_tests;

use fumehood_child::launch::LaunchStep;

use crate::Layer;
use crate::plan::without::{Blocked, Without};
use crate::support::Facts;
pub(crate) use fix::MAP_IDS;
pub(crate) use namespace::Namespace;

/// A step that the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal<'a> {
    /// Name of the step, without its object.
    pub(crate) step: &'a str,
    /// The kernel's error number.
    pub(crate) errno: i32,
    /// If the step is a clone: the kind of namespace that was refused when each was tried alone.
    pub(crate) kind: Option<Namespace>,
}

// errno(3); the same on every architecture that is supported.
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const E2BIG: i32 = 7;
const EACCES: i32 = 13;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const ENOSYS: i32 = 38;
const EUSERS: i32 = 87;
const EOPNOTSUPP: i32 = 95;

/// Why a step was refused, if that is the host's doing and a weaker plan may do without; `None`
/// for failures that have another cause, such as a limit of processes or a path of the job.
pub(crate) fn diagnose(refusal: &Refusal<'_>, facts: &Facts) -> Option<Blocked> {
    if refusal.step == LaunchStep::Clone.name() {
        return clone::refused(refusal, facts);
    }
    if let Some(kind) = Namespace::made_by(refusal.step) {
        return clone::refused(&Refusal { kind: Some(kind), ..*refusal }, facts);
    }
    match refusal.step {
        "deny-setgroups" | "uid-map" | "gid-map" | "set-ids" | "bounding-set" => {
            steps::ids(refusal.errno, facts)
        }
        "proc" => steps::proc(refusal.errno, facts),
        "landlock" | "landlock-ruleset" => steps::fence(refusal.errno, facts),
        "seccomp" => steps::filter(refusal.errno, facts),
        "close-fds" => steps::close_fds(refusal.errno, facts),
        step => steps::in_namespaces(step, refusal.errno, facts),
    }
}

/// Why there is no Landlock.
pub(crate) fn no_landlock(facts: &Facts) -> Blocked {
    steps::no_landlock(facts)
}

fn blocked(
    layer: Layer,
    without: Without,
    reason: impl Into<String>,
    fix: Option<String>,
) -> Blocked {
    Blocked { without, layer, reason: reason.into(), fix }
}
