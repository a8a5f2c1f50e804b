//! What the service promises, by HTTP alone: the real binary, real programs in real cells.

mod access;
mod apart;
#[path = "../shared/groups.rs"]
mod groups;
mod hangups;
mod jobs;
mod load;
mod promptness;
mod refusals;
mod runs;
mod slow;
mod stopping;
mod streaming;
mod support;
mod transcripts;

use std::io::Write;
use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // A place and a message, without a backtrace through the harness.
    std::panic::set_hook(Box::new(|panic| drop(writeln!(std::io::stderr(), "{panic}"))));
    let families = [
        runs::trials(),
        refusals::trials(),
        access::trials(),
        apart::trials(),
        streaming::trials(),
        jobs::trials(),
        load::trials(),
        promptness::trials(),
        hangups::trials(),
        slow::trials(),
        stopping::trials(),
        transcripts::trials(),
    ];
    libtest_mimic::run(&arguments, families.into_iter().flatten().collect()).exit_code()
}
