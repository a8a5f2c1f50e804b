//! Files that are made from the definitions of the command line and of jobs.

use clap::builder::PossibleValuesParser;
use clap::{Command, CommandFactory, ValueHint};
use clap_complete::Shell;
use fumehood::{BackendName, Guarantee, Result};

use crate::args::{Cli, Document};
use crate::error::internal;
use crate::{exit, output, schema};

/// Prints completions for a shell; returns the exit status.
pub(crate) fn completions(shell: Shell) -> u8 {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut completed(Cli::command()), "fumehood", &mut text);
    print(&text)
}

/// Prints the manual page; returns the exit status.
pub(crate) fn man() -> u8 {
    let mut page = Vec::new();
    match manual(&mut page) {
        Ok(()) => print(&page),
        Err(error) => output::failed(&internal("write the manual page")(error)),
    }
}

/// Prints a JSON schema; returns the exit status.
pub(crate) fn schema(document: Document) -> u8 {
    let schema = match document {
        Document::Job => schema::JOB,
        Document::Report => schema::REPORT,
    };
    status(schema.text().and_then(|text| output::print(&text)))
}

fn print(text: &[u8]) -> u8 {
    status(output::print(&String::from_utf8_lossy(text)))
}

fn status(printed: Result<()>) -> u8 {
    match printed {
        Ok(()) => exit::OK,
        Err(error) => output::failed(&error),
    }
}

/// One page: the command, then each of its subcommands with all of its options.
fn manual(page: &mut Vec<u8>) -> std::io::Result<()> {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let man = clap_mangen::Man::new(cli.clone());
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    for command in cli.get_subcommands() {
        let name = format!("fumehood {}", command.get_name()).to_uppercase();
        page.extend_from_slice(format!(".SH \"{name}\"\n").as_bytes());
        subcommand(command, page)?;
    }
    Ok(())
}

/// The sections of a subcommand become subsections of its own.
fn subcommand(command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let man = clap_mangen::Man::new(command.clone());
    let mut sections = Vec::new();
    man.render_synopsis_section(&mut sections)?;
    man.render_description_section(&mut sections)?;
    man.render_options_section(&mut sections)?;
    man.render_extra_section(&mut sections)?;
    let sections = String::from_utf8_lossy(&sections).replace(".SH EXTRA", ".SH NOTES");
    let sections = sections.replace(".SH ", ".SS ");
    page.extend_from_slice(sections.as_bytes());
    Ok(())
}

/// Adds what can be completed. The parser itself does without it: values are judged where jobs are
/// made, in one form for the command line and for files.
fn completed(cli: Command) -> Command {
    ["run", "explain"].into_iter().fold(cli, |cli, name| cli.mut_subcommand(name, with_hints))
}

fn with_hints(command: Command) -> Command {
    let choices: [(&str, Vec<&str>); 5] = [
        ("network", vec!["none", "host"]),
        ("output_excess", vec!["kill", "truncate"]),
        ("backend", BackendName::ALL.iter().map(|one| one.name()).collect()),
        ("require", Guarantee::ALL.iter().map(|one| one.name()).collect()),
        ("waive", Guarantee::ALL.iter().map(|one| one.name()).collect()),
    ];
    let command = choices.into_iter().fold(command, |command, (name, values)| {
        command.mut_arg(name, |arg| arg.value_parser(PossibleValuesParser::new(values)))
    });
    command.mut_arg("program", |arg| arg.value_hint(ValueHint::CommandWithArguments))
}
