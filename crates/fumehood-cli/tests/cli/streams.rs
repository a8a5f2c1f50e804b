//! Streams that are slow, that end early, or that never come.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{FUMEHOOD, assert_ended, bounded, fifo, file, handles, json, stopped_by, text};

#[test]
fn a_fifo_that_nobody_writes_to_holds_up_the_program_alone() {
    let (_dir, path) = fifo();
    let stdin = |program: &[&str]| {
        let run = ["run", "--timeout", "300ms", "--grace", "0s", "--stdin", &path];
        bounded(&[&run, program].concat()).output().unwrap()
    };
    assert_ended(&stdin(&["true"]), 0);
    assert_ended(&stdin(&["cat"]), 124);
}

#[test]
fn a_fifo_is_read_once_somebody_writes_to_it() {
    let (_dir, path) = fifo();
    let run = ["run", "--stdin", &path, "sh", "-c", "echo runs; cat"];
    let mut child = bounded(&run).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "runs\n");
    fs::write(&path, "later").unwrap();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "runs\nlater");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_run_is_cancelled_while_its_inputs_are_read() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_dir, path) = file("r.json", "");
        let mut run = Command::new(FUMEHOOD);
        run.args(["run", "--report", &path, "--input-tar", "-", "true"]);
        let run = run.stdin(Stdio::piped()).spawn().unwrap();
        handles(signal, &run);
        assert_eq!(stopped_by(signal, run).code(), Some(128 + signal.as_raw()));
        let error = &json(Path::new(&path))["error"];
        assert_eq!(error["kind"], "cancelled", "{error}");
        assert_eq!(error["signal"], signal.as_raw());
    }
}

/// Whoever writes more to a file than it may is sent a signal, and its program must not end with it.
#[test]
fn output_beyond_the_callers_limit_of_a_file_is_an_error() {
    const PROGRAM: &str = "head -c 1000000 /dev/zero; sleep 0.1; echo after >&2";
    let (_dir, path) = file("output", "");
    let limited = format!("ulimit -f 1000; exec \"$@\" >{path}");
    let run = [FUMEHOOD, "run", "--", "sh", "-c", PROGRAM];
    let output = Command::new("sh").args(["-c", &limited, "sh"]).args(run).output().unwrap();
    assert_ended(&output, 125);
    let said = "after\nfumehood: standard output could not be passed on: File too large";
    assert!(text(&output.stderr).starts_with(said), "{output:?}");
    // POSIX has the shell count in pieces of 512 bytes.
    assert_eq!(fs::metadata(&path).unwrap().len(), 512_000);
}
