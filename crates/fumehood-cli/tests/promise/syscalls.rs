//! Which system calls are refused, and how.

use std::collections::BTreeMap;

use crate::support::{
    Feed, Fumehood, Probe, Promise, Skip, Verdict, field, host_tool, parse, promises, python, run,
    skip,
};

promises![
    the_filter_is_on,
    cannot_enter_new_namespaces,
    cannot_mount,
    cannot_use_risky_kernel_interfaces,
    cannot_trace_others,
    cannot_hinder_its_init,
    cannot_keep_others_from_writing,
    cannot_type_into_a_terminal,
    cannot_use_the_32_bit_gate,
    cannot_use_x32_calls,
    an_unknown_call_is_not_implemented,
    clone3_is_not_implemented,
    only_harmless_socket_families_can_be_used,
    threads_work,
    code_made_at_run_time_works,
    posix_semaphores_and_shared_memory_work,
];

const EPERM: Verdict = Verdict::Errno(1);
const ENOSYS: Verdict = Verdict::Errno(38);
const EAFNOSUPPORT: Verdict = Verdict::Errno(97);

#[track_caller]
fn all_refused(verdicts: BTreeMap<String, Verdict>) {
    assert!(!verdicts.is_empty(), "the probe tried nothing");
    let wrong: Vec<_> =
        verdicts.into_iter().filter(|(_, verdict)| ![EPERM, ENOSYS].contains(verdict)).collect();
    assert!(wrong.is_empty(), "not refused by the filter: {wrong:?}");
}

fn the_filter_is_on() -> Promise {
    let status = run(&[], &["cat", "/proc/self/status"]).prints();
    assert_eq!(field(&status, "Seccomp"), "2");
    Ok(())
}

fn cannot_enter_new_namespaces() -> Promise {
    all_refused(Probe::get()?.verdicts(&["namespaces"]));
    Ok(())
}

fn cannot_mount() -> Promise {
    all_refused(Probe::get()?.verdicts(&["mounts"]));
    Ok(())
}

fn cannot_use_risky_kernel_interfaces() -> Promise {
    all_refused(Probe::get()?.verdicts(&["kernel"]));
    Ok(())
}

fn cannot_trace_others() -> Promise {
    let mut verdicts = Probe::get()?.verdicts(&["others"]);
    verdicts.retain(|name, _| name.starts_with("ptrace-") || name.starts_with("process_vm_"));
    all_refused(verdicts);
    Ok(())
}

/// Which is process 1, and of the program's own user.
fn cannot_hinder_its_init() -> Promise {
    all_refused(Probe::get()?.verdicts(&["watcher"]));
    Ok(())
}

/// Whoever opened a file of the host to write would wait for a lease on it to be given up.
fn cannot_keep_others_from_writing() -> Promise {
    const SET_LEASE: &str =
        "import fcntl; fcntl.fcntl(open('/tmp/f', 'w+'), fcntl.F_SETLEASE, fcntl.F_WRLCK)";
    let python = python()?;
    let ran = run(&[], &[&python, "-c", SET_LEASE]).exits(1);
    let refused = ["Operation not permitted", "Function not implemented"];
    assert!(refused.iter().any(|how| ran.stderr.contains(how)), "{ran}");
    Ok(())
}

fn cannot_type_into_a_terminal() -> Promise {
    // The kernel alone says ENOTTY for a standard input that is not a terminal.
    let ran = Probe::get()?.confined(&["--stdin", "inherit"], &["terminal"]);
    all_refused(parse(&ran.feed(Feed::Bytes(Vec::new())).run().prints()));
    Ok(())
}

fn cannot_use_the_32_bit_gate() -> Promise {
    only_on_x86_64()?;
    let verdict = Probe::get()?.verdicts(&["foreign"])["int80"].clone();
    if verdict == Verdict::Killed(11) {
        return skip("this kernel has no 32-bit gate that a filter could close");
    }
    assert_eq!(verdict, ENOSYS);
    Ok(())
}

fn cannot_use_x32_calls() -> Promise {
    only_on_x86_64()?;
    let probe = Probe::get()?;
    let verdicts = probe.verdicts(&["foreign"]);
    assert_eq!((&verdicts["x32"], &verdicts["x32-mount"]), (&ENOSYS, &ENOSYS));
    if parse(&probe.unconfined(&["foreign"]))["x32"] == ENOSYS {
        return skip(
            "it holds, but this kernel has no x32, so nothing shows that the filter did it",
        );
    }
    Ok(())
}

fn only_on_x86_64() -> Result<(), Skip> {
    if cfg!(target_arch = "x86_64") { Ok(()) } else { skip("only x86-64 has it") }
}

fn an_unknown_call_is_not_implemented() -> Promise {
    let verdicts = Probe::get()?.verdicts(&["foreign"]);
    assert_eq!(verdicts["unknown"], ENOSYS);
    assert_eq!(verdicts["unknown-negative"], ENOSYS);
    Ok(())
}

fn clone3_is_not_implemented() -> Promise {
    assert_eq!(Probe::get()?.verdicts(&["namespaces"])["clone3"], ENOSYS);
    Ok(())
}

fn only_harmless_socket_families_can_be_used() -> Promise {
    let verdicts = Probe::get()?.verdicts(&["sockets"]);
    for (name, verdict) in verdicts {
        let right = match name.as_str() {
            "unix" | "inet" | "inet-udp" | "inet6" => verdict == Verdict::Done,
            _ => [EPERM, ENOSYS, EAFNOSUPPORT].contains(&verdict),
        };
        assert!(right, "{name}: {verdict:?}");
    }
    Ok(())
}

fn threads_work() -> Promise {
    assert_eq!(Probe::get()?.run(&["thread-count"]).prints(), "160000");
    Ok(())
}

fn code_made_at_run_time_works() -> Promise {
    assert_eq!(Probe::get()?.run(&["just-in-time"]).prints(), "42");
    Ok(())
}

/// They need `/dev/shm`, futexes and forks together.
fn posix_semaphores_and_shared_memory_work() -> Promise {
    let python = python()?;
    host_tool("sh")?;
    let script = "import multiprocessing as m\n\
        if __name__ == '__main__':\n\
        \x20c = m.get_context('fork'); v = c.Value('i', 0)\n\
        \x20def add():\n\
        \x20 with v.get_lock(): v.value += 1\n\
        \x20ps = [c.Process(target=add) for _ in range(4)]\n\
        \x20[p.start() for p in ps]; [p.join() for p in ps]; print(v.value)";
    assert_eq!(Fumehood::new(&[], &[&python, "-c", script]).run().prints(), "4");
    Ok(())
}
