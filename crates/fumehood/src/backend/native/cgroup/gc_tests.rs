//! What is removed of whom, with real groups and real supervisors.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::testing::{Shell, dirs_of, hierarchy_or_skip, limits, only_freezer, version};
use super::{Group, GroupLimits, Owner, Resource, Version, gc};

/// Every `gc` takes what any dead owner left: two of these tests at once would take each other's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn gc_removes_what_the_dead_left_and_nothing_else() {
    let hierarchy = hierarchy_or_skip!("gc_removes_what_the_dead_left_and_nothing_else", Pids);
    let _turn = ONE_AT_A_TIME.lock().unwrap();
    let make = |owner: Owner| {
        let limits = limits(None, Some(8));
        Group::create_named(hierarchy.parent(), owner.name(), &limits).unwrap()
    };
    let (dead, living) = (make(Owner::before_us()), make(Owner::current().unwrap()));
    let elsewhere = make(Owner::elsewhere());
    let (dead_dirs, kept) = (dirs_of(&dead), [dirs_of(&living), dirs_of(&elsewhere)].concat());
    let orphan = Shell::inside(&dead, "sleep 60");

    let removed = gc().unwrap();
    let ours: Vec<_> = removed.iter().filter(|one| dead_dirs.contains(&one.path)).collect();
    assert_eq!(ours.len(), dead_dirs.len(), "{removed:?}");
    assert!(ours.iter().all(|one| one.failure.is_none()), "{removed:?}");
    assert!(ours.iter().any(|one| one.killed > 0), "{removed:?}");
    assert!(dead_dirs.iter().all(|dir| !dir.exists()));
    assert!(kept.iter().all(|dir| dir.is_dir()), "{kept:?}");
    assert!(!orphan.ends().success());
}

/// Not a test but the supervisor of the next one: makes a group with a process in it, prints the
/// directories and waits to be killed.
#[test]
#[ignore = "started by the test of a killed supervisor"]
fn a_supervisor_to_be_killed() {
    let hierarchy = hierarchy_or_skip!("a_supervisor_to_be_killed", Pids);
    let group = Group::create(hierarchy, &limits(None, Some(8))).unwrap();
    let _orphan = Shell::inside(&group, "exec sleep 60");
    for dir in dirs_of(&group) {
        println!("dir {}", dir.display());
    }
    println!("end");
    std::thread::sleep(Duration::from_secs(60));
    panic!("nobody killed this supervisor");
}

/// A supervisor that died between freezing and thawing, on a machine with version 1.
#[test]
fn gc_thaws_what_was_left_frozen() {
    let hierarchy = hierarchy_or_skip!("gc_thaws_what_was_left_frozen", CpuTime);
    let _turn = ONE_AT_A_TIME.lock().unwrap();
    let Some(parent) = only_freezer(hierarchy) else {
        return assert_eq!(version(hierarchy), Version::V2, "nothing to freeze there");
    };
    let (name, nothing) = (Owner::before_us().name(), GroupLimits::default());
    let group = Group::create_named(&parent, name, &nothing).unwrap();
    let shell = Shell::inside(&group, "while :; do :; done");
    let dir = dirs_of(&group).remove(0);
    fs::write(dir.join("freezer.state"), "FROZEN").unwrap();
    let removed = gc().unwrap();
    let ours = removed.iter().find(|one| one.path == dir).unwrap();
    assert!(ours.failure.is_none(), "{ours:?}");
    assert!(!dir.exists());
    assert!(!shell.ends().success());
}

#[test]
fn gc_removes_what_a_killed_supervisor_left() {
    let _ = hierarchy_or_skip!("gc_removes_what_a_killed_supervisor_left", Pids);
    let _turn = ONE_AT_A_TIME.lock().unwrap();
    let module = module_path!().split_once("::").expect("a module of the crate").1;
    let test = format!("{module}::a_supervisor_to_be_killed");
    let mut supervisor = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--exact", &test])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(supervisor.stdout.take().unwrap()).lines().map(Result::unwrap);
    let lines: Vec<_> = lines.take_while(|line| line != "end").collect();
    let dirs: Vec<_> =
        lines.iter().filter_map(|line| line.strip_prefix("dir ")).map(PathBuf::from).collect();
    assert!(!dirs.is_empty(), "{lines:?}");

    gc().unwrap();
    assert!(dirs.iter().all(|dir| dir.is_dir()), "its supervisor lives");
    supervisor.kill().unwrap();
    // It is a zombie now, and that is dead: what reaps it may come late or never.
    super::testing::eventually("gc removes it", || {
        gc().unwrap();
        dirs.iter().all(|dir| !dir.exists())
    });
    supervisor.wait().unwrap();
}
