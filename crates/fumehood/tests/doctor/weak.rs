//! Runs without a process namespace: what they started ends with them, and nothing else does.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::host::Host;
use crate::{BASE, check, trial};

/// Leaves two processes behind: one in the program's group, one in a session of its own.
const LITTER: &str = "sleep $0 & setsid sleep $0 & exec sleep $0";

/// A host that lacks a process namespace: a name, the host, and what must be waived there.
type Place = (&'static str, fn() -> Host, &'static [&'static str]);

pub(crate) fn trials() -> Vec<Trial> {
    let places: [Place; 2] = [
        ("without_namespaces", || Host::limited("user"), &BASE),
        ("without_a_process_namespace", || Host::limited("pid"), &["processes"]),
    ];
    let both = places.into_iter().flat_map(|(name, host, waive)| {
        [
            trial(&format!("{name}_everything_ends_with_the_program"), move || {
                ends_with_the_program(&host(), waive)
            }),
            trial(&format!("{name}_everything_ends_with_a_killed_supervisor"), move || {
                ends_with_the_supervisor(&host(), waive)
            }),
        ]
    });
    both.collect()
}

fn ends_with_the_program(host: &Host, waive: &[&str]) -> Result<(), Failed> {
    let (mark, bystanders) = (mark("1"), mark("2"));
    let mut bystander = start(&bystanders)?;
    let script =
        "sleep $0 & setsid sleep $0 & while [ $(pgrep -fcx \"sleep $0\") -lt 2 ]; do :; done";
    let report = host.run(waive, &["sh", "-c", script, &mark]).report();
    let left = processes(&mark);
    let alive = bystander.try_wait()?.is_none();
    bystander.kill()?;
    bystander.wait()?;
    report?;
    check(left == 0, format!("{left} processes are left"))?;
    check(alive, "a process outside the run was killed")
}

/// A process of the same user that has nothing to do with the run.
fn start(seconds: &str) -> Result<Child, Failed> {
    let mut command = Command::new("sleep");
    command.arg(seconds);
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    Ok(command.process_group(0).spawn()?)
}

fn ends_with_the_supervisor(host: &Host, waive: &[&str]) -> Result<(), Failed> {
    let mark = mark("3");
    let waived = waive.join(",");
    let mut command = host.command(&["__run", &waived, "sh", "-c", LITTER, &mark]);
    let mut supervisor = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let began = until(|| processes(&mark) == 3);
    supervisor.kill()?;
    supervisor.wait()?;
    let ended = until(|| processes(&mark) == 0);
    check(began, "the program did not start")?;
    check(ended, "processes outlive their supervisor")
}

/// Seconds that no other process sleeps.
fn mark(which: &str) -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("9{which}{count}{:07}", std::process::id())
}

/// How many processes sleep that long.
fn processes(mark: &str) -> usize {
    let cmdline = format!("sleep\0{mark}\0");
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == cmdline.as_bytes())
    })
    .count()
}

/// Waits for something that takes milliseconds, for longer than any machine needs.
fn until(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(5));
    }
    true
}
