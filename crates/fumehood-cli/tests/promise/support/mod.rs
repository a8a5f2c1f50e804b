//! What the promises share.

mod backend;
mod engine;
mod exemptions;
mod fumehood;
mod host;
mod image;
mod namespace;
mod pace;
mod probe;
mod proc;
mod temp;
mod traces;

use libtest_mimic::{Completion, Trial};

pub(crate) use crate::groups::groups_of;
pub(crate) use backend::{name as backend_name, user};
pub(crate) use engine::stop as stop_engine;
pub(crate) use fumehood::{Feed, Fumehood, Live, Ran, run, run_reported, waiting_shell};
pub(crate) use host::{
    GUARANTEES, Listener, host_tool, marker, needs_control_groups, needs_root, python,
    require_tools, slowness,
};
pub(crate) use image::{Images, add, archive, busybox, unpack};
pub(crate) use namespace::part_from_the_host;
pub(crate) use pace::{flag, given_time};
pub(crate) use probe::{Probe, Verdict, parse};
pub(crate) use proc::{Mount, Process, field, processes_naming, wait_for, wait_until_gone};
pub(crate) use temp::{TempDir, clean_up};
pub(crate) use traces::{Traces, mounts, names};

/// What a promise comes to: kept, or not tried on this machine. A broken one panics.
pub(crate) type Promise = Result<(), Skip>;

/// Why a promise was not tried.
#[derive(Debug)]
pub(crate) struct Skip(String);

/// Leaves a promise untried, with the reason that the harness prints.
pub(crate) fn skip<T>(reason: impl Into<String>) -> Result<T, Skip> {
    Err(Skip(reason.into()))
}

/// One test of the harness; `family` is the path of its module.
pub(crate) fn trial(family: &str, name: &str, test: fn() -> Promise) -> Trial {
    let family = family.rsplit("::").next().unwrap_or(family);
    let name = format!("{family}::{name}");
    let exempt = exemptions::exemption(&name);
    let engine = || match engine::variable() {
        Some(Err(reason)) => skip(reason),
        _ => Ok(()),
    };
    let test = move || engine().and_then(|()| test());
    Trial::ignorable_test(name, move || match exempt.map_or_else(test, skip) {
        Ok(()) => Ok(Completion::Completed),
        Err(Skip(reason)) => Ok(Completion::ignored_with(reason)),
    })
}

/// The tests of one family: a promise that is not listed is dead code, which is a warning.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(crate::support::trial(module_path!(), stringify!($name), $name)),*]
        }
    };
}
pub(crate) use promises;
