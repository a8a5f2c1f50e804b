//! What the tests of the service share.

mod http;
mod service;

use libtest_mimic::{Completion, Trial};

pub(crate) use crate::groups::groups_of;
pub(crate) use http::{Answer, Client, Request};
pub(crate) use service::{Service, find_process, has_process, marker, slowness, wait_until};

/// What a test comes to: passed, or not tried on this machine. A broken promise panics.
pub(crate) type Promise = Result<(), Skip>;

/// Why a test was not tried.
#[derive(Debug)]
pub(crate) struct Skip(String);

/// Leaves a test untried, with the reason that the harness prints.
pub(crate) fn skip<T>(reason: impl Into<String>) -> Result<T, Skip> {
    Err(Skip(reason.into()))
}

/// One test of the harness; `family` is the path of its module.
pub(crate) fn trial(family: &str, name: &str, test: fn() -> Promise) -> Trial {
    let family = family.rsplit("::").next().unwrap_or(family);
    Trial::ignorable_test(format!("{family}::{name}"), move || match test() {
        Ok(()) => Ok(Completion::Completed),
        Err(Skip(reason)) => Ok(Completion::ignored_with(reason)),
    })
}

/// The tests of one family: one that is not listed is dead code, which is a warning.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(crate::support::trial(module_path!(), stringify!($name), $name)),*]
        }
    };
}
pub(crate) use promises;
