//! The program inside a host of the tests: asks the library and prints what it answers as JSON.
#![expect(clippy::print_stdout, reason = "its output is its answer")]

use fumehood::{ErrorKind, Guarantee, Job, blocking};
use serde_json::{Value, json};

pub(crate) fn play(role: &str, args: &[String]) {
    let answer = match role {
        "__support" => support(),
        "__run" => run(args),
        _ => json!({ "failed": format!("no such role: {role}") }),
    };
    println!("{answer}");
}

fn support() -> Value {
    match blocking::support() {
        Ok(support) => json!({ "refused": support.refused(), "support": support }),
        Err(error) => failed(&error),
    }
}

/// First what is waived, with commas, then the program.
fn run(args: &[String]) -> Value {
    let Some((waived, program)) = args.split_first() else { return json!({ "failed": "no job" }) };
    let mut job = Job::new(program);
    job.waive = waived.split(',').filter_map(Guarantee::from_name).collect();
    match blocking::run(&job) {
        Ok(report) => json!({ "report": report }),
        Err(error) => match error.kind() {
            ErrorKind::Unsupported { missing } => json!({ "missing": missing }),
            _ => failed(&error),
        },
    }
}

fn failed(error: &fumehood::Error) -> Value {
    let source = std::error::Error::source(error).map(ToString::to_string);
    json!({ "failed": format!("{error}: {}", source.unwrap_or_default()) })
}
