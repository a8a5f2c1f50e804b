//! The protocol of the Go playground's back end, against a real service with real cells. `l_1` to
//! `l_11` are the cases that the original's own tests are about.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

mod built;
mod cases;
mod go;
mod http;
mod limits;
mod server;

use std::io::Write;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// What a test needs that not every machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    C,
    Go,
}

impl Needs {
    fn missing(self) -> Option<&'static str> {
        match self {
            Self::C => built::cc().is_none().then_some("no C compiler"),
            Self::Go => built::go().is_none().then_some("no Go"),
        }
    }
}

/// A test with its name.
type Case = (&'static str, fn());

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    std::panic::set_hook(Box::new(|panic| drop(writeln!(std::io::stderr(), "{panic}"))));
    let mut trials = Vec::new();
    for (needs, cases) in [(Needs::C, cases::ALL), (Needs::C, limits::ALL), (Needs::Go, go::ALL)] {
        let missing = needs.missing();
        for (name, case) in cases {
            if let Some(reason) = missing {
                let _ = writeln!(std::io::stderr(), "{name}: skipped: {reason}");
            }
            let trial = Trial::test(*name, || {
                case();
                Ok(())
            });
            trials.push(trial.with_ignored_flag(missing.is_some()));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    server::stop_shared();
    built::clean_up();
    conclusion.exit_code()
}
