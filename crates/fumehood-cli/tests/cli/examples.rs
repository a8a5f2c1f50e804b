//! Examples that work when pasted.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{FUMEHOOD, assert_ended, fumehood, text};

/// A command line that a text shows, and the exit status that it promises.
struct Example {
    line: String,
    status: i32,
}

/// The lines behind a prompt in which `fumehood` is called.
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
