//! The examples that a page of the documentation is about, run as it says.

use std::fs;
use std::process::Command;

use fumehood::{ErrorKind, Job};

/// The example takes its cells from a zygote of its own; this test only looks at what it prints.
#[test]
fn a_project_is_compiled_out_of_an_archive() {
    let tools = ["tar", "gcc", "make"];
    let missing = tools.iter().find(|tool| Command::new(tool).arg("--version").output().is_err());
    if let Some(tool) = missing {
        eprintln!("skipped: there is no {tool}");
        return;
    }
    if let Err(error) = fumehood::Plan::new(&Job::new(["true"]))
        && matches!(error.kind(), ErrorKind::Unsupported { .. })
    {
        eprintln!("skipped: {error}");
        return;
    }
    let dir = std::env::temp_dir().join(format!("example-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let recipe = "mkdir build && ./prog >build/report.xml && echo png >plot.png";
    fs::write(dir.join("main.c"), "int main(void) { return 0; }\n").unwrap();
    let makefile = format!("prog: main.c\n\tgcc -o prog main.c\ntest: prog\n\t{recipe}\n");
    fs::write(dir.join("Makefile"), makefile).unwrap();
    let tar = ["-czf", "p.tar.gz", "main.c", "Makefile"];
    assert!(Command::new("tar").args(tar).current_dir(&dir).status().unwrap().success());
    let cargo = ["run", "--quiet", "--package", "fumehood", "--example", "compile", "--"];
    let mut example = Command::new(env!("CARGO"));
    example.args(cargo).arg(dir.join("p.tar.gz")).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = example.output().unwrap();
    fs::remove_dir_all(&dir).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("Exited { code: 0 }\n"), "{output:?}");
    assert!(text.ends_with("build/report.xml: 0 bytes\nplot.png: 4 bytes\n"), "{text}");
}

/// The program is executed once more in the sandbox, where it goes to its own entry.
#[test]
fn code_of_the_caller_s_own_runs_confined() {
    if let Err(error) = fumehood::Plan::new(&Job::new(["true"]))
        && matches!(error.kind(), ErrorKind::Unsupported { .. })
    {
        eprintln!("skipped: {error}");
        return;
    }
    let example = |variable: Option<&str>| {
        let cargo = ["run", "--quiet", "--package", "fumehood", "--example", "entry"];
        let mut example = Command::new(env!("CARGO"));
        example.args(cargo).current_dir(env!("CARGO_MANIFEST_DIR"));
        example.envs(variable.map(|entry| ("FUMEHOOD_ENTRY", entry))).output().unwrap()
    };
    let output = example(None);
    let text = String::from_utf8_lossy(&output.stdout);
    let expected = "network: Err(ConnectionRefused)\nhost's files: Err(NotFound)\n\
        workspace: Ok(())\nExited { code: 7 }\n";
    assert_eq!(text, expected, "{output:?}");
    let outside = example(Some("probe"));
    assert_eq!(outside.status.code(), Some(125), "called where nothing confines it: {outside:?}");
    assert_eq!(outside.stdout, b"");
}
