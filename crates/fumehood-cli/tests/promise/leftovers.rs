//! What `fumehood gc` takes away, and what it leaves.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::support::{
    Feed, Fumehood, Live, Promise, groups_of, needs_control_groups, promises, wait_until_gone,
    waiting_shell,
};

promises![what_a_killed_supervisor_left_is_found_and_removed, what_a_living_supervisor_has_stays,];

/// Every `gc` takes what anyone left: two of these at once would take each other's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[track_caller]
fn gc(flags: &[&str]) -> Vec<Value> {
    let output = Command::new(Fumehood::binary()).args(["gc", "--json"]).args(flags).output();
    let output = output.expect("the binary is there");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    found.as_array().expect("a list").clone()
}

/// What is said about one supervisor.
fn paths(found: &[Value], supervisor: u32) -> Vec<PathBuf> {
    let ours = found.iter().filter(|one| one["supervisor"] == supervisor);
    let path = |one: &Value| one["path"].as_str().expect("every one has a path").into();
    let mut paths: Vec<PathBuf> = ours.map(path).collect();
    paths.sort();
    paths
}

fn start() -> Live {
    let shell = waiting_shell();
    let program: Vec<_> = shell.iter().map(String::as_str).collect();
    let live = Fumehood::new(&["--timeout", "600s"], &program).feed(Feed::Held).spawn();
    live.confined();
    live
}

fn what_a_killed_supervisor_left_is_found_and_removed() -> Promise {
    needs_control_groups()?;
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut live = start();
    let (pid, word) = (live.pid(), live.word());
    let mut groups = groups_of(pid);
    groups.sort();
    assert!(!groups.is_empty(), "a run has a group");
    live.kill();
    drop(live);
    wait_until_gone(&word);
    assert_eq!(paths(&gc(&["--dry-run"]), pid), groups, "what would be removed");
    assert_eq!(groups_of(pid).len(), groups.len(), "nothing was removed yet");
    assert_eq!(paths(&gc(&[]), pid), groups, "what was removed");
    assert_eq!(groups_of(pid), <[PathBuf; 0]>::default());
    assert_eq!(paths(&gc(&[]), pid), <[PathBuf; 0]>::default(), "the second time");
    Ok(())
}

fn what_a_living_supervisor_has_stays() -> Promise {
    needs_control_groups()?;
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let live = start();
    let (pid, groups) = (live.pid(), groups_of(live.pid()));
    assert!(!groups.is_empty(), "a run has a group");
    assert_eq!(paths(&gc(&[]), pid), <[PathBuf; 0]>::default());
    assert_eq!(groups_of(pid), groups);
    assert_eq!(live.finish().prints(), "ready");
    Ok(())
}
