//! Jobs and variables that come from files.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{FUMEHOOD, assert_ended, file, fumehood, text};

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
