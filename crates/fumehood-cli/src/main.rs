//! The command line of Fumehood.

mod args;
mod changes;
mod check;
mod error;
mod exit;
mod explain;
mod export;
mod gc;
mod generate;
mod help;
mod image;
mod lower;
mod output;
mod plain;
mod policy;
mod report;
mod run;
mod schema;
#[cfg(feature = "serve")]
mod serve;
mod signals;
mod table;
mod terminal;
mod validate;

use std::process::ExitCode;

use args::Command;
use fumehood::Sandbox;

fn main() -> ExitCode {
    fumehood::init();
    if validate::is_runner() {
        return validate::runner().into();
    }
    let words: Vec<_> = std::env::args_os().collect();
    let sandbox = args::foreseen(&words).map_or_else(Sandbox::direct, Sandbox::expecting);
    match args::parse(words) {
        Ok(command) => dispatch(&command, &sandbox),
        Err(error) => output::usage(&error),
    }
    .into()
}

fn dispatch(command: &Command, sandbox: &Sandbox) -> u8 {
    match command {
        Command::Run(args) => run::run(args, sandbox),
        Command::Check(args) => check::check(args),
        Command::Explain(args) => explain::explain(args),
        Command::Gc(args) => gc::gc(args),
        Command::Export(args) => export::export(args),
        Command::Image(args) => image::image(args),
        Command::Policy(args) => policy::policy(args),
        Command::Validate(args) => validate::validate(args),
        Command::Runner => validate::runner(),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::serve(args),
        Command::Completions { shell } => generate::completions(*shell),
        Command::Man => generate::man(),
        Command::Schema { document } => generate::schema(*document),
    }
}
