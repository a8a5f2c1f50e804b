//! Filters that kill: which call it was for, and that it cannot be survived.

use crate::support::{Probe, Promise, Ran, Skip, TempDir, promises, run, run_reported, skip};

promises![
    a_call_that_is_killed_for_is_named,
    an_unknown_call_that_is_killed_for_is_numbered,
    every_kind_of_kill_ends_the_run,
    a_call_of_a_child_ends_the_run,
    a_call_of_a_thread_ends_the_run,
    signals_do_not_save_from_a_kill,
    a_filter_of_its_own_opens_nothing,
    foreign_calls_are_no_reason_to_kill,
    our_own_calls_are_never_denied,
    under_another_listener_it_kills_without_a_name,
    a_filter_that_kills_leaves_the_limit_of_processes_exact,
];

/// A number that no system call has.
const NO_CALL: &str = "9999";

/// A profile that kills for these calls, as a path.
struct Profile(TempDir);

impl Profile {
    fn killing(action: &str, names: &[&str]) -> Self {
        let rule = serde_json::json!({ "names": names, "action": action });
        Self::new(&serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }))
    }

    /// Kills for everything but what a small static program needs.
    fn strict() -> Self {
        let names = "execve exit exit_group brk mmap munmap mprotect arch_prctl set_tid_address \
            set_robust_list rseq prlimit64 readlink readlinkat getrandom write newfstatat fstat \
            ioctl futex uname rt_sigprocmask";
        let names: Vec<_> = names.split(' ').collect();
        let rule = serde_json::json!({ "names": names, "action": "SCMP_ACT_ALLOW" });
        Self::new(
            &serde_json::json!({ "defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [rule] }),
        )
    }

    fn new(profile: &serde_json::Value) -> Self {
        let dir = TempDir::open_to_all();
        dir.file("profile.json", &profile.to_string());
        Self(dir)
    }

    fn path(&self) -> String {
        self.0.join("profile.json").display().to_string()
    }

    fn probe(&self, args: &[&str]) -> Result<Ran, Skip> {
        Ok(Probe::get()?.denied(&["--seccomp", &self.path()], args).reported().run())
    }
}

#[track_caller]
fn is_denied(ran: Ran, name: &str) {
    assert_eq!(ran.report()["outcome"]["syscall"], name, "{ran}");
    is_killed(ran.complains_in_one_line(&[&format!("system call {name} is denied")]));
}

#[track_caller]
fn is_killed(ran: Ran) {
    assert_eq!(ran.outcome(), "denied", "{ran}");
    assert!(!ran.text().contains("survived"), "{ran}");
    ran.exits(159);
}

/// The number of a call, which differs between the architectures.
fn number(name: &str) -> &'static str {
    match (name, cfg!(target_arch = "x86_64")) {
        ("ptrace", true) => "101",
        ("ptrace", false) => "117",
        ("getppid", true) => "110",
        ("getppid", false) => "173",
        (other, _) => panic!("{other} is not in the table"),
    }
}

fn a_call_that_is_killed_for_is_named() -> Promise {
    let profile = Profile::killing("SCMP_ACT_KILL_PROCESS", &["ptrace", "mkdir", "mkdirat"]);
    is_denied(profile.probe(&["call", number("ptrace")])?, "ptrace");
    let mkdir = if cfg!(target_arch = "x86_64") { "mkdir" } else { "mkdirat" };
    is_denied(run_reported(&["--seccomp", &profile.path()], &["mkdir", "/tmp/new"]), mkdir);
    let json = run(&["--json", "--seccomp", &profile.path()], &["mkdir", "/tmp/new"]).text();
    let json: serde_json::Value = serde_json::from_str(&json).expect("--json prints JSON");
    assert_eq!(json["outcome"], serde_json::json!({ "kind": "denied", "syscall": mkdir }));
    Ok(())
}

fn an_unknown_call_that_is_killed_for_is_numbered() -> Promise {
    let arch = std::env::consts::ARCH;
    is_denied(Profile::strict().probe(&["call", NO_CALL])?, &format!("{NO_CALL} ({arch})"));
    Ok(())
}

fn every_kind_of_kill_ends_the_run() -> Promise {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS"] {
        let profile = Profile::killing(action, &["getppid"]);
        is_denied(profile.probe(&["call", number("getppid")])?, "getppid");
    }
    let trap = Profile::killing("SCMP_ACT_TRAP", &["getppid"]);
    is_killed(trap.probe(&["call", number("getppid")])?);
    Ok(())
}

fn a_call_of_a_child_ends_the_run() -> Promise {
    let profile = Profile::killing("SCMP_ACT_KILL_PROCESS", &["getppid"]);
    is_denied(profile.probe(&["child", number("getppid")])?, "getppid");
    Ok(())
}

fn a_call_of_a_thread_ends_the_run() -> Promise {
    let profile = Profile::killing("SCMP_ACT_KILL_THREAD", &["getppid"]);
    is_denied(profile.probe(&["thread", number("getppid")])?, "getppid");
    Ok(())
}

/// The name may be lost, the kill may not.
fn signals_do_not_save_from_a_kill() -> Promise {
    let profile = Profile::killing("SCMP_ACT_KILL_PROCESS", &["getppid"]);
    for _ in 0..10 {
        is_killed(profile.probe(&["dodge", number("getppid")])?);
    }
    Ok(())
}

fn a_filter_of_its_own_opens_nothing() -> Promise {
    let profile = Profile::killing("SCMP_ACT_KILL_PROCESS", &["getppid"]);
    let ran = profile.probe(&["overrule", number("getppid")])?;
    assert_eq!(ran.text(), "survived -1 errno 7", "the call was made\n{ran}");
    Ok(())
}

fn foreign_calls_are_no_reason_to_kill() -> Promise {
    if !cfg!(target_arch = "x86_64") {
        return skip("only x86-64 has them");
    }
    let ran = Profile::strict().probe(&["int80"])?;
    if ran.outcome() == "signaled" {
        return skip("this kernel has no 32-bit gate");
    }
    assert_eq!(ran.prints(), "int80 -38\nx32 -38", "ENOSYS");
    Ok(())
}

/// The strict profile allows none of the calls that come before the program's first: the clock, the
/// look at where the program is.
fn our_own_calls_are_never_denied() -> Promise {
    let profile = Profile::strict();
    let flags = ["--seccomp", &profile.path()];
    run(&flags, &["no-such-program"]).exits(127).complains("no-such-program");
    let ran = profile.probe(&["call", NO_CALL])?;
    assert_eq!(ran.report()["outcome"]["kind"], "denied", "{ran}");
    Ok(())
}

fn under_another_listener_it_kills_without_a_name() -> Promise {
    let profile = Profile::killing("SCMP_ACT_KILL_PROCESS", &["getppid"]);
    let probe = Probe::get()?;
    let listener = probe.dir().join("denied").display().to_string();
    let ran = probe
        .denied(&["--seccomp", &profile.path()], &["call", number("getppid")])
        .under(&[&listener, "listen"])
        .reported()
        .run();
    assert!(ran.report()["outcome"]["syscall"].is_null(), "{ran}");
    is_killed(ran);
    Ok(())
}

fn a_filter_that_kills_leaves_the_limit_of_processes_exact() -> Promise {
    let profile = Profile::killing("SCMP_ACT_KILL_PROCESS", &["getppid"]);
    let flags = ["--seccomp", &profile.path(), "--pids-limit", "16"];
    let ran = Probe::get()?.bomb(&flags, &["threads"]).run();
    if ran.status.code() == Some(99) {
        return skip(ran.stderr);
    }
    assert_eq!(ran.text(), "15 errno 11", "EAGAIN\n{ran}");
    Ok(())
}
