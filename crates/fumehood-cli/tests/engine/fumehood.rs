//! Runs of the binary against an engine.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::daemons::Engine;

pub(crate) fn binary() -> PathBuf {
    std::env::var_os("FUMEHOOD_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_fumehood").into(), PathBuf::from)
}

/// `fumehood` with these arguments, led to the engine.
pub(crate) fn command(engine: &Engine, args: &[&str]) -> Command {
    let (name, value) = engine.variable();
    let mut command = Command::new(binary());
    command.args(args).env(name, value).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `fumehood run` with these flags in the image of BusyBox, and a program.
pub(crate) fn run(engine: &Engine, flags: &[&str], program: &[&str]) -> Output {
    let mut args = vec!["run", "--backend", engine.name, "--image", crate::daemons::IMAGE];
    args.extend(flags);
    args.push("--");
    args.extend(program);
    command(engine, &args).output().expect("it can be started")
}

/// The same, with the report.
pub(crate) fn report(engine: &Engine, flags: &[&str], program: &[&str]) -> Value {
    let output = run(engine, &[&["--json"], flags].concat(), program);
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    })
}

/// The document of a job that is given on standard input.
pub(crate) fn job(engine: &Engine, job: &Value, flags: &[&str]) -> Value {
    let mut args = vec!["run", "--json", "--job", "-"];
    args.extend(flags);
    let mut child = command(engine, &args).stdin(Stdio::piped()).spawn().expect("it starts");
    give(&mut child, job.to_string().as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    })
}

fn give(child: &mut Child, text: &[u8]) {
    // One that refuses its job before it has read all of it breaks the pipe.
    drop(child.stdin.take().map(|mut stdin| stdin.write_all(text)));
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
