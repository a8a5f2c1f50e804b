//! The cases of GoWDK's playground that are about its command line, G-11 to G-18, by ours.
//!
//! Its others are beside the code that they are about; `docs/migrating.md` lists those that do not apply.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, or says why it is skipped"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const FUMEHOOD: &str = env!("CARGO_BIN_EXE_fumehood");

fn fumehood(args: &[&str]) -> Output {
    Command::new(FUMEHOOD).args(args).stdin(Stdio::null()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Allows everything but mounts, as environments do that let anybody make namespaces and little else.
const NO_MOUNTS: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ERRNO",
    "names": ["mount", "umount2", "pivot_root", "fsopen", "fsmount", "open_tree", "move_mount",
              "mount_setattr"]}]}"#;

/// A run in such an environment, which is a cell of ours; none where that cannot be had.
fn without_mounts(dir: &Path) -> Option<Output> {
    let profile = dir.join("profile.json");
    fs::write(&profile, NO_MOUNTS).unwrap();
    let profile = profile.to_str().unwrap();
    let binary = format!("{FUMEHOOD}:/fumehood");
    let outer = ["run", "--seccomp", profile, "-v", &binary, "--"];
    let output = |inner: &[&str]| fumehood(&[&outer, inner].concat());
    if !output(&["true"]).status.success() {
        eprintln!("skipped: this host confines nothing");
        return None;
    }
    Some(output(&["/fumehood", "run", "--", "echo", "it ran"]))
}

#[test]
fn g11_an_environment_that_denies_mounts_is_unsupported() {
    let dir = tempfile::tempdir().unwrap();
    let Some(output) = without_mounts(dir.path()) else { return };
    assert_eq!(output.status.code(), Some(99), "{output:?}");
    assert_eq!(output.stdout, b"", "nothing ran");
}

#[test]
fn g12_what_is_unsupported_comes_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let Some(output) = without_mounts(dir.path()) else { return };
    let said = stderr(&output);
    assert!(said.contains("filesystem") && said.contains("to fix it"), "{said}");
}

/// There is no switch to opt in by, because nothing has to be opted into: a run is confined or refused,
/// and giving every wall up takes every name.
#[test]
fn g15_nothing_runs_unconfined_without_being_asked_to() {
    let output = fumehood(&["run", "--backend", "unconfined", "--", "echo", "it ran"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(99), &b""[..]), "{output:?}");
    let some = ["run", "--backend", "unconfined", "--waive", "network", "--", "echo", "it ran"];
    let output = fumehood(&some);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(99), &b""[..]), "{output:?}");
    assert!(stderr(&output).contains("filesystem"), "{}", stderr(&output));
}

#[test]
fn g16_the_policy_is_json_with_limits_and_says_nothing_else() {
    let output = fumehood(&["policy", "--json"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let policy: Value = serde_json::from_slice(&output.stdout).unwrap();
    let limits = policy["limits"].as_object().unwrap();
    assert!(!limits.is_empty() && limits.values().all(|limit| !limit.is_null()), "{policy}");
}

#[test]
fn g17_an_export_names_its_archive_and_no_forbidden_file() {
    let dir = tempfile::tempdir().unwrap();
    let (source, archive) = (dir.path().join("project"), dir.path().join("project.zip"));
    for (name, text) in [
        ("gowdk.config.go", "package config"),
        ("src/page.gwdk", "page"),
        (".env.local", "SECRET=1"),
        ("secrets/key", "1"),
        ("bin/tool", "1"),
    ] {
        let path = source.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let archive = archive.to_str().unwrap();
    let output = fumehood(&["export", source.to_str().unwrap(), "-o", archive, "--json"]);
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["archive"], archive);
    let files = said["files"].as_array().unwrap();
    let names: Vec<_> = files.iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(names, ["gowdk.config.go", "src/page.gwdk"], "{said}");
}

#[test]
fn g18_help_is_there_and_names_the_commands() {
    let output = fumehood(&["--help"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in ["Usage", "run", "export", "policy"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}
