//! What a whole tree of processes may use up, by every bomb that is known to hurt.
//!
//! Each ends in time, with the outcome and exit status that the documentation names, and leaves
//! nothing behind.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Fumehood, Probe, Promise, Ran, Skip, TempDir, backend_name, flag, given_time, groups_of,
    marker, mounts, names, needs_control_groups, promises, run_reported, skip, slowness,
    wait_until_gone,
};

promises![
    one_process_cannot_take_more_memory,
    many_small_processes_cannot_take_more_memory_together,
    files_in_memory_count_as_memory,
    a_mapped_file_counts_as_memory,
    what_waits_in_sockets_counts_as_memory,
    a_kill_for_memory_ends_the_run,
    full_scratch_space_is_the_program_s_own_error,
    a_fork_bomb_is_held_until_its_time_is_up,
    a_failure_for_lack_of_processes_is_named,
    threads_count_as_processes,
    zombies_count_as_processes,
    cpu_time_of_twenty_processes_is_one_sum,
    cpu_time_is_not_wall_time,
    a_sparse_file_beyond_the_limit_is_stopped,
    a_dense_file_beyond_the_limit_is_stopped,
    a_million_files_run_out_of_inodes,
    nothing_but_the_scratch_can_be_filled,
    descriptors_run_out_at_their_limit,
    ignoring_every_signal_does_not_help,
    taking_the_time_of_process_1_does_not_help,
    a_gibibyte_of_output_is_stopped,
    exactly_the_output_limit_is_no_excess,
    one_byte_more_is_an_excess,
    peak_memory_is_what_was_touched,
    usage_names_its_sources,
    sources_differ_as_documented,
    a_share_of_the_cpus_holds,
    what_cannot_be_limited_is_refused_with_the_fix,
    what_is_waived_has_its_stand_in_named,
    explaining_and_checking_leave_no_group,
];

/// Runs one to its end, and holds that nothing is left of it.
#[track_caller]
fn bomb(flags: &[&str], args: &[&str]) -> Result<Ran, Skip> {
    let (probe, scratch, word) = (Probe::get()?, TempDir::open_to_all(), marker());
    let before = mounts();
    let scratch = scratch.path().display().to_string();
    let ran =
        probe.bomb(flags, &[args, &[&word]].concat()).env("TMPDIR", &scratch).reported().run();
    wait_until_gone(&word);
    assert_eq!(groups_of(ran.pid), <[PathBuf; 0]>::default(), "groups are left\n{ran}");
    assert_eq!(names(&scratch), <[String; 0]>::default(), "files are left\n{ran}");
    assert_eq!(mounts(), before);
    Ok(ran)
}

#[track_caller]
fn is_out_of_memory(ran: Ran) {
    assert_eq!(ran.outcome(), "out-of-memory", "{ran}");
    ran.exits(137).complains_in_one_line(&["memory limit"]);
}

fn figure(ran: &Ran, name: &str) -> u64 {
    ran.report()["usage"][name]["value"].as_u64().unwrap_or_else(|| panic!("no {name}\n{ran}"))
}

fn cpu_us(ran: &Ran) -> u64 {
    figure(ran, "user_us") + figure(ran, "system_us")
}

fn one_process_cannot_take_more_memory() -> Promise {
    needs_control_groups()?;
    is_out_of_memory(bomb(&["--memory", "64MiB"], &["eat", "200"])?);
    Ok(())
}

fn many_small_processes_cannot_take_more_memory_together() -> Promise {
    needs_control_groups()?;
    let ran = bomb(&["--memory", "64MiB"], &["brood", "20", "8"])?;
    assert!(figure(&ran, "peak_memory") <= 64 << 20, "{ran}");
    is_out_of_memory(ran);
    Ok(())
}

fn files_in_memory_count_as_memory() -> Promise {
    needs_control_groups()?;
    for dir in ["/workspace", "/tmp", "/dev/shm"] {
        is_out_of_memory(bomb(&["--memory", "64MiB"], &["fill", &format!("{dir}/file"), "200"])?);
    }
    Ok(())
}

fn a_mapped_file_counts_as_memory() -> Promise {
    needs_control_groups()?;
    is_out_of_memory(bomb(&["--memory", "64MiB"], &["map-file", "/workspace/file", "200"])?);
    Ok(())
}

/// Where it is an account of its own the kernel keeps senders waiting, and each socket has some of its own.
fn what_waits_in_sockets_counts_as_memory() -> Promise {
    needs_control_groups()?;
    let ran = bomb(&["--memory", "64MiB"], &["sockets", "512"])?;
    if ran.outcome() == "out-of-memory" {
        return Ok(());
    }
    let mebibytes: u64 = ran.exits(0).text().parse().expect("it counts");
    assert!(mebibytes < 128, "{mebibytes} MiB wait");
    Ok(())
}

/// Whether the program would have coped with the loss of a child does not depend on the version of
/// control groups, nor on luck: the rest is killed, too.
fn a_kill_for_memory_ends_the_run() -> Promise {
    needs_control_groups()?;
    let (probe, word) = (Probe::get()?, marker());
    let volume = format!("{}:/probe", probe.dir().display());
    let script = "/probe/bombs eat 200; sleep 600; exit 0";
    let flags = ["--volume", &volume, "--memory", "64MiB"];
    let ran = run_reported(&flags, &["sh", "-c", script, &word]);
    assert_eq!(ran.outcome(), "out-of-memory", "had it gone on, its time had run out\n{ran}");
    ran.exits(137);
    wait_until_gone(&word);
    Ok(())
}

fn full_scratch_space_is_the_program_s_own_error() -> Promise {
    let ran = bomb(&["--workspace-size", "16MiB"], &["fill", "/workspace/file", "64"])?;
    assert_eq!(ran.text(), "16 errno 28", "ENOSPC");
    ran.exits(3);
    Ok(())
}

fn a_fork_bomb_is_held_until_its_time_is_up() -> Promise {
    let counted = needs_control_groups().is_ok();
    let held = |time| {
        let ran = bomb(&["--timeout", &flag(time), "--pids-limit", "32"], &["fork-bomb"])?;
        if ran.status.code() == Some(99) { skip(ran.stderr) } else { Ok(ran) }
    };
    // The init is counted, too. The kernel notes a peak without a lock, and two processors may
    // overwrite each other's.
    let ran = given_time(held, |ran| !counted || figure(ran, "peak_pids") >= 32)?;
    assert_eq!(ran.outcome(), "timed-out", "{ran}");
    assert!(!counted || (32..=33).contains(&figure(&ran, "peak_pids")), "{ran}");
    ran.exits(124);
    Ok(())
}

/// With the proof of the group's own counter: elsewhere it is a program that failed.
fn a_failure_for_lack_of_processes_is_named() -> Promise {
    needs_control_groups()?;
    let ran = bomb(&["--pids-limit", "16"], &["zombies"])?;
    assert_eq!(ran.outcome(), "pids-limit", "{ran}");
    ran.exits(137).complains_in_one_line(&["limit of processes"]);
    Ok(())
}

fn threads_count_as_processes() -> Promise {
    let ran = bomb(&["--pids-limit", "16"], &["threads"])?;
    if ran.status.code() == Some(99) {
        return skip(ran.stderr);
    }
    assert_eq!(ran.text(), "15 errno 11", "EAGAIN\n{ran}");
    Ok(())
}

fn zombies_count_as_processes() -> Promise {
    let ran = bomb(&["--pids-limit", "16"], &["zombies"])?;
    if ran.status.code() == Some(99) {
        return skip(ran.stderr);
    }
    assert_eq!(ran.text(), "15 errno 11", "EAGAIN\n{ran}");
    Ok(())
}

/// The sum of all processes, in microseconds, is at the limit, and far below what they would use
/// together if each had the limit for itself. How soon a supervisor looks is a matter of who else runs.
#[track_caller]
fn is_stopped_at_one_second_of_cpu(ran: Ran) {
    /// What six processes use that are stopped by nobody before each is at nine tenths of the limit.
    const ALONE: u64 = 6 * 900_000;
    assert_eq!(ran.outcome(), "timed-out", "{ran}");
    assert_eq!(ran.report()["outcome"]["limit"], "cpu", "{ran}");
    let used = cpu_us(&ran);
    let most = (ALONE / 2).max(1_000_000 + 150_000 * u64::from(slowness()));
    assert!((1_000_000..most).contains(&used), "{used} µs of CPU time\n{ran}");
    ran.exits(124).complains_in_one_line(&["CPU-time limit"]);
}

/// A limit of wall-clock time that nothing comes near.
fn long() -> String {
    format!("{}s", 50 * slowness())
}

fn cpu_time_of_twenty_processes_is_one_sum() -> Promise {
    needs_control_groups()?;
    let flags = ["--cpu-time", "1s", "--timeout", &long()];
    is_stopped_at_one_second_of_cpu(bomb(&flags, &["spin", "20", "60000"])?);
    Ok(())
}

/// Six processes, none of which is at the limit by itself; and one that waits for longer than the
/// limit.
fn cpu_time_is_not_wall_time() -> Promise {
    needs_control_groups()?;
    let flags = ["--cpu-time", "1s", "--timeout", &long()];
    is_stopped_at_one_second_of_cpu(bomb(&flags, &["spin", "6", "900"])?);
    let waits = |time: Duration| {
        let longer = format!("{:.1}", time.as_secs_f64() * 1.2);
        Ok(run_reported(&["--cpu-time", &flag(time)], &["sleep", &longer]))
    };
    // It uses some all the same, and on a slow machine that may be much.
    given_time(waits, |ran| ran.outcome() == "exited")?.exits(0);
    Ok(())
}

#[track_caller]
fn is_disk_limit(ran: Ran) {
    assert_eq!(ran.outcome(), "disk-limit", "{ran}");
    ran.exits(153).complains_in_one_line(&["SIGXFSZ"]);
}

const TEN_GIB: &str = "10240";

fn a_sparse_file_beyond_the_limit_is_stopped() -> Promise {
    is_disk_limit(bomb(&[], &["sparse", "/workspace/file", TEN_GIB])?);
    Ok(())
}

fn a_dense_file_beyond_the_limit_is_stopped() -> Promise {
    is_disk_limit(bomb(&["--file-size", "32MiB"], &["fill", "/workspace/file", TEN_GIB])?);
    Ok(())
}

fn a_million_files_run_out_of_inodes() -> Promise {
    let flags = ["--inodes", "5000"];
    for dir in ["/workspace", "/tmp", "/dev/shm"] {
        let ran = bomb(&flags, &["empty-files", dir, "1000000"])?;
        // The directory itself is one.
        assert_eq!(ran.text(), "4999 errno 28", "ENOSPC in {dir}\n{ran}");
        ran.exits(3);
    }
    Ok(())
}

/// Not even by a program that is root in its sandbox, in what a sandbox has of its own.
fn nothing_but_the_scratch_can_be_filled() -> Promise {
    let script = "for dir in / /dev /dev/pts /etc /proc /run /sys /tmp /usr /var; do
        (head -c 1048576 /dev/zero > $dir/filler) 2>/dev/null && echo $dir; done; exit 0";
    let ran = run_reported(&[], &["sh", "-c", script]).exits(0);
    assert_eq!(ran.standing("disk"), "held", "{ran}");
    assert_eq!(ran.text().trim_end(), "/tmp", "these can be filled\n{ran}");
    Ok(())
}

fn descriptors_run_out_at_their_limit() -> Promise {
    let ran = bomb(&["--open-files", "100"], &["descriptors"])?;
    assert_eq!(ran.text(), "100 errno 24", "EMFILE\n{ran}");
    ran.exits(3);
    Ok(())
}

fn ignoring_every_signal_does_not_help() -> Promise {
    let stubborn =
        |time| Ok(bomb(&["--timeout", &flag(time), "--grace", "100ms"], &["stubborn"])?.exits(124));
    let ran = given_time(stubborn, |ran| ran.stdout_total > 0)?;
    assert!(ran.text().starts_with("ready"), "it never ran\n{ran}");
    assert_eq!(ran.outcome(), "timed-out", "{ran}");
    Ok(())
}

/// The shipped filter does not allow it; one of the job's own may. An init that cannot even say that the
/// program runs is killed with it, which is an error. Process 1 of an engine's container adds a filter itself,
/// unless that of the job does not let it.
fn taking_the_time_of_process_1_does_not_help() -> Promise {
    let dir = TempDir::open_to_all();
    let open = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["seccomp"], "action": "SCMP_ACT_ERRNO"}]}"#;
    let profile = dir.file("open.json", open).display().to_string();
    let mut flags = vec!["--timeout", "1s", "--grace", "100ms", "--seccomp", &profile];
    if ["docker", "podman"].contains(&backend_name()) {
        let limited = [&flags[..], &["--cpu-time", "10s"]].concat();
        bomb(&limited, &["starve", "1", "0"])?.exits(99).complains("could add no filter");
        flags.extend(["--waive", "cpu-time"]);
    }
    if needs_control_groups().is_ok() {
        flags.extend(["--cpus", "0.1"]);
    }
    let later = bomb(&flags, &["starve", "60", "300"])?.exits(124);
    assert_eq!(later.outcome(), "timed-out", "{later}");
    let at_once = bomb(&flags, &["starve", "60", "0"])?;
    if at_once.status.code() == Some(125) {
        at_once.complains("the init did not say in time");
    } else {
        assert_eq!(at_once.exits(124).outcome(), "timed-out");
    }
    Ok(())
}

fn a_gibibyte_of_output_is_stopped() -> Promise {
    for (fd, stream) in [("1", "stdout"), ("2", "stderr")] {
        let ran = bomb(&[], &["flood", fd, "1073741824"])?;
        assert_eq!(ran.outcome(), "output-limit", "stream {stream}");
        assert_eq!(ran.report()["outcome"]["stream"], stream);
        assert!(figure(&ran, "output") < 64 << 20, "it went on");
        ran.exits(153);
    }
    Ok(())
}

/// What a stream carried, and whether that was all.
fn carried<'a>(ran: &'a Ran, stream: &str) -> (&'a Value, &'a Value) {
    let output = &ran.report()[stream];
    (&output["total"], &output["truncated"])
}

fn exactly_the_output_limit_is_no_excess() -> Promise {
    for (fd, stream) in [("1", "stdout"), ("2", "stderr")] {
        for excess in ["kill", "truncate"] {
            let flags = ["--output-limit", "100KiB", "--output-excess", excess];
            let ran = bomb(&flags, &["flood", fd, "102400"])?.exits(0);
            assert_eq!(carried(&ran, stream), (&102_400.into(), &false.into()), "{stream}");
            assert_eq!(figure(&ran, "output"), 102_400);
        }
    }
    Ok(())
}

fn one_byte_more_is_an_excess() -> Promise {
    for (fd, stream) in [("1", "stdout"), ("2", "stderr")] {
        let limit = ["--output-limit", "100KiB", "--output-excess"];
        let ran = bomb(&[&limit[..], &["truncate"]].concat(), &["flood", fd, "102401"])?.exits(0);
        assert_eq!(carried(&ran, stream), (&102_401.into(), &true.into()), "{stream}");
        let ran = bomb(&[&limit[..], &["kill"]].concat(), &["flood", fd, "102401"])?.exits(153);
        assert_eq!(carried(&ran, stream), (&102_401.into(), &true.into()), "{stream}");
        assert_eq!(ran.outcome(), "output-limit");
    }
    Ok(())
}

fn peak_memory_is_what_was_touched() -> Promise {
    needs_control_groups()?;
    for mebibytes in [8, 64, 256] {
        let ran = bomb(&[], &["eat", &mebibytes.to_string()])?.exits(0);
        let (exact, peak) = (mebibytes << 20, figure(&ran, "peak_memory"));
        let most = exact + exact / 20 + (2 << 20);
        assert!((exact..=most).contains(&peak), "{peak} bytes for {mebibytes} MiB");
        let source = ran.report()["usage"]["peak_memory"]["source"].as_str();
        let known = ["cgroup memory.peak", "cgroup memory.max_usage_in_bytes"];
        assert!(source.is_some_and(|source| known.contains(&source)), "{source:?}");
    }
    Ok(())
}

fn usage_names_its_sources() -> Promise {
    let ran = bomb(&[], &["flood", "1", "1000"])?.exits(0);
    let usage = &ran.report()["usage"];
    assert_eq!(usage["wall_us"]["source"], "monotonic clock");
    assert_eq!(usage["output"]["source"], "supervisor count");
    let counted = needs_control_groups().is_ok();
    for name in ["user_us", "system_us", "peak_memory"] {
        let source = usage[name]["source"].as_str().unwrap_or_default();
        assert_eq!(source.starts_with("cgroup"), counted, "{name}: {source}");
        assert!(counted || source.starts_with("rusage"), "{name}: {source}");
    }
    Ok(())
}

/// The same programs by whatever source there is here: the table in docs/limits.md is made of the
/// lines that this prints. Without control groups the largest single process is known, and files in
/// memory are not seen at all.
fn sources_differ_as_documented() -> Promise {
    const MIB: u64 = 1 << 20;
    let counted = needs_control_groups().is_ok();
    let programs = [
        ("one process touches 64 MiB", ["eat", "64", ""], 64),
        ("four processes touch 16 MiB each", ["family", "4", "16"], 16),
        ("a file of 64 MiB in /workspace", ["fill", "/workspace/file", "64"], 0),
        ("three processes use 0.3 s each", ["spin", "3", "300"], 0),
    ];
    for (name, args, alone) in programs {
        let ran = bomb(&[], &args)?.exits(0);
        let (peak, cpu) = (figure(&ran, "peak_memory"), cpu_us(&ran));
        let source = |name: &str| ran.report()["usage"][name]["source"].to_string();
        let line = format!(
            "measured: | {name} | {} KiB, {} | {} ms, {} |",
            peak >> 10,
            source("peak_memory"),
            cpu / 1000,
            source("user_us")
        );
        drop(writeln!(std::io::stdout(), "{line}"));
        let whole = if args[0] == "spin" { 0 } else { 64 };
        let least = if counted { whole } else { alone };
        assert!((least * MIB..(least + 6) * MIB).contains(&peak), "{name}: {peak}\n{ran}");
        assert!(args[0] != "spin" || cpu >= 880_000, "{name}: {cpu} µs\n{ran}");
    }
    Ok(())
}

/// Half a CPU for two spinning processes: a second of CPU time takes two. The clock starts when the
/// supervisor hears of the start, which may be late.
fn a_share_of_the_cpus_holds() -> Promise {
    let flags = ["--cpus", "0.5", "--cpu-time", "60s", "--timeout", &long()];
    let ran = bomb(&flags, &["spin", "2", "750"])?;
    if ran.status.code() == Some(99) {
        ran.complains("cpu-time");
        return Ok(());
    }
    let ran = ran.exits(0);
    let by = &ran.report()["confinement"]["guarantees"]["cpu-time"]["by"];
    assert!(by.to_string().contains("0.5 CPUs"), "{by}");
    assert!(figure(&ran, "wall_us") > 1_700_000, "the share did not hold\n{ran}");
    Ok(())
}

/// Only where there is no control group to be had.
fn what_cannot_be_limited_is_refused_with_the_fix() -> Promise {
    if needs_control_groups().is_ok() {
        return skip("every limit can be held here");
    }
    let all = [
        ("--memory", "64MiB", "memory"),
        ("--cpu-time", "1s", "cpu-time"),
        ("--cpus", "1", "cpu-time"),
    ];
    for (flag, value, guarantee) in all {
        let ran = run_reported(&[flag, value], &["true"]).exits(99);
        let ran = ran.complains(&format!("{guarantee} (cgroup)")).complains("to fix it:");
        assert_eq!(ran.report()["error"]["missing"][0]["guarantee"], guarantee);
        assert!(ran.report()["error"]["missing"][0]["fix"].is_string(), "{ran}");
    }
    Ok(())
}

fn what_is_waived_has_its_stand_in_named() -> Promise {
    if needs_control_groups().is_ok() {
        return skip("every limit can be held here");
    }
    let flags = ["--memory", "64MiB", "--cpu-time", "2s", "--waive", "memory,cpu-time"];
    let ran = run_reported(&flags, &["sh", "-c", "ulimit -d; ulimit -t"]).exits(0);
    assert_eq!(ran.text(), "65536\n2");
    for (guarantee, stand_in) in
        [("memory", "RLIMIT_DATA = 64MiB"), ("cpu-time", "RLIMIT_CPU = 2s")]
    {
        let standing = &ran.report()["confinement"]["guarantees"][guarantee];
        let named = standing["stand_in"].as_str().unwrap_or_default();
        assert!(named.starts_with(stand_in), "{guarantee}: {standing}");
    }
    Ok(())
}

/// They find out by making one what can be limited.
fn explaining_and_checking_leave_no_group() -> Promise {
    for args in [
        &["explain", "--", "true"][..],
        &["check"],
        &["run", "--require", "kernel-boundary", "true"],
    ] {
        let mut child = Command::new(Fumehood::binary())
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary is there");
        let pid = child.id();
        child.wait().expect("it is ours");
        // Where the kernel still held a killed process in it, the janitor removes it.
        let end = Instant::now() + Duration::from_secs(60) * slowness();
        while !groups_of(pid).is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(groups_of(pid), <[PathBuf; 0]>::default(), "after {args:?}");
    }
    Ok(())
}
