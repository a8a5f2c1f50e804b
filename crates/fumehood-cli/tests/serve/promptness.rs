//! Who gets a processor first, as the kernel has it.

use std::fs;

use serde_json::json;

use crate::support::{Promise, Request, Service, find_process, marker, promises, skip, wait_until};

promises! {
    service_and_inits_are_prompt_and_programs_are_not,
}

/// Nanoseconds, the shortest that there are.
const SHORTEST: u64 = 100_000;

/// The slice of a thread in nanoseconds; none where the kernel does not tell.
fn slice(thread: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{thread}/sched")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("se.slice"))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Whether this kernel has slices of a thread's own: since Linux 6.12.
fn has_slices() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(12))
}

fn service_and_inits_are_prompt_and_programs_are_not() -> Promise {
    let Some(ordinary) = slice("self") else {
        return skip("this kernel does not tell of slices (/proc/PID/sched)");
    };
    let service = Service::start("");
    if !has_slices() {
        assert_eq!(service.figure("fumehood_prompt"), 0, "it is not said where it is not so");
        return skip("threads have slices of their own since Linux 6.12");
    }
    assert_eq!(service.figure("fumehood_prompt"), 1);
    let threads = fs::read_dir(format!("/proc/{}/task", service.pid())).expect("it runs");
    let threads: Vec<_> = threads.flatten().map(|thread| thread.file_name()).collect();
    assert!(threads.len() > 1, "{threads:?}");
    for thread in threads {
        // Threads that do what blocks come and go.
        let found = slice(&thread.to_string_lossy());
        assert!(found.is_none_or(|slice| slice == SHORTEST), "{thread:?}: {found:?}");
    }
    let (mut client, word) = (service.client(), marker());
    client.tell(&Request::run(&json!({ "args": ["sh", "-c", "sleep 50; true", word] })));
    let mut program = None;
    wait_until("the program runs", || {
        program = find_process(&word);
        program.is_some()
    });
    let program = program.expect("it was found").to_string();
    let status = fs::read_to_string(format!("/proc/{program}/status")).expect("it runs");
    let init = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent").trim();
    assert_eq!(slice(init), Some(SHORTEST), "the init");
    assert_eq!(slice(&program), Some(ordinary), "the program");
    Ok(())
}
