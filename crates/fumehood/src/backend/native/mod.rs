//! Linux namespaces, seccomp and Landlock, without a helper program.
//!
//! A plan is compiled to two lists of steps ([`script`]): those of the cell, which its init does
//! ahead, and those of the program. A [`launch::Launcher`] clones the init, and [`control`] is the
//! line to it.

pub(crate) mod ahead;
pub(crate) mod cell;
pub(crate) mod cgroup;
pub(crate) mod control;
pub(crate) mod diagnose;
pub(crate) mod launch;
mod overlay;
mod part;
mod reap;
pub(crate) mod script;
pub(crate) mod stage;
pub(crate) mod template;
pub(crate) mod tree;
pub(crate) mod trees;
pub(crate) mod watch;
