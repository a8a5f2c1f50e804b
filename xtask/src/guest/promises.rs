//! The promises in the guest: the suite and the binary linked statically, and the probes compiled
//! here, since the guest has busybox and no compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Payload, Result, Run, User, build, build_tests, target_dir};
use crate::build::root;

/// What is tried by default: all that depends on the version of control groups. Emulated, the whole
/// suite takes a quarter of an hour.
const FAMILIES: [&str; 4] = ["limits", "leftovers::", "report::", "death::killed"];

/// Much of the suite's time goes into waiting; the guest has two processors.
const THREADS: &str = "--test-threads=4 --color=never";

/// How much longer than usual everything may take under emulation.
const SLOWNESS: &str = "20";

/// The C programs of the suite.
const PROBES: [&str; 4] = ["probe", "bombs", "denied", "neighbour"];

/// Where a user's runs start: a leaf, because the group above it has to be divided.
const USER_GROUP: &str = "/promises/fumehood-supervisor";

/// Adds the suite as root in the root group, and as a user with a delegated group. The filter `soak`
/// stands for many runs.
pub(super) fn add(payload: &mut Payload, arguments: &[String]) -> Result<()> {
    for binary in build_tests(&["--package", "fumehood-cli", "--test", "promise"])? {
        let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = if name == "fumehood" { "fumehood" } else { "promise" };
        payload.files.push((binary, format!("/tests/{name}")));
    }
    for name in PROBES {
        payload.files.push((compile(name)?, format!("/tests/{name}")));
    }
    let (filters, options) = split(arguments);
    for filter in filters.iter().filter(|filter| *filter != "soak") {
        let tests = format!("/tests/promise {filter} {THREADS} {}", options.join(" "));
        payload.run_twice(&format!("promises:{filter}"), &tests);
    }
    if arguments.is_empty() || filters.iter().any(|filter| filter == "soak") {
        for program in build(&["build"], &SOAK)? {
            let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
            payload.files.push((program, format!("/tests/{name}")));
        }
        payload.run_twice("soak", MANY_RUNS);
    }
    Ok(())
}

/// Cargo's names of what is needed for many runs.
const SOAK: [&str; 8] =
    ["--package", "xtask", "--bin", "xtask", "--package", "fumehood", "--example", "many"];

const MANY_RUNS: &str =
    "env FUMEHOOD_MANY=/tests/many /tests/xtask soak --runs 60 --concurrency 4 --kill-every 5";

impl Payload {
    /// As root in the root group, and as a user with a delegated group.
    fn run_twice(&mut self, name: &str, command: &str) {
        for (user, group) in [(User::Root, "/"), (User::Tester, USER_GROUP)] {
            self.runs.push(Run {
                name: format!("{name}:{}", user.name()),
                user,
                group: group.to_owned(),
                command: format!(
                    "env FUMEHOOD_NO_SKIP=1 FUMEHOOD_BIN=/tests/fumehood FUMEHOOD_PROBES=/tests \
                     FUMEHOOD_SLOWNESS={SLOWNESS} {command}"
                ),
            });
        }
    }
}

/// The suite takes one filter at a time.
fn split(arguments: &[String]) -> (Vec<String>, Vec<String>) {
    let (options, filters): (Vec<_>, Vec<_>) =
        arguments.iter().cloned().partition(|argument| argument.starts_with('-'));
    let default = || FAMILIES.map(str::to_owned).into();
    (if filters.is_empty() { default() } else { filters }, options)
}

fn compile(name: &str) -> Result<PathBuf> {
    let sources = root().join("crates/fumehood-cli/tests/promise");
    let program = target_dir()?.join("guest").join(name);
    let source = sources.join(format!("{name}.c"));
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-static", "-pthread", "-o"]).args([&program, &source]);
    if cc.status().is_ok_and(|status| status.success()) {
        return Ok(program);
    }
    Err(format!("cc cannot compile {}", Path::new(&source).display()).into())
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn every_filter_is_a_run_of_its_own() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(split(&words("a --x b")), (words("a b"), words("--x")));
        assert!(split(&[]).0.len() > 1);
    }
}
