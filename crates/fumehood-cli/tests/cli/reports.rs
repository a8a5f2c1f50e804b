//! Where a report goes, and what is in it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Signal;
use serde_json::Value;

use super::{FUMEHOOD, assert_ended, bounded, fifo, file, fumehood, json, stopped_by, text};

#[test]
fn a_report_is_written_beside_output_that_is_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    let output =
        fumehood(&["run", "--report", path.to_str().unwrap(), "--", "sh", "-c", "echo hi; exit 3"]);
    assert_ended(&output, 3);
    assert_eq!(text(&output.stdout), "hi\n");
    assert_eq!(text(&output.stderr), "");
    let report = json(&path);
    assert_eq!(report["outcome"]["kind"], "exited");
    assert_eq!(report["outcome"]["code"], 3);
    assert_eq!(report["stdout"]["total"], 3);
    assert_eq!(report["stdout"]["data"]["text"], "");
    assert_eq!(report["confinement"]["guarantees"]["filesystem"]["state"], "held");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_report_that_nobody_reads_can_be_given_up() {
    let (_dir, path) = fifo();
    for signal in [Signal::TERM, Signal::INT] {
        let mut run = Command::new(FUMEHOOD);
        run.args(["run", "--report", &path, "echo", "done"]).stdout(Stdio::piped());
        let mut run = run.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
        assert_eq!(stopped_by(signal, run).code(), Some(128 + signal.as_raw()));
    }
}

#[test]
fn a_report_does_not_wait_for_who_reads_no_notices() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    let (_nobody_reads, full) = std::io::pipe().unwrap();
    fcntl_setfl(&full, OFlags::NONBLOCK).unwrap();
    while (&full).write(&[0; 4096]).is_ok() {}
    fcntl_setfl(&full, OFlags::empty()).unwrap();
    let report = path.to_str().unwrap();
    let run = ["run", "--timeout", "100ms", "--grace", "0s", "--report", report, "sleep", "60"];
    assert_eq!(bounded(&run).stderr(full).status().unwrap().code(), Some(124));
    assert_eq!(json(&path)["outcome"]["kind"], "timed-out");
}

#[test]
fn a_report_replaces_what_was_there() {
    let (_dir, path) = file("r.json", "old");
    let mut before = fs::File::open(&path).unwrap();
    assert_ended(&fumehood(&["run", "--report", &path, "true"]), 0);
    assert_eq!(json(Path::new(&path))["outcome"]["code"], 0);
    // Whoever was reading has the whole of the old one: nothing was written to that.
    let mut read = String::new();
    before.read_to_string(&mut read).unwrap();
    assert_eq!(read, "old");
}

#[test]
fn a_report_can_go_to_a_pipe() {
    let output = fumehood(&["run", "--report", "/dev/stderr", "true"]);
    assert_ended(&output, 0);
    let report: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(report["outcome"]["kind"], "exited");
}

#[test]
fn a_report_goes_where_a_link_leads() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("to")).unwrap();
    let (link, other) = (dir.path().join("link"), dir.path().join("other"));
    std::os::unix::fs::symlink("other", &link).unwrap();
    std::os::unix::fs::symlink("to/r.json", &other).unwrap();
    assert_ended(&fumehood(&["run", "--report", link.to_str().unwrap(), "true"]), 0);
    assert!(link.is_symlink() && other.is_symlink());
    assert_eq!(json(&dir.path().join("to/r.json"))["outcome"]["code"], 0);
}

#[test]
fn a_report_to_standard_output_is_no_file_called_so() {
    let dir = tempfile::tempdir().unwrap();
    let run = ["run", "--report", "-", "true"];
    let output = Command::new(FUMEHOOD).args(run).current_dir(&dir).output().unwrap();
    assert_ended(&output, 125);
    assert!(text(&output.stderr).contains("--report: -: "), "{output:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_report_that_cannot_be_written_is_an_error_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mark = format!("{}:/mark:rw", dir.path().display());
    let touch = ["run", "-v", &mark, "--", "touch", "/mark/ran-without-report"];
    assert_ended(&fumehood(&touch), 0);
    assert!(dir.path().join("ran-without-report").exists());
    for report in ["/not/there/r.json", "/", "/proc/r.json"] {
        let output =
            fumehood(&["run", "-v", &mark, "--report", report, "--", "touch", "/mark/ran"]);
        assert_ended(&output, 125);
        let said = text(&output.stderr);
        assert!(
            said.starts_with(&format!("fumehood: invalid job: --report: {report}: ")),
            "{said}"
        );
        assert!(!dir.path().join("ran").exists());
    }
}

#[test]
fn errors_are_reported_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    for (args, status, kind) in [
        (&["not-there"][..], 127, "program-not-found"),
        (&["/etc/passwd"], 126, "program-not-executable"),
        (&["--require", "kernel-boundary", "true"], 99, "unsupported"),
        (&["--memory", "100", "true"], 125, "invalid-job"),
        (&["--workdir", "../x", "true"], 125, "invalid-job"),
    ] {
        let report = path.to_str().unwrap();
        let output = fumehood(&[&["run", "--report", report], args].concat());
        assert_ended(&output, status);
        let error = &json(&path)["error"];
        assert_eq!(error["kind"], kind);
        let line = format!("fumehood: {}", error["message"].as_str().unwrap());
        let said = text(&output.stderr).trim_end().replace("\nfumehood: ", "\n");
        assert_eq!(said, line);
    }
}

#[test]
fn json_holds_the_output() {
    let output = fumehood(&["run", "--json", "--", "sh", "-c", "echo out; echo err >&2"]);
    assert_ended(&output, 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["stdout"]["data"]["text"], "out\n");
    assert_eq!(report["stderr"]["data"]["text"], "err\n");
    assert_eq!(text(&output.stderr), "");
}
