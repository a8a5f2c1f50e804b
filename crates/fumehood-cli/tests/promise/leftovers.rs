//! What is left when a run is over or its machine crashes, and what `fumehood gc` takes away.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::support::{
    Feed, Fumehood, Live, Process, Promise, TempDir, Traces, groups_of, names,
    needs_control_groups, needs_root, promises, require_tools, wait_until_gone, waiting_shell,
};

promises![
    a_killed_supervisor_leaves_no_control_group,
    what_a_killed_supervisor_left_is_found_and_removed,
    what_a_living_supervisor_has_stays,
    a_run_needs_no_file_system_that_it_could_write_to,
    a_crash_in_the_middle_leaves_no_file,
];

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

fn a_killed_supervisor_leaves_no_control_group() -> Promise {
    needs_control_groups()?;
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut live = start();
    let (pid, word) = (live.pid(), live.word());
    assert!(!groups_of(pid).is_empty(), "a run has a group");
    live.kill();
    drop(live);
    wait_until_gone(&word);
    assert_eq!(groups_of(pid), <[PathBuf; 0]>::default());
    Ok(())
}

/// Whoever kills everything kills the janitor, too.
fn what_a_killed_supervisor_left_is_found_and_removed() -> Promise {
    needs_control_groups()?;
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut live = start();
    let (pid, word) = (live.pid(), live.word());
    let mut groups = groups_of(pid);
    groups.sort();
    assert!(!groups.is_empty(), "a run has a group");
    Process::janitor_of(pid).expect("a run with groups has a janitor").kill();
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
    let (pid, word, groups) = (live.pid(), live.word(), groups_of(live.pid()));
    assert!(!groups.is_empty(), "a run has a group");
    assert_eq!(paths(&gc(&[]), pid), <[PathBuf; 0]>::default());
    assert_eq!(groups_of(pid), groups);
    assert_eq!(live.finish().prints(), "ready");
    // The janitor, too, and with it the mounts that it was left.
    wait_until_gone(&word);
    Ok(())
}

/// Makes everything that is mounted read-only, but for control groups and `/proc`, and then runs its
/// arguments. Devices can be written to all the same.
const READ_ONLY: &str = r#"
    while read -r id parent device root point rest; do
        case "$rest" in
            *" - cgroup"* | *" - proc "*) ;;
            *) mount -o remount,bind,ro "$point" || exit 70 ;;
        esac
    done < /proc/self/mountinfo
    touch "$TMPDIR/file" 2> /dev/null && exit 71
    exec "$@"
"#;

/// What is never written to a disk cannot be left on one.
fn a_run_needs_no_file_system_that_it_could_write_to() -> Promise {
    needs_root("make file systems read-only")?;
    require_tools(&["unshare", "mount"])?;
    let scratch = TempDir::open_to_all();
    let read_only = |flags: &[&str]| {
        Fumehood::new(flags, &["sh", "-c", "echo x >/workspace/a; echo x >/tmp/a; cat /tmp/a"])
            .under(&["unshare", "-m", "sh", "-c", READ_ONLY, "sh"])
            .env("TMPDIR", &scratch.path().display().to_string())
    };
    assert_eq!(read_only(&[]).run().prints(), "x");
    // It is as it should be: there is no place for the one file that is asked for.
    read_only(&[]).reported().run().exits(125).complains("read-only file system");
    Ok(())
}

/// What is killed in the middle, and all that it runs with it, leaves as much as a power cut would
/// leave on a disk.
fn a_crash_in_the_middle_leaves_no_file() -> Promise {
    let (scratch, before) = (TempDir::open_to_all(), Traces::now());
    let path = scratch.path().display().to_string();
    let report = scratch.join("report.json").display().to_string();
    let shell = waiting_shell();
    let program: Vec<_> = shell.iter().map(String::as_str).collect();
    let places = ["TMPDIR", "HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_STATE_HOME"];
    let run = Fumehood::new(&["--timeout", "600s", "--report", &report], &program);
    let run = places.iter().fold(run, |run, place| run.env(place, &path));
    let mut live = run.cwd(scratch.path()).feed(Feed::Held).spawn();
    let word = live.word();
    live.confined();
    assert_eq!(names(&path), <[String; 0]>::default(), "while it runs");
    live.kill();
    drop(live);
    wait_until_gone(&word);
    assert_eq!(names(&path), <[String; 0]>::default(), "afterwards");
    before.are_all();
    Ok(())
}
