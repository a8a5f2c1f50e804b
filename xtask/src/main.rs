//! The project's own commands: `cargo xtask COMMAND`.

mod guest;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first().map(|(command, rest)| (command.as_str(), rest)) {
        Some(("test-v2", rest)) => guest::run(rest),
        _ => ExitCode::FAILURE,
    }
}
