//! What the tests of running programs have in common.

use std::time::Duration;

use fumehood::{ErrorKind, Job, blocking};
use libtest_mimic::{Arguments, Failed, Trial};

pub(crate) type Test = fn() -> Result<(), Failed>;

/// Runs the tests, or skips them with the reason where this host cannot run any program.
#[expect(clippy::print_stderr, reason = "a skip gives its reason")]
pub(crate) fn conclude(arguments: &Arguments, tests: &[(&'static str, Test)]) -> ! {
    let refused = blocking::run(&Job::new(["true"])).err();
    let refused = refused.filter(|error| matches!(error.kind(), ErrorKind::Unsupported { .. }));
    if let Some(reason) = &refused {
        eprintln!("skipped, {} tests: {reason}", tests.len());
    }
    let trial = |&(name, test): &(&'static str, Test)| {
        Trial::test(name, test).with_ignored_flag(refused.is_some())
    };
    libtest_mimic::run(arguments, tests.iter().map(trial).collect()).exit()
}

/// A runtime with threads, as servers have.
pub(crate) fn run(test: impl Future<Output = fumehood::Result<()>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let limit = Duration::from_secs(300);
    runtime.block_on(async { tokio::time::timeout(limit, test).await })??;
    Ok(())
}
