//! The project's chores: `cargo xtask help` lists them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool that talks to a person")]

mod backends;
mod bench;
mod build;
mod cases;
mod components;
mod guest;
mod load;
mod options;
mod page;
mod sabotage;
mod soak;
mod style;
mod suite;
mod tally;
mod user;

use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask COMMAND

  test       install what the tests use if possible, then check the format, the lints, all unit
             and documentation tests, and every promise as root and as an unprivileged user
  ci         the same, and fail where a part could not be tried at all
  promises   only the promises; arguments go to the suite, such as a filter;
             FUMEHOOD_BACKEND names another backend than the native one
  backends   the promises by every backend that this machine has, as a table
             [--write, to docs/backends.md] [--only PROMISES] [NAME...]
             [--overhead [--runs N] [NAME...], what a run by us costs beside the tool by hand]
  page       check that the page's bundle is what its sources give, and try it in a browser;
             `page build` makes the bundle
  bench      measure a launch against bare processes and other sandboxes
             [--runs N] [--parked N] [--against NAME,NAME...] [--write, to docs/benchmarks.md]
  sabotage   switch off one mechanism after another and see that tests notice
             [--full] [--list] [NAME...]
  soak       run many programs, some killed with their supervisor, and count what is left
             [--runs N] [--concurrency C] [--kill-every K], by the backend FUMEHOOD_BACKEND;
             with --seconds S, runs from one pool for that long instead, to see what grows
  load       put the HTTP service under load: mixed programs, clients that behave badly
             [--short] [--seconds N] [--debug] [--go-judge BINARY, to compare with]
  test-v2    tests on a kernel with control groups version 2 alone, under qemu
             [--systemd] [--timeout SECONDS] [--kernel VMLINUZ] [FILTER... | soak]
  help       this text
";

/// What a command comes to; an error is a sentence for the person who called it.
type Outcome = Result<bool, String>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) =
        args.split_first().map_or(("help", &[][..]), |(first, rest)| (first, rest));
    let outcome = match command {
        "test" => suite::test(suite::Mode::Lenient),
        "ci" => suite::test(suite::Mode::Strict),
        "promises" => suite::promises_only(rest),
        "backends" => backends::backends(rest),
        "page" => page::page(rest),
        "bench" => bench::bench(rest),
        "sabotage" => sabotage::sabotage(rest),
        "soak" => soak::soak(rest),
        "load" => load::load(rest),
        "test-v2" => return guest::run(rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(true)
        }
        unknown => Err(format!("no command {unknown}; cargo xtask help lists them")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
