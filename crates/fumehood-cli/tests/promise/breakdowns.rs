//! What is said when it is not the program that fails, but what somebody else's sandbox is made of.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Fumehood, Live, Process, Promise, Ran, TempDir, Traces, backend_name, groups_of, promises,
    run_reported, skip, slowness, wait_for,
};

promises![
    a_tool_that_is_killed_is_no_end_of_the_program,
    a_kernel_of_gvisor_that_is_killed_is_no_end_of_the_program,
    a_file_server_of_gvisor_that_is_killed_is_no_end_of_the_program,
    a_tool_that_is_killed_for_the_program_s_limit_is_out_of_memory,
];

/// A program that runs until it is killed, and says by a file of the host that it runs: a gVisor has no
/// process on the host that looks like it.
fn start(scratch: &TempDir) -> Live {
    let program = ["sh", "-c", "echo half; : >/out/up; sleep 600; :"];
    let live = Fumehood::new(&["--timeout", "600s", "-v", &scratch.volume("/out", "rw")], &program);
    let live = live.reported().spawn();
    let deadline = Instant::now() + Duration::from_secs(60) * slowness();
    while !scratch.join("up").exists() {
        assert!(Instant::now() < deadline, "the program does not start");
        thread::sleep(Duration::from_millis(5));
    }
    live
}

/// Kills a part of a sandbox while the program runs in it, and holds what comes of that: an error that is not
/// the program's, and nothing that is left.
#[track_caller]
fn breaks_down(part: &str) -> Ran {
    let (scratch, before) = (TempDir::open_to_all(), Traces::now());
    let live = start(&scratch);
    let everybody = Process::below(live.pid());
    let ends = Process::ends(&everybody);
    let victim = everybody.iter().find(|process| process.name() == part);
    let victim = victim.unwrap_or_else(|| panic!("no {part} among {everybody:?}"));
    victim.kill();
    let ran = live.finish().exits(125);
    assert_eq!(ran.report()["error"]["kind"], "internal", "{ran}\n{}", ran.report());
    assert_eq!(ran.report().get("outcome"), None, "{ran}");
    wait_for(&ends);
    assert!(groups_of(ran.pid).is_empty(), "groups are left: {:?}", groups_of(ran.pid));
    fs::remove_file(scratch.join("up")).expect("the program made it");
    before.are_all();
    ran
}

fn a_tool_that_is_killed_is_no_end_of_the_program() -> Promise {
    drop(breaks_down(backend_name()).complains("was killed, by signal 9"));
    Ok(())
}

fn a_kernel_of_gvisor_that_is_killed_is_no_end_of_the_program() -> Promise {
    drop(breaks_down("runsc-sandbox").complains("gVisor"));
    Ok(())
}

fn a_file_server_of_gvisor_that_is_killed_is_no_end_of_the_program() -> Promise {
    drop(breaks_down("runsc-gofer").complains("gVisor"));
    Ok(())
}

/// What a tool uses counts towards the limit: one that is killed for that has not broken down.
fn a_tool_that_is_killed_for_the_program_s_limit_is_out_of_memory() -> Promise {
    if run_reported(&[], &["true"]).standing("memory") != "held" {
        return skip("memory is not limited here: this user has no control groups");
    }
    let ran = Fumehood::new(&["--memory", "2MiB"], &["true"]).reported().run().exits(137);
    assert_eq!(ran.outcome(), "out-of-memory", "{ran}");
    Ok(())
}
