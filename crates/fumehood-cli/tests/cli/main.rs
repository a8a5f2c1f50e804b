//! What the command line itself does, around the jobs that it runs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod documents;
mod examples;
mod files;
mod inside;
mod refusals;
mod reports;
mod streams;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const FUMEHOOD: &str = env!("CARGO_BIN_EXE_fumehood");

fn fumehood(args: &[&str]) -> Output {
    Command::new(FUMEHOOD).args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_ended(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A directory, and the path of a file in it.
fn file(name: &str, content: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

/// A FIFO with a name, and the directory that it is in.
fn fifo() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo").to_str().unwrap().to_owned();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    (dir, path)
}

/// A run that is killed where it would go on for ever: its status is 137 then.
fn bounded(args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "60", FUMEHOOD]).args(args).stdin(Stdio::null());
    command
}

/// Sends a signal until the run is at its end, wherever it is; it is killed if it never gets there.
fn stopped_by(signal: Signal, mut run: Child) -> ExitStatus {
    let pid = Pid::from_child(&run);
    for _ in 0..600 {
        if let Some(status) = run.try_wait().unwrap() {
            return status;
        }
        let _ = kill_process(pid, signal);
        sleep(Duration::from_millis(100));
    }
    run.kill().unwrap();
    run.wait().unwrap()
}

/// Waits until a process has a handler for a signal.
fn handles(signal: Signal, run: &Child) {
    let bit = 1_u64 << (signal.as_raw() - 1);
    let caught = || {
        let status = fs::read_to_string(format!("/proc/{}/status", run.id())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & bit != 0
    };
    while !caught() {
        sleep(Duration::from_millis(10));
    }
}
