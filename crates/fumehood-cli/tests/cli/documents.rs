//! What is printed about jobs and about the command line itself.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{assert_ended, fumehood, text};

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
