//! What is printed about a run.

use std::io::{self, Write};

use clap::error::ErrorKind as UsageErrorKind;
use fumehood::{Error, ErrorKind, Missing, Report, Result};
use serde_json::{Value, json};

use crate::exit;

/// Prints help, a version, or what is wrong with the command line; returns the exit status.
pub(crate) fn usage(error: &clap::Error) -> u8 {
    match error.kind() {
        UsageErrorKind::DisplayHelp | UsageErrorKind::DisplayVersion => {
            let _ = error.print();
            exit::OK
        }
        _ => {
            let _ = error.print();
            exit::FAILED
        }
    }
}

/// Says how a run ended, unless the program ended by itself.
pub(crate) fn ended(result: &Result<Report>) {
    match result {
        Ok(report) => {
            if let Some(line) = report.outcome.describe() {
                say(&line);
            }
        }
        Err(failure) => error(failure),
    }
}

/// Says why something could not be done.
pub(crate) fn error(error: &Error) {
    explain(error).iter().for_each(|line| say(line));
}

fn say(line: &str) {
    // Nobody to tell it to is no reason to fail.
    let _ = writeln!(anstream::stderr(), "fumehood: {line}");
}

/// An error in lines.
fn explain(error: &Error) -> Vec<String> {
    match error.kind() {
        ErrorKind::Unsupported { missing } => unsupported(missing),
        _ => {
            let causes = std::iter::successors(std::error::Error::source(error), |e| e.source());
            let causes = causes.map(|cause| format!(": {cause}"));
            vec![std::iter::once(error.to_string()).chain(causes).collect()]
        }
    }
}

fn unsupported(missing: &[Missing]) -> Vec<String> {
    let mut lines = vec!["this host cannot hold what is required; nothing was run".to_owned()];
    for one in missing {
        let layer = serde_json::to_value(one.layer).unwrap_or_default();
        let layer = layer.as_str().unwrap_or("unknown");
        lines.push(format!("  {} ({layer}): {}", one.guarantee, one.reason));
        lines.extend(one.fix.iter().map(|fix| format!("    to fix it: {fix}")));
    }
    let names: Vec<_> = missing.iter().map(|one| one.guarantee.name()).collect();
    lines.push(format!("  to run without: --waive {}", names.join(",")));
    lines
}

/// A report, or an error in its place.
pub(crate) fn result(result: &Result<Report>) -> Value {
    match result {
        Ok(report) => serde_json::to_value(report).unwrap_or_default(),
        Err(error) => json!({ "error": describe(error) }),
    }
}

/// An error as JSON: `kind` and `message`, and the parts that the kind has.
fn describe(error: &Error) -> Value {
    let (kind, mut value) = match error.kind() {
        ErrorKind::InvalidJob { field, value, problem } => {
            ("invalid-job", json!({ "field": field, "value": value, "problem": problem }))
        }
        ErrorKind::Unsupported { missing } => ("unsupported", json!({ "missing": missing })),
        ErrorKind::ProgramNotFound { program, detail } => {
            ("program-not-found", json!({ "program": program, "detail": detail }))
        }
        ErrorKind::ProgramNotExecutable { program, detail } => {
            ("program-not-executable", json!({ "program": program, "detail": detail }))
        }
        ErrorKind::Start { step, source } => {
            ("start", json!({ "step": step, "errno": source.raw_os_error() }))
        }
        ErrorKind::NoLauncher => ("no-launcher", json!({})),
        ErrorKind::Internal { source, .. } => {
            ("internal", json!({ "errno": source.raw_os_error() }))
        }
        _ => ("other", json!({})),
    };
    value["kind"] = kind.into();
    value["message"] = explain(error).join("\n").into();
    value
}

/// Prints JSON to standard output.
pub(crate) fn json(value: &Value) -> Result<()> {
    print(&format!("{value:#}\n"))
}

/// Prints to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()).map_err(|source| {
        ErrorKind::Internal { doing: "print".to_owned(), source }.into()
    })
}
