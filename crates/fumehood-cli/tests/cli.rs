//! What the command line itself does, around the jobs that it runs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
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

/// What the kernel counts by user is the caller's as well, and some of it is nobody's: without a limit
/// one program could take all of it.
#[test]
fn what_a_program_takes_of_the_kernel_is_limited() {
    let output = fumehood(&["run", "--", "cat", "/proc/self/limits"]);
    assert_ended(&output, 0);
    for (name, most) in [
        ("Max core file size", "0"),
        ("Max locked memory", "65536"),
        ("Max msgqueue size", "0"),
        ("Max pending signals", "1024"),
        ("Max nice priority", "0"),
        ("Max realtime priority", "0"),
    ] {
        let line = text(&output.stdout).lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let words: Vec<_> = line.split_whitespace().take(2).collect();
        assert_eq!(words, [most, most], "{name}");
    }
    for (name, most) in [("max_inotify_instances", "8\n"), ("max_inotify_watches", "8192\n")] {
        let output = fumehood(&["run", "--", "cat", &format!("/proc/sys/user/{name}")]);
        assert_eq!(text(&output.stdout), most, "{name}");
    }
}

#[test]
fn a_program_learns_none_of_the_hosts_names() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can have a domain name to keep to itself");
        return;
    }
    let script = "echo secret >/proc/sys/kernel/domainname; exec \"$@\"";
    let names = ["cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname"];
    let mut command = Command::new("unshare");
    command.args(["--uts", "sh", "-c", script, "sh", FUMEHOOD, "run", "--"]).args(names);
    let output = command.output().unwrap();
    assert_ended(&output, 0);
    assert_eq!(text(&output.stdout), "sandbox\n(none)\n");
}

/// A program learns of no server of the host's that it cannot ask.
#[test]
fn names_are_asked_for_only_where_there_is_a_network() {
    let script = "cat /etc/resolv.conf 2>/dev/null; echo end";
    let run = |flags: &[&str]| {
        let output = fumehood(&[&["run"], flags, &["--", "sh", "-c", script]].concat());
        assert_ended(&output, 0);
        text(&output.stdout).to_owned()
    };
    assert_eq!(run(&[]), "end\n");
    let servers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(run(&["--network", "host", "--waive", "network"]), format!("{servers}end\n"));
}

/// A file that cannot be executed is passed over, and told of if there is no other (`execvp(3)`).
#[test]
fn the_program_is_the_first_on_the_path_that_can_be_executed() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, mode) in [("one", 0o644), ("two", 0o755)] {
        let file = dir.path().join(name).join("tool");
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("#!/bin/sh\necho {name}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }
    let volume = format!("{}:/tools", dir.path().display());
    let run = |path: &str| {
        let path = format!("PATH={path}");
        fumehood(&["run", "-v", &volume, "--env", &path, "--", "tool"])
    };
    let output = run("/nowhere:/tools/one:/tools/two");
    assert_ended(&output, 0);
    assert_eq!(text(&output.stdout), "two\n");
    assert_ended(&run("/tools/one:/nowhere"), 126);
    assert_ended(&run("/tools/one:/usr/bin"), 126);
    assert_ended(&run("/nowhere:/usr/bin"), 127);
}

/// A runtime that gets only some of its descriptors would panic.
#[test]
fn too_few_descriptors_are_an_error() {
    for limit in 10..16 {
        let limited = format!("ulimit -n {limit}; exec \"$@\"");
        let run = [FUMEHOOD, "run", "--", "true"];
        let output = Command::new("sh").args(["-c", &limited, "sh"]).args(run).output().unwrap();
        assert_ended(&output, 125);
        assert!(text(&output.stderr).contains("Too many open files"), "{limit}: {output:?}");
    }
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
fn a_refusal_names_the_waiver_that_runs_the_job() {
    let output = fumehood(&["run", "--require", "kernel-boundary", "true"]);
    assert_ended(&output, 99);
    let said = text(&output.stderr);
    assert!(said.contains("kernel-boundary (backend): "), "{said}");
    assert!(said.ends_with("to run without: --waive kernel-boundary\n"), "{said}");
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
fn json_holds_the_output() {
    let output = fumehood(&["run", "--json", "--", "sh", "-c", "echo out; echo err >&2"]);
    assert_ended(&output, 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["stdout"]["data"]["text"], "out\n");
    assert_eq!(report["stderr"]["data"]["text"], "err\n");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn flags_override_a_job_file() {
    let job = r#"{"args": ["printenv", "A"], "env": {"set": {"A": "file", "B": "file"}}}"#;
    let (_dir, path) = file("job.json", job);
    let run = |args: &[&str]| fumehood(&[&["run", "--job", &path], args].concat());
    assert_eq!(text(&run(&[]).stdout), "file\n");
    assert_eq!(text(&run(&["-e", "A=flag"]).stdout), "flag\n");
    assert_eq!(text(&run(&["-e", "A=flag", "--", "printenv", "B"]).stdout), "file\n");
}

#[test]
fn jobs_are_read_as_toml_and_from_standard_input() {
    let toml = "args = [\"cat\"]\nstdin = { text = \"from toml\" }\n";
    let (_dir, path) = file("job.toml", toml);
    assert_eq!(text(&fumehood(&["run", "--job", &path]).stdout), "from toml");
    let mut child = Command::new(FUMEHOOD);
    child.args(["run", "--job", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(toml.as_bytes()).unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "from toml");
}

#[test]
fn a_wrong_job_file_names_the_field() {
    let (_dir, path) = file("job.json", r#"{"args": ["true"], "limits": {"memroy": "1G"}}"#);
    let output = fumehood(&["run", "--job", &path]);
    assert_ended(&output, 125);
    let said = text(&output.stderr);
    assert!(said.contains("memroy") && said.contains("memory"), "{said}");
}

#[test]
fn variables_come_from_files_flags_and_the_caller() {
    let (_dir, path) = file("env", "# a comment\n\nA=file\nB=file\nINHERITED\nNOT_SET\n");
    let output = Command::new(FUMEHOOD)
        .args(["run", "--env-file", &path, "-e", "B=flag", "--", "env"])
        .env("INHERITED", "caller")
        .env("OTHER", "caller")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_ended(&output, 0);
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    for line in ["A=file", "B=flag", "INHERITED=caller"] {
        assert!(lines.contains(&line), "{lines:?}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("OTHER") || line.starts_with("NOT_SET")));
}

/// A shell reads such lines; a variable called `export C` or `B ` would be of no use to anybody.
#[test]
fn names_of_variables_in_a_file_have_no_spaces() {
    for (line, name) in [("export C=hunter2", "C"), ("B = hunter2", "B"), ("hunter2 x", "x")] {
        let (_dir, path) = file("env", &format!("# comment\n\nA=a b\n{line}\n"));
        let output = fumehood(&["run", "--env-file", &path, "--", "printenv", name]);
        assert_ended(&output, 125);
        let said = text(&output.stderr);
        assert!(
            said.contains("line 4 has a space in the name") && !said.contains("hunter2"),
            "{said}"
        );
    }
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
fn an_image_is_imported_under_a_name_that_can_be_written() {
    for name in ["", "A B", "a\n"] {
        let output = fumehood(&["image", "import", "--name", name, "/not/there"]);
        assert_ended(&output, 125);
        assert!(text(&output.stderr).contains("--name"), "{output:?}");
    }
}

/// Whoever prints an error on a terminal hands the terminal to whoever wrote the job.
#[test]
fn what_an_error_repeats_cannot_move_a_terminal() {
    const FOREIGN: &str = "\u{1b}[31mX\u{7}\u{9b}\u{202e}\nY";
    for job in [
        json!({"args": ["x"], "cwd": format!("/{FOREIGN}")}),
        json!({"args": ["x"], "root": {"image": FOREIGN}}),
        json!({"args": ["x"], "seccomp": {"profile": format!("/{FOREIGN}")}}),
        json!({"args": ["x"], "seccomp": FOREIGN}),
        json!({"args": ["x"], "network": FOREIGN}),
        json!({"args": [FOREIGN]}),
    ] {
        let (_dir, path) = file("job.json", &job.to_string());
        let output = fumehood(&["run", "--job", &path]);
        let said = text(&output.stderr).strip_suffix('\n').unwrap();
        assert!(said.starts_with("fumehood: "), "{said:?}");
        assert!(!said.contains(char::is_control) && !said.contains('\u{202e}'), "{said:?}");
    }
}

#[test]
fn a_wrong_command_line_is_no_run() {
    let output = fumehood(&["run", "--bogus", "true"]);
    assert_ended(&output, 125);
    assert!(text(&output.stderr).starts_with("fumehood: unexpected argument '--bogus'"));
}

#[test]
fn explain_shows_the_plan_and_runs_nothing() {
    let output =
        fumehood(&["explain", "--json", "-m", "64M", "--waive", "memory", "--", "not-there"]);
    assert_ended(&output, 0);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["program"]["args"][0], "not-there");
    assert_eq!(plan["limits"]["memory"], "64MiB");
    let steps = plan["steps"].as_array().unwrap();
    assert_eq!(steps.last().unwrap(), "exec not-there");
    let total = plan["syscalls"]["always"].as_object().unwrap().values();
    assert!(total.map(|count| count.as_u64().unwrap()).sum::<u64>() > 300);
    let human = fumehood(&["explain", "--", "true"]);
    assert_ended(&human, 0);
    assert!(text(&human.stdout).contains("\nguarantees\n"), "plain text without a terminal");
}

#[test]
fn check_says_where_every_guarantee_stands() {
    let output = fumehood(&["check", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_ended(&output, if found["ok"] == true { 0 } else { 99 });
    let guarantees = found["guarantees"].as_object().unwrap();
    assert_eq!(guarantees.len(), fumehood::Guarantee::ALL.len());
    for (name, finding) in guarantees {
        let why = if finding["state"] == "held" { &finding["by"] } else { &finding["reason"] };
        assert!(!why.is_null(), "{name}: {finding}");
    }
    let human = fumehood(&["check"]);
    assert_eq!(human.status.code(), output.status.code());
    assert!(text(&human.stdout).starts_with("guarantee "));
}

#[test]
fn completions_know_the_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = fumehood(&["completions", shell]);
        assert_ended(&output, 0);
        let script = text(&output.stdout);
        for word in ["explain", "pids-limit"] {
            assert!(script.contains(word), "{shell} {word}");
        }
        // The others complete no values.
        let values = ["bash", "zsh", "fish"].contains(&shell);
        assert_eq!(script.contains("read-only-root"), values, "{shell}");
        // This one has no help in it, where the names stand as well.
        assert!(shell != "bash" || script.contains("seatbelt"), "{script}");
    }
}

#[test]
fn the_manual_has_every_command() {
    let output = fumehood(&["man"]);
    assert_ended(&output, 0);
    let page = text(&output.stdout);
    assert!(page.contains(".TH fumehood 1"));
    for command in ["RUN", "CHECK", "EXPLAIN", "COMPLETIONS", "MAN", "SCHEMA"] {
        assert!(page.contains(&format!(".SH \"FUMEHOOD {command}\"")), "{command}");
    }
    assert!(page.contains("pids\\-limit"));
}

#[test]
fn schemas_are_printed() {
    for (document, field) in [("job", "args"), ("report", "outcome")] {
        let output = fumehood(&["schema", document]);
        assert_ended(&output, 0);
        let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(schema["properties"][field].is_object(), "{document}");
        let committed =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schema/{document}.json"));
        assert_eq!(output.stdout, fs::read(committed).unwrap(), "{document}");
    }
}

/// A command line that a text shows, and the exit status that it promises.
struct Example {
    line: String,
    status: i32,
}

/// The lines behind a prompt that start or end with `fumehood`.
fn examples(text: &str) -> Vec<Example> {
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("$ "));
    lines
        .filter(|line| line.contains("fumehood "))
        .map(|line| {
            let status = line.rsplit_once("# exits ").map_or(0, |(_, code)| code.parse().unwrap());
            Example { line: line.to_owned(), status }
        })
        .collect()
}

#[test]
fn examples_in_help_work_when_pasted() {
    let mut tried = 0;
    for help in [
        &["--help"][..],
        &["run", "--help"],
        &["explain", "--help"],
        &["check", "--help"],
        &["export", "--help"],
        &["policy", "--help"],
    ] {
        let output = fumehood(help);
        assert_ended(&output, 0);
        for example in examples(text(&output.stdout)) {
            assert_works(&example);
            tried += 1;
        }
    }
    assert!(tried >= 11, "{tried} examples");
}

#[test]
fn examples_in_the_readme_work_when_pasted() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let Ok(readme) = fs::read_to_string(&readme) else {
        eprintln!("skipped: there is no {}", readme.display());
        return;
    };
    let commands = ["run", "check", "explain", "completions", "man", "schema", "export", "policy"];
    for example in examples(&readme) {
        let runs = commands.iter().any(|name| example.line.contains(&format!("fumehood {name}")));
        if runs {
            assert_works(&example);
        } else {
            eprintln!("skipped, it serves or changes the host: {}", example.line);
        }
    }
}

/// Pastes an example into a shell, in an empty directory.
fn assert_works(Example { line, status }: &Example) {
    let dir = tempfile::tempdir().unwrap();
    let ours = Path::new(FUMEHOOD).parent().unwrap().to_str().unwrap().to_owned();
    let path = ours + ":" + &std::env::var("PATH").unwrap();
    let output = Command::new("bash")
        .args(["-c", line])
        .env("PATH", path)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let unsupported = line.contains("fumehood check") && output.status.code() == Some(99);
    assert!(output.status.code() == Some(*status) || unsupported, "{line}\n{output:?}");
}
