//! What Fumehood promises, one test a promise, by the command line alone.
//!
//! Every test is named as a sentence and goes red when the mechanism behind it is switched off:
//! `cargo xtask sabotage` shows that. A promise that this machine cannot try is skipped with its
//! reason, and the summary counts it.

mod artifacts;
mod breakdowns;
#[path = "../../../fumehood/tests/corpus/mod.rs"]
mod corpus;
mod cow;
#[expect(dead_code, reason = "the tests of engines use more of it")]
#[path = "../engine/daemons.rs"]
mod daemons;
mod death;
mod denied;
mod environment;
mod exit_codes;
mod filesystem;
#[path = "../shared/groups.rs"]
mod groups;
#[path = "../engine/http.rs"]
mod http;
mod images;
mod inputs;
mod job_files;
mod leftovers;
mod limits_time_output;
mod limits_tree;
mod mounts;
mod neighbours;
mod network;
mod privileges;
mod processes;
mod report;
mod stdio;
mod support;
mod syscalls;
mod toolchains;
mod tty;
mod unavailable;

use std::io::Write;
use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    support::part_from_the_host();
    // A place and a message, without a backtrace through the harness.
    std::panic::set_hook(Box::new(|panic| drop(writeln!(std::io::stderr(), "{panic}"))));
    let families = [
        exit_codes::trials(),
        filesystem::trials(),
        mounts::trials(),
        cow::trials(),
        images::trials(),
        processes::trials(),
        network::trials(),
        privileges::trials(),
        syscalls::trials(),
        denied::trials(),
        environment::trials(),
        limits_time_output::trials(),
        limits_tree::trials(),
        neighbours::trials(),
        stdio::trials(),
        tty::trials(),
        job_files::trials(),
        report::trials(),
        inputs::trials(),
        artifacts::trials(),
        unavailable::trials(),
        toolchains::trials(),
        death::trials(),
        leftovers::trials(),
        breakdowns::trials(),
    ];
    let conclusion = libtest_mimic::run(&arguments, families.into_iter().flatten().collect());
    support::stop_engine();
    support::clean_up();
    conclusion.exit_code()
}
