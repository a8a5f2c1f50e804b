//! Clocks, output, and what a program may use up.

use std::fs;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Feed, Fumehood, Probe, Promise, Skip, TempDir, flag, given_time, marker, needs_root, promises,
    run, run_reported, skip, slowness, wait_until_gone,
};

promises![
    output_before_a_time_limit_is_kept,
    a_time_limit_leaves_no_process,
    a_polite_program_may_end_in_its_grace,
    too_much_output_ends_the_run,
    too_much_output_can_be_truncated,
    the_streams_are_limited_apart,
    output_of_exactly_the_limit_is_whole,
    a_large_file_is_refused,
    scratch_is_limited,
    open_files_are_limited,
    no_core_is_dumped,
    a_crash_starts_no_program_of_the_host,
    a_crash_starts_none_whatever_the_program_did_first,
    a_memory_limit_is_enforced_or_refused,
    a_process_limit_is_enforced_or_refused,
    a_cpu_time_limit_is_enforced_or_refused,
    a_limit_of_cpu_time_is_told_before_it_kills,
    every_limit_has_a_finite_default,
    a_bare_number_is_no_limit,
];

fn output_before_a_time_limit_is_kept() -> Promise {
    let program = ["sh", "-c", "echo before; sleep 600"];
    let ran = given_time(
        |time| Ok(run(&["--timeout", &flag(time)], &program).exits(124)),
        |ran| ran.stdout_total > 0,
    )?;
    assert_eq!(ran.text(), "before");
    Ok(())
}

fn a_time_limit_leaves_no_process() -> Promise {
    let script = "trap '' TERM HUP; \
                  sh -c 'trap \"\" TERM HUP; echo ready; sleep 600; :' $0 & wait; wait";
    let stubborn = |time| {
        let word = marker();
        let ran = run(&["--timeout", &flag(time)], &["sh", "-c", script, &word]).exits(124);
        wait_until_gone(&word);
        Ok(ran)
    };
    assert_eq!(given_time(stubborn, |ran| ran.stdout_total > 0)?.text(), "ready");
    Ok(())
}

fn a_polite_program_may_end_in_its_grace() -> Promise {
    let script = "trap 'echo tidied up; exit 0' TERM; echo ready; while :; do sleep 0.02; done";
    let grace = format!("{}s", 20 * slowness());
    let polite = |time| {
        let flags = ["--timeout", &flag(time), "--grace", &grace];
        Ok(run_reported(&flags, &["sh", "-c", script]).exits(124))
    };
    let ran = given_time(polite, |ran| ran.stdout_total > 0)?;
    assert_eq!(ran.text(), "ready\ntidied up");
    assert_eq!(ran.outcome(), "timed-out", "that it ended politely does not undo the limit");
    Ok(())
}

fn too_much_output_ends_the_run() -> Promise {
    let flags = ["--output-limit", "1MiB"];
    for (stream, redirect) in [("stdout", ""), ("stderr", ">&2")] {
        let script = format!("exec cat /dev/zero {redirect}");
        let ran = run_reported(&flags, &["sh", "-c", &script]).exits(153);
        assert_eq!(ran.outcome(), "output-limit");
        assert_eq!(ran.report()["outcome"]["stream"], stream);
        assert!(ran.stdout_total <= 1 << 20, "{} bytes came through", ran.stdout_total);
        ran.complains(stream);
    }
    Ok(())
}

fn too_much_output_can_be_truncated() -> Promise {
    let flags = ["--output-limit", "1MiB", "--output-excess", "truncate"];
    let ran = run_reported(&flags, &["sh", "-c", "head -c 3000000 /dev/zero; exit 5"]).exits(5);
    assert_eq!(ran.stdout_total, 1 << 20);
    let report = &ran.report()["stdout"];
    assert_eq!((&report["total"], &report["truncated"]), (&3_000_000.into(), &true.into()));
    assert_eq!(ran.report()["stderr"]["truncated"], false);
    Ok(())
}

fn the_streams_are_limited_apart() -> Promise {
    let script = "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2";
    let ran = run(&["--output-limit", "1MiB"], &["sh", "-c", script]).exits(0);
    assert_eq!(ran.stdout_total, 1_000_000);
    Ok(())
}

fn output_of_exactly_the_limit_is_whole() -> Promise {
    let head = ["head", "-c", "1048576", "/dev/zero"];
    let ran = run_reported(&["--output-limit", "1MiB"], &head).exits(0);
    assert_eq!(ran.stdout_total, 1 << 20);
    assert_eq!(ran.report()["stdout"]["truncated"], false);
    Ok(())
}

fn a_large_file_is_refused() -> Promise {
    let script = "head -c 5000000 /dev/zero >/workspace/file";
    let ran = run_reported(&["--file-size", "1MiB"], &["sh", "-c", &format!("exec {script}")]);
    assert_ne!(ran.status.code(), Some(0), "{ran}");
    let direct = ["dd", "if=/dev/zero", "of=/workspace/file", "bs=1M", "count=5"];
    let ran = run_reported(&["--file-size", "1MiB"], &direct);
    assert_eq!(ran.outcome(), "disk-limit", "{ran}");
    Ok(())
}

fn scratch_is_limited() -> Promise {
    let sizes = ["--workspace-size", "24MiB", "--tmp-size", "24MiB"];
    for dir in ["/workspace", "/tmp", "/dev/shm"] {
        // Two files, so that no limit of one file could be what stops it.
        let script = format!(
            "head -c 20000000 /dev/zero >{dir}/a || echo too early; \
             head -c 20000000 /dev/zero >{dir}/b 2>/dev/null && echo too late; echo tried"
        );
        assert_eq!(run(&sizes, &["sh", "-c", &script]).prints(), "tried", "in {dir}");
        // Blocks, and how large they are.
        let size = run(&[], &["stat", "-f", "-c", "%b %S", dir]).prints();
        let numbers: Vec<u64> = size.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert_eq!(numbers.iter().product::<u64>(), 256 << 20, "{dir} by default: {size}");
    }
    Ok(())
}

fn open_files_are_limited() -> Promise {
    assert_eq!(run(&[], &["sh", "-c", "ulimit -Hn"]).prints(), "1024");
    Ok(())
}

fn no_core_is_dumped() -> Promise {
    assert_eq!(run(&[], &["sh", "-c", "ulimit -Hc"]).prints(), "0");
    Ok(())
}

/// A program of the host's that the kernel starts for each process that crashes, until this is dropped.
struct Handler {
    dir: TempDir,
    before: String,
    _alone: MutexGuard<'static, ()>,
}

impl Handler {
    const PATTERN: &str = "/proc/sys/kernel/core_pattern";

    /// One that notes down the name of the host and the process id.
    fn new() -> Result<Self, Skip> {
        use std::os::unix::fs::PermissionsExt;
        static ALONE: Mutex<()> = Mutex::new(());
        needs_root("lead crashes to a program")?;
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = TempDir::open_to_all();
        let notes = dir.file("notes", "");
        let script = format!("#!/bin/sh\necho \"$@\" >> {}\ncat > /dev/null\n", notes.display());
        let handler = dir.file("handler", &script);
        fs::set_permissions(&handler, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let before = fs::read_to_string(Self::PATTERN).expect("every kernel has one");
        let pattern = format!("|{} %h %P", handler.display());
        if let Err(error) = fs::write(Self::PATTERN, pattern) {
            return skip(format!("{}: {error}", Self::PATTERN));
        }
        Ok(Self { dir, before, _alone: alone })
    }

    /// What was noted down of crashes, once it has heard of one outside.
    fn notes(&self) -> String {
        let mut crash = Command::new("/bin/sh");
        let crash = crash.args(["-c", "ulimit -c 0; kill -SEGV $$"]).spawn();
        let mut crash = crash.expect("every host has a shell");
        let ending = format!(" {}\n", crash.id());
        crash.wait().expect("it is ours");
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let notes = fs::read_to_string(self.dir.join("notes")).expect("it is ours");
            if notes.contains(&ending) {
                return notes;
            }
            assert!(Instant::now() < end, "the host's own crash is not noted down: {notes:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        drop(fs::write(Self::PATTERN, &self.before));
    }
}

/// No signal ends process 1 of a namespace, which a program is in some sandboxes: so it starts what crashes.
#[track_caller]
fn crashes_unnoticed(handler: &Handler, before: &str) {
    let host = marker();
    let script = format!("{before} sh -c 'kill -SEGV $$'; exit $?");
    run(&["--hostname", &host], &["sh", "-c", &script]).exits(139);
    let notes = handler.notes();
    assert!(!notes.contains(&host), "the host's program heard of it: {notes}");
}

fn a_crash_starts_no_program_of_the_host() -> Promise {
    crashes_unnoticed(&Handler::new()?, "");
    Ok(())
}

fn a_crash_starts_none_whatever_the_program_did_first() -> Promise {
    crashes_unnoticed(&Handler::new()?, "ulimit -c 0 &&");
    Ok(())
}

/// 99 is right where the host has no control group for it: never a limit that does not hold.
fn a_memory_limit_is_enforced_or_refused() -> Promise {
    let probe = Probe::get()?;
    let ran = probe.confined(&["--memory", "64MiB"], &["eat", "256"]).reported().run();
    match ran.status.code() {
        Some(137) => assert_eq!(ran.outcome(), "out-of-memory"),
        Some(99) => drop(ran.complains("memory")),
        _ => panic!("neither enforced nor refused\n{ran}"),
    }
    Ok(())
}

fn a_process_limit_is_enforced_or_refused() -> Promise {
    let probe = Probe::get()?;
    let ran = probe.confined(&["--pids-limit", "8"], &["breed", "100"]).run();
    if ran.status.code() == Some(99) {
        ran.complains("pids");
        return Ok(());
    }
    let text = ran.prints();
    let bred: u32 = text.trim_start_matches("bred ").parse().unwrap_or(u32::MAX);
    assert!(bred < 8, "{bred} children with a limit of 8");
    Ok(())
}

fn a_cpu_time_limit_is_enforced_or_refused() -> Promise {
    let script = "while :; do :; done & while :; do :; done";
    let flags = ["--cpu-time", "1s", "--timeout", &format!("{}s", 50 * slowness())];
    let ran = run_reported(&flags, &["sh", "-c", script]);
    match ran.status.code() {
        Some(124) => assert_eq!(ran.report()["outcome"]["limit"], "cpu"),
        Some(99) => drop(ran.complains("cpu-time")),
        _ => panic!("neither enforced nor refused\n{ran}"),
    }
    Ok(())
}

/// By `SIGXCPU`, at the soft limit: `SIGKILL`, at the hard one, would say nothing, and whether a supervisor
/// comes before it is a matter of who else runs.
fn a_limit_of_cpu_time_is_told_before_it_kills() -> Promise {
    let flags = ["--cpu-time", "7s", "--waive", "cpu-time"];
    let text = run(&flags, &["sh", "-c", "ulimit -S -t; ulimit -H -t"]).prints();
    let limits = text.lines().map(|line| line.parse().unwrap_or(u64::MAX));
    match limits.collect::<Vec<_>>()[..] {
        // Where no process has one by itself, nobody but the supervisor ends it.
        [u64::MAX, u64::MAX] => {}
        [soft, hard] => assert!(soft < hard, "{text}"),
        _ => panic!("no two limits: {text}"),
    }
    Ok(())
}

/// The defaults hold without a flag: what is not spelled out may be held by something weaker,
/// and the report then says so.
fn every_limit_has_a_finite_default() -> Promise {
    let ran = run_reported(&[], &["true"]).exits(0);
    for guarantee in ["wall-time", "output", "disk"] {
        assert_eq!(ran.standing(guarantee), "held", "{guarantee}");
    }
    for guarantee in ["memory", "pids", "cpu-time"] {
        let standing = &ran.report()["confinement"]["guarantees"][guarantee];
        let reason = standing["reason"].as_str().unwrap_or_default();
        assert!(ran.standing(guarantee) == "held" || !reason.is_empty(), "{standing}");
    }
    let script = "head -c 20000000 /dev/zero";
    Fumehood::new(&[], &["sh", "-c", script]).feed(Feed::Null).run().exits(153);
    Ok(())
}

fn a_bare_number_is_no_limit() -> Promise {
    for (flag, value) in [("--timeout", "1"), ("--memory", "100"), ("--output-limit", "5")] {
        let ran = run(&[flag, value], &["true"]).exits(125);
        ran.complains(flag).complains(value);
    }
    Ok(())
}
