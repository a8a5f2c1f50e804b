//! What the report says, against what the kernel says about the running program from outside.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::{
    Feed, Fumehood, GUARANTEES, Process, Promise, Ran, TempDir, given_time, promises, run_reported,
    slowness, waiting_shell,
};

promises![
    the_report_lists_every_guarantee,
    namespaces_are_those_of_the_report,
    privileges_are_those_of_the_report,
    the_filter_is_that_of_the_report,
    the_file_system_is_that_of_the_report,
    limits_are_those_of_the_report,
    a_waived_network_is_the_host_s_and_the_report_says_so,
    a_required_guarantee_that_no_host_gives_is_refused,
    figures_name_their_source,
    the_set_up_is_timed_by_step,
    explaining_lists_exactly_the_steps_of_a_run,
    a_report_is_written_when_the_program_is_killed,
];

/// Looks at a confined program from outside and gives its report with what was seen.
fn watched<T>(flags: &[&str], look: impl FnOnce(&Process) -> T) -> (Ran, T) {
    let program = waiting_shell();
    let program: Vec<_> = program.iter().map(String::as_str).collect();
    let long = format!("{}s", 60 * slowness());
    let flags = [&["--timeout", &long], flags].concat();
    let live = Fumehood::new(&flags, &program).feed(Feed::Held).reported().spawn();
    let seen = look(&live.confined());
    (live.finish().exits(0), seen)
}

#[track_caller]
fn held(ran: &Ran, guarantees: &[&str]) {
    for guarantee in guarantees {
        assert_eq!(ran.standing(guarantee), "held", "{guarantee}");
    }
}

fn the_report_lists_every_guarantee() -> Promise {
    let ran = run_reported(&[], &["true"]).exits(0);
    for guarantee in GUARANTEES {
        let standing = &ran.report()["confinement"]["guarantees"][guarantee];
        if ran.standing(guarantee) == "held" {
            let by = standing["by"].as_array().expect("mechanisms are a list");
            assert!(by.iter().all(|name| name.as_str().is_some_and(|name| !name.is_empty())));
            assert!(!by.is_empty(), "{guarantee} is held by nothing");
        } else {
            assert!(!standing["reason"].as_str().expect("a reason").is_empty(), "{guarantee}");
        }
    }
    assert_eq!(ran.report()["confinement"]["backend"], "native");
    assert_eq!(ran.report()["confinement"]["waived"], serde_json::json!([]));
    assert_eq!(ran.standing("kernel-boundary"), "not-held");
    Ok(())
}

fn namespaces_are_those_of_the_report() -> Promise {
    const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
    let (ran, apart) = watched(&[], |process| NAMESPACES.map(|name| process.apart_in(name)));
    held(&ran, &["filesystem", "processes", "network", "ipc"]);
    assert_eq!(apart, [true; 7], "{NAMESPACES:?}");
    Ok(())
}

fn privileges_are_those_of_the_report() -> Promise {
    let keys = ["NoNewPrivs", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Uid", "Gid"];
    let (ran, seen) = watched(&[], |process| keys.map(|key| process.status(key)));
    held(&ran, &["no-privileges"]);
    assert_eq!(seen[0], "1");
    assert!(seen[1..6].iter().all(|set| set == "0000000000000000"), "{seen:?}");
    assert!(seen[6..].iter().all(|ids| ids.split('\t').all(|id| id != "0")), "{seen:?}");
    Ok(())
}

fn the_filter_is_that_of_the_report() -> Promise {
    let (ran, mode) = watched(&[], |process| process.status("Seccomp"));
    held(&ran, &["syscall-filter"]);
    assert_eq!(mode, "2");
    Ok(())
}

fn the_file_system_is_that_of_the_report() -> Promise {
    let dir = TempDir::new();
    let secret = dir.file("secret", "x").display().to_string();
    let look = |process: &Process| {
        let root = format!("/proc/{}/root", process.pid());
        let sees = fs::exists(format!("{root}{secret}")).expect("we may look into the root");
        let names: Vec<_> = fs::read_dir(&root).expect("we may look into the root").collect();
        (sees, names.len(), process.mounts())
    };
    let (ran, (sees, names, mounts)) = watched(&[], look);
    held(&ran, &["filesystem", "read-only-root"]);
    assert!(!sees && names > 0);
    let root = mounts.iter().find(|mount| mount.point == "/").expect("there is a root");
    assert!(root.has("ro"), "{root:?}");
    let usr = mounts.iter().find(|mount| mount.point == "/usr").expect("/usr is shown");
    assert!(usr.has("ro") && usr.has("nosuid") && usr.has("nodev"), "{usr:?}");
    Ok(())
}

fn limits_are_those_of_the_report() -> Promise {
    let look = |process: &Process| {
        let cgroup = process.read("cgroup");
        let memory = memory_with_swap(&cgroup);
        (process.read("limits"), cgroup, memory)
    };
    let (ran, (limits, cgroup, memory)) = watched(&["--file-size", "1MiB"], look);
    held(&ran, &["disk", "output", "wall-time"]);
    let row = |name: &str| -> Vec<String> {
        let line = limits.lines().find(|line| line.starts_with(name)).expect("the kernel lists it");
        line[name.len()..].split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("Max file size")[..2], ["1048576", "1048576"]);
    assert_eq!(row("Max open files")[1], "1024");
    let ours = fs::read_to_string("/proc/self/cgroup").expect("the kernel has it");
    for guarantee in ["memory", "pids", "cpu-time"] {
        let by = ran.report()["confinement"]["guarantees"][guarantee]["by"].to_string();
        assert!(!by.contains("cgroup") || cgroup != ours, "{guarantee} is held by {by}: {cgroup}");
    }
    let by = &ran.report()["confinement"]["guarantees"]["memory"]["by"];
    if let (Some((limit, with_swap)), true) = (memory, by.to_string().contains("swap included")) {
        assert_eq!((limit.trim(), with_swap.trim()), ("536870912", "536870912"));
    }
    Ok(())
}

/// What the kernel lets these groups have of memory, and of that and swap together, if it counts swap by
/// version 1.
fn memory_with_swap(cgroup: &str) -> Option<(String, String)> {
    let path = cgroup.lines().find_map(|line| Some(line.split_once(":memory:")?.1))?;
    let read = |name| fs::read_to_string(format!("/sys/fs/cgroup/memory{path}/{name}")).ok();
    Some((read("memory.limit_in_bytes")?, read("memory.memsw.limit_in_bytes")?))
}

fn a_waived_network_is_the_host_s_and_the_report_says_so() -> Promise {
    let flags = ["--network", "host", "--waive", "network"];
    let (ran, apart) = watched(&flags, |process| process.apart_in("net"));
    assert_eq!(ran.standing("network"), "not-held");
    assert_eq!(ran.report()["confinement"]["waived"], serde_json::json!(["network"]));
    assert!(!apart, "the program has a network of its own");
    Ok(())
}

fn a_required_guarantee_that_no_host_gives_is_refused() -> Promise {
    let dir = TempDir::open_to_all();
    let volume = dir.volume("/data", "rw");
    let flags = ["--require", "kernel-boundary", "--volume", &volume];
    run_reported(&flags, &["touch", "/data/started"]).exits(99).complains("kernel-boundary");
    assert!(!dir.join("started").exists(), "the program was started");
    Ok(())
}

fn figures_name_their_source() -> Promise {
    let wall_us = |ran: &Ran| ran.report()["usage"]["wall_us"]["value"].as_u64();
    let sleeps = |time: Duration| {
        let time = time.as_secs_f64().to_string();
        Ok(run_reported(&[], &["sleep", &time]).exits(0))
    };
    // The clock starts when the supervisor hears of the start, which a busy machine delays.
    let ran = given_time(sleeps, |ran| wall_us(ran) >= Some(250_000))?;
    let wall = &ran.report()["usage"]["wall_us"];
    assert_eq!(wall["source"], "monotonic clock");
    assert!(wall_us(&ran) >= Some(250_000), "{wall}");
    for figure in ["user_us", "system_us", "peak_memory"] {
        let source = ran.report()["usage"][figure]["source"].as_str();
        assert!(source.is_some_and(|source| !source.is_empty()), "{figure}: {source:?}");
    }
    Ok(())
}

fn the_set_up_is_timed_by_step() -> Promise {
    let ran = run_reported(&[], &["true"]).exits(0);
    let timing = &ran.report()["timing"];
    let steps = timing["steps"].as_array().expect("steps are a list");
    let sum: u64 = steps.iter().filter_map(|step| step["us"].as_u64()).sum();
    assert!(steps.len() > 5, "{timing}");
    let total = timing["setup_us"].as_u64().expect("a number");
    assert!(sum <= total + total / 10, "the steps take {sum}, all of it {total}");
    Ok(())
}

fn explaining_lists_exactly_the_steps_of_a_run() -> Promise {
    let arguments = ["explain", "--json", "--", "true"];
    let explained = Command::new(Fumehood::binary()).args(arguments).output();
    let explained = explained.expect("the binary exists").stdout;
    let plan: serde_json::Value = serde_json::from_slice(&explained).expect("--json prints JSON");
    let ran = run_reported(&[], &["true"]).exits(0);
    let steps = ran.report()["timing"]["steps"].as_array().expect("steps are a list");
    let done: Vec<_> = steps.iter().map(|step| &step["step"]).collect();
    let said: Vec<_> = plan["steps"].as_array().expect("steps are a list").iter().collect();
    assert_eq!(said, done);
    Ok(())
}

fn a_report_is_written_when_the_program_is_killed() -> Promise {
    let ran = run_reported(&[], &["sh", "-c", "echo partly; kill -9 $$"]).exits(137);
    assert_eq!(ran.outcome(), "signaled");
    assert_eq!(ran.report()["outcome"]["signal"], 9);
    assert_eq!(ran.report()["stdout"]["total"], 7);
    Ok(())
}
