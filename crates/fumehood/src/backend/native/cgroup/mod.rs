//! Control groups: the limits that hold for a whole tree of processes, and the figures that count
//! all of it.
//!
//! [`Hierarchy::find`] tries what this process can use, version 2 (a delegated subtree) or
//! version 1 (a directory per controller), and says for each [`Resource`] by which file it is
//! held, or why it is not and what to do about it. A [`Group`] is one sandbox's group; [`gc`](fn@gc)
//! removes the groups of supervisors that died.

mod advice;
mod delegate;
mod dir;
mod find;
mod gauge;
mod gc;
mod group;
mod janitor;
mod label;
mod locate;
#[cfg(feature = "engine")]
mod others;
mod remains;
mod systemd;
mod usual;
mod v1;
mod v2;

#[cfg(test)]
mod find_tests;
#[cfg(test)]
mod gc_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod testing;

pub(crate) use find::{Blocked, Hierarchy, Resource};
pub(crate) use gc::{Removed, gc, leftovers};
pub(crate) use group::{Entry, Group, GroupLimits};
pub(crate) use janitor::entrust;
#[cfg(feature = "engine")]
pub(crate) use label::Life;
pub(crate) use label::Owner;
#[cfg(test)]
use locate::Version;
pub(crate) use locate::unescape;
#[cfg(feature = "engine")]
pub(crate) use others::kill_with;
pub(crate) use usual::CGROUP2_SUPER_MAGIC;
