//! Who gets a processor first, and which, as the kernel has it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use crate::support::{Promise, Request, Service, find_process, marker, promises, skip, wait_until};

promises! {
    service_and_inits_are_prompt_and_programs_are_not,
    programs_run_apart,
    programs_share_processors_where_they_are_to,
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

/// The processors that a process may run on, as `Cpus_allowed_list` in `proc(5)` has them: `0-2,5`.
fn processors(process: &str) -> BTreeSet<usize> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.trim().parse::<usize>().expect("a number");
        number(first)..=number(last)
    };
    list.expect("the kernel tells").split(',').flat_map(range).collect()
}

/// The processors of two programs that run at the same time, each with a process that it started.
fn of_two(settings: &str) -> [BTreeSet<usize>; 2] {
    let service = Service::start(settings);
    let words = [marker(), marker()];
    let mut clients = [service.client(), service.client()];
    // Not the process that was started, which is told by its word, but one that this one starts.
    let script = "sh -c \"sleep 50; true $0\"; true";
    [0, 1].map(|index| {
        let job = json!({ "args": ["sh", "-c", script, words[index]] });
        clients[index].tell(&Request::run(&job));
        let mut found = None;
        wait_until("what the program starts runs", || {
            found = find_process(&format!("sleep 50; true {}", words[index]));
            found.is_some()
        });
        processors(&found.expect("it was found").to_string())
    })
}

fn programs_run_apart() -> Promise {
    let own = processors("self");
    if own.len() < 2 {
        return skip("there is one processor");
    }
    let [one, other] = of_two("[line]\nslots = 2\n");
    assert!(!one.is_empty() && one.is_disjoint(&other), "{one:?} {other:?}");
    assert_eq!(&one | &other, own);
    Ok(())
}

fn programs_share_processors_where_they_are_to() -> Promise {
    let own = processors("self");
    assert_eq!(of_two("[line]\nslots = 2\napart = false\n"), [own.clone(), own]);
    Ok(())
}
