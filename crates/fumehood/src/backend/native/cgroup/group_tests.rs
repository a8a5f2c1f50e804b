//! Limits, figures and killing, with real groups and real processes.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};

use super::find::Parent;
use super::group::kill_member;
use super::testing::{
    MIB, PATIENCE, Shell, dirs_of, eventually, hierarchy_or_skip, is_empty, limits, only_freezer,
    version,
};
use super::{Entry, Group, GroupLimits, Hierarchy, Resource, Version, v2};

#[test]
fn a_dropped_group_leaves_no_directory() {
    let hierarchy = hierarchy_or_skip!("a_dropped_group_leaves_no_directory", Memory, Pids);
    let group = Group::create(hierarchy, &limits(Some(64 * MIB), Some(8))).unwrap();
    let dirs = dirs_of(&group);
    assert!(!dirs.is_empty());
    assert!(dirs.iter().all(|dir| dir.is_dir()), "{dirs:?}");
    drop(group);
    assert!(dirs.iter().all(|dir| !dir.exists()), "{dirs:?}");
}

#[test]
fn a_limit_that_cannot_be_written_leaves_no_directory() {
    let hierarchy =
        hierarchy_or_skip!("a_limit_that_cannot_be_written_leaves_no_directory", Memory, Cpus);
    let name = hierarchy.owner().name();
    let too_little = GroupLimits { cpus_milli: Some(0), ..limits(Some(64 * MIB), None) };
    let error = Group::create_named(hierarchy.parent(), name.clone(), &too_little).unwrap_err();
    assert!(error.to_string().contains("cpu"), "{error}");
    assert_eq!(find_dirs(&name), Vec::<PathBuf>::new());
}

fn find_dirs(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name() == name {
                    found.push(entry.path());
                }
                todo.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn memory_is_peaked_and_its_limit_kills() {
    let hierarchy = hierarchy_or_skip!("memory_is_peaked_and_its_limit_kills", Memory);
    let group = Group::create(hierarchy, &limits(Some(64 * MIB), None)).unwrap();
    let status =
        Shell::inside(&group, "dd if=/dev/zero of=/dev/null bs=32M count=1 || exit 9").ends();
    assert_eq!(status.code(), Some(0));
    let peak = group.memory_peak().unwrap().unwrap();
    assert!((32 * MIB..40 * MIB).contains(&peak.value), "{peak:?}");
    assert_eq!(group.oom().unwrap().kills, 0);

    let status = Shell::inside(&group, "dd if=/dev/zero of=/dev/null bs=96M count=1").ends();
    assert!(!status.success());
    let oom = group.oom().unwrap();
    assert!(oom.kills > 0 && oom.at_limit, "{oom:?}");
    assert!(group.memory_peak().unwrap().unwrap().value <= 64 * MIB);
}

/// Each process stays far below the limit, and blocks once it has its memory.
#[test]
fn memory_of_many_processes_is_summed() {
    let hierarchy = hierarchy_or_skip!("memory_of_many_processes_is_summed", Memory);
    let group = Group::create(hierarchy, &limits(Some(48 * MIB), None)).unwrap();
    let eaters = "for i in 1 2 3 4 5 6; do dd if=/dev/zero bs=12M count=1 | sleep 60 & done; wait";
    let shell = Shell::inside(&group, eaters);
    eventually("the kernel kills for memory", || group.oom().unwrap().kills > 0);
    group.kill(PATIENCE).unwrap();
    assert!(!shell.ends().success());
}

#[test]
fn processes_are_counted_and_refused_at_the_limit() {
    let hierarchy = hierarchy_or_skip!("processes_are_counted_and_refused_at_the_limit", Pids);
    let group = Group::create(hierarchy, &limits(None, Some(6))).unwrap();
    assert_eq!(group.pids_denied().unwrap(), 0);
    let shell = Shell::inside(&group, "for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; wait");
    eventually("a fork is refused", || group.pids_denied().unwrap() > 0);
    if let Some(peak) = group.pids_peak().unwrap() {
        assert_eq!(peak.value, 6);
    }
    group.kill(PATIENCE).unwrap();
    assert!(!shell.ends().success());
}

/// Version 1 kills by refusing processes first: that is not the program's doing.
#[test]
fn refusals_by_a_kill_do_not_count() {
    let hierarchy = hierarchy_or_skip!("refusals_by_a_kill_do_not_count", Pids);
    let group = Group::create(hierarchy, &limits(None, Some(8))).unwrap();
    let shell = Shell::inside(&group, "sleep 60");
    group.kill(PATIENCE).unwrap();
    assert!(!shell.ends().success());
    let late = Shell::inside(&group, "(:) || exit 3; exit 4").ends();
    let is_refused = late.code() != Some(4);
    assert_eq!(is_refused, version(hierarchy) == Version::V1, "{late:?}");
    assert_eq!(group.pids_denied().unwrap(), 0);
}

#[test]
fn a_fork_bomb_is_killed_whole() {
    let hierarchy = hierarchy_or_skip!("a_fork_bomb_is_killed_whole", Pids);
    let mut group = Group::create(hierarchy, &limits(None, Some(64))).unwrap();
    let shell = Shell::inside(&group, "b() { b & b & wait; }; b");
    eventually("the bomb is at its limit", || group.pids_denied().unwrap() > 20);
    group.kill(PATIENCE).unwrap();
    assert!(is_empty(&group));
    assert!(!shell.ends().success());
    group.destroy(PATIENCE).unwrap();
    group.destroy(PATIENCE).unwrap();
}

#[test]
fn cpu_time_of_ended_children_counts() {
    let hierarchy = hierarchy_or_skip!("cpu_time_of_ended_children_counts", CpuTime);
    let group = Group::create(hierarchy, &limits(None, None)).unwrap();
    let spin = "spin() { i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; }";
    let status = Shell::inside(&group, &format!("{spin}; spin & spin & wait; wait")).ends();
    assert!(status.success());
    let usage = group.cpu_usage().unwrap().unwrap();
    let total = group.cpu_total_us().unwrap().unwrap();
    assert!(usage.total_us() > 10_000, "{usage:?}");
    assert!(usage.user_us > 0);
    assert!(usage.total_us().abs_diff(total) <= total / 10 + 1000, "{usage:?} {total}");
}

#[test]
fn a_share_of_a_cpu_throttles() {
    let hierarchy = hierarchy_or_skip!("a_share_of_a_cpu_throttles", Cpus);
    let tenth = GroupLimits { cpus_milli: Some(100), ..limits(None, None) };
    let group = Group::create(hierarchy, &tenth).unwrap();
    let shell = Shell::inside(&group, "while :; do :; done");
    let throttled = || {
        let stat = |dir: &PathBuf| fs::read_to_string(dir.join("cpu.stat")).unwrap_or_default();
        let count = |text: String| super::dir::keyed(&text, "nr_throttled").unwrap_or(0);
        dirs_of(&group).iter().map(|dir| count(stat(dir))).sum::<u64>()
    };
    eventually("the group is throttled", || throttled() >= 2);
    group.kill(PATIENCE).unwrap();
    assert!(!shell.ends().success());
}

/// Version 1: as the child side does it, by writing `0` to files that the parent opened.
#[test]
fn a_process_joins_through_inherited_files() {
    let hierarchy = hierarchy_or_skip!("a_process_joins_through_inherited_files", Memory, Pids);
    let group = Group::create(hierarchy, &limits(Some(64 * MIB), Some(8))).unwrap();
    let Entry::Join(files) = group.entry().unwrap() else {
        assert_eq!(version(hierarchy), Version::V2);
        return;
    };
    let join = "for fd in 0 1 2; do echo 0 >&$fd; done; exec sleep 60";
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", join]);
    let (names, mut files): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    assert_eq!(files.len(), 3, "memory, pids, cpuacct: {names:?}");
    assert_eq!(names, hierarchy.joined(&limits(Some(64 * MIB), Some(8))));
    shell.stdin(files.remove(0)).stdout(files.remove(0)).stderr(files.remove(0));
    let mut child = shell.spawn().unwrap();
    eventually("it is inside", || group.contains(Pid::from_child(&child)).unwrap());
    group.kill(PATIENCE).unwrap();
    assert!(!child.wait().unwrap().success());
}

#[test]
fn we_are_in_no_group_of_ours() {
    let hierarchy = hierarchy_or_skip!("we_are_in_no_group_of_ours", Pids);
    let group = Group::create(hierarchy, &limits(None, Some(8))).unwrap();
    assert!(!group.contains(rustix::process::getpid()).unwrap());
    assert!(is_empty(&group));
}

#[test]
fn a_group_that_is_in_use_is_not_recycled() {
    let hierarchy = hierarchy_or_skip!("a_group_that_is_in_use_is_not_recycled", Memory, CpuTime);
    let mut group = Group::create(hierarchy, &limits(Some(64 * MIB), Some(8))).unwrap();
    let shell = Shell::inside(&group, "sleep 60");
    let refused = group.reset(&limits(None, None)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
    group.destroy(PATIENCE).unwrap();
    assert!(!shell.ends().success());
}

#[test]
fn a_recycled_group_starts_at_zero() {
    let hierarchy = hierarchy_or_skip!("a_recycled_group_starts_at_zero", Memory, CpuTime);
    let mut group = Group::create(hierarchy, &limits(Some(64 * MIB), Some(8))).unwrap();
    let shell = Shell::inside(&group, "dd if=/dev/zero of=/dev/null bs=96M count=1; sleep 60");
    eventually("the kernel kills for memory", || group.oom().unwrap().kills > 0);
    group.kill(PATIENCE).unwrap();
    assert!(!shell.ends().success());
    match group.reset(&limits(Some(32 * MIB), Some(4))) {
        Ok(()) => {}
        Err(error) => {
            assert_eq!(version(hierarchy), Version::V2, "{error}");
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
            return;
        }
    }
    assert_eq!(group.oom().unwrap().kills, 0);
    assert!(group.memory_peak().unwrap().unwrap().value < MIB);
    assert!(group.cpu_total_us().unwrap().unwrap() < 1000);
    let status = Shell::inside(&group, "dd if=/dev/zero of=/dev/null bs=48M count=1").ends();
    assert!(!status.success(), "the new limit holds");
    assert!(group.oom().unwrap().kills > 0);
}

/// Without `pids.max`, members are kept from forking by freezing them.
#[test]
fn a_frozen_group_is_killed_and_thawed() {
    let hierarchy = hierarchy_or_skip!("a_frozen_group_is_killed_and_thawed", CpuTime);
    let Some(parent) = only_freezer(hierarchy) else {
        return assert_eq!(version(hierarchy), Version::V2, "nothing to freeze there");
    };
    let name = hierarchy.owner().name();
    let mut group = Group::create_named(&parent, name, &GroupLimits::default()).unwrap();
    let shell = Shell::inside(&group, "while :; do sleep 60 & sleep 0.01; done");
    group.destroy(PATIENCE).unwrap();
    assert!(!shell.ends().success());
}

/// As on kernels before 5.14.
#[test]
fn members_are_killed_one_by_one_without_cgroup_kill() {
    let hierarchy =
        hierarchy_or_skip!("members_are_killed_one_by_one_without_cgroup_kill", Pids, Memory);
    let Parent::V2(parent) = hierarchy.parent() else {
        return assert_eq!(version(hierarchy), Version::V1, "always one by one there");
    };
    let name = hierarchy.owner().name();
    let group = Group::create_named(hierarchy.parent(), name.clone(), &limits(None, Some(64)));
    let mut group = group.unwrap();
    let shell = Shell::inside(&group, "b() { b & b & wait; }; b");
    eventually("the bomb is at its limit", || group.pids_denied().unwrap() > 20);
    let again = v2::Leaf::over(Arc::clone(parent), &name).unwrap();
    eventually("all are dead", || {
        again.kill_each().unwrap();
        is_empty(&group)
    });
    assert!(!shell.ends().success());
    group.destroy(PATIENCE).unwrap();
}

/// Its id lives on as that of its process group.
#[test]
fn a_process_that_is_reaped_needs_no_kill() {
    let mut shell =
        Command::new("sh").args(["-c", "sleep 60 & exit 0"]).process_group(0).spawn().unwrap();
    let pid = Pid::from_child(&shell);
    assert!(shell.wait().unwrap().success());
    kill_member(pid, |_| unreachable!("it is in no group")).unwrap();
    kill_process_group(pid, Signal::KILL).unwrap();
}

#[test]
fn many_groups_at_once_leave_nothing() {
    let hierarchy = hierarchy_or_skip!("many_groups_at_once_leave_nothing", Memory, Pids);
    let live = || {
        let group = Group::create(hierarchy, &limits(Some(64 * MIB), Some(8))).unwrap();
        let shell = Shell::inside(&group, "sleep 60 & sleep 60");
        let dirs = dirs_of(&group);
        drop(group);
        assert!(!shell.ends().success());
        dirs
    };
    let ten = || (0..10).flat_map(|_| live()).collect::<Vec<_>>();
    let dirs = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ten)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(dirs.len() >= 40);
    // On a slow machine a dropped group is left to the next sweep.
    eventually("all groups are gone", || {
        super::remains::sweep();
        !dirs.iter().any(|dir| dir.exists())
    });
}

/// Prints what each step of a group's life costs; asserts only that it was measured.
#[test]
#[ignore = "a measurement, not a test"]
fn cost_of_a_life_cycle() {
    let hierarchy = hierarchy_or_skip!("cost_of_a_life_cycle", Memory, Pids, Cpus);
    let whole = GroupLimits { cpus_milli: Some(500), ..limits(Some(64 * MIB), Some(8)) };
    let start = Instant::now();
    Hierarchy::find(None).unwrap();
    eprintln!("find {} µs", start.elapsed().as_micros());
    measure("memory, pids, cpus, accounting", hierarchy, &whole);
    measure("memory, pids, accounting", hierarchy, &GroupLimits { cpus_milli: None, ..whole });
    let bare = GroupLimits { cpus_milli: None, account: false, ..whole };
    measure("memory, pids", hierarchy, &bare);
    measure("pids", hierarchy, &GroupLimits { memory: None, ..bare });
}

const STEPS: [&str; 5] = ["create", "entry", "read", "reset", "destroy"];

fn measure(what: &str, hierarchy: &Hierarchy, limits: &GroupLimits) {
    let rounds: Vec<_> = (0..500).map(|_| round(hierarchy, limits)).collect();
    eprintln!("{what}, version {:?}:", version(hierarchy));
    for (step, name) in STEPS.iter().enumerate() {
        let mut times: Vec<_> = rounds.iter().map(|round| round[step]).collect();
        times.sort_unstable();
        let at = |percent: usize| times[times.len() * percent / 100];
        eprintln!("  {name:8} min {:4} median {:4} p95 {:4} µs", at(0), at(50), at(95));
    }
}

fn round(hierarchy: &Hierarchy, limits: &GroupLimits) -> [u128; STEPS.len()] {
    let mut lap = Lap(Instant::now());
    let mut group = Group::create(hierarchy, limits).unwrap();
    let create = lap.us();
    drop(group.entry().unwrap());
    let entry = lap.us();
    group.memory_peak().unwrap();
    group.oom().unwrap();
    group.cpu_usage().unwrap();
    group.pids_denied().unwrap();
    group.pids_peak().unwrap();
    let read = lap.us();
    let reset = if group.reset(limits).is_ok() { lap.us() } else { 0 };
    lap.us();
    group.destroy(PATIENCE).unwrap();
    [create, entry, read, reset, lap.us()]
}

struct Lap(Instant);

impl Lap {
    fn us(&mut self) -> u128 {
        let now = Instant::now();
        let past = now - std::mem::replace(&mut self.0, now);
        past.as_micros()
    }
}
