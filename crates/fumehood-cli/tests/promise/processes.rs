//! What the program sees of other processes, and what is left of its own.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    Feed, Fumehood, Probe, Promise, TempDir, Verdict, host_tool, marker, promises, run, slowness,
    wait_until_gone,
};

promises![
    cannot_see_a_host_process,
    the_program_is_not_the_init,
    cannot_signal_a_host_process,
    cannot_touch_the_init,
    cannot_read_the_caller_s_environment,
    cannot_see_shared_memory_of_the_host,
    orphans_are_reaped,
    a_descendant_does_not_outlive_the_program,
    a_daemon_does_not_outlive_the_program,
    a_signal_to_fumehood_reaches_the_program,
    many_forks_work,
];

fn cannot_see_a_host_process() -> Promise {
    let script = "for dir in /proc/[0-9]*; do echo ${dir#/proc/}; done";
    let pids = run(&[], &["sh", "-c", script]).prints();
    // The shell, the init where it is not hidden, and at most one that is being reaped.
    assert!((1..=3).contains(&pids.lines().count()), "{pids}");
    assert!(pids.lines().all(|pid| pid.parse::<u32>().is_ok_and(|pid| pid < 64)), "{pids}");
    let ours = std::process::id().to_string();
    assert!(pids.lines().all(|pid| pid != ours), "{pids}");
    Ok(())
}

fn the_program_is_not_the_init() -> Promise {
    assert_ne!(run(&[], &["sh", "-c", "echo $$"]).prints(), "1");
    // A program that is the init survives this.
    run(&[], &["sh", "-c", "kill -TERM $$"]).exits(143);
    Ok(())
}

fn cannot_signal_a_host_process() -> Promise {
    let word = marker();
    let mut sleeper = Command::new("sh")
        .args(["-c", "read line", &word])
        .stdin(Stdio::piped())
        .spawn()
        .expect("every host has a shell");
    let script = format!("kill -KILL {} && echo killed; echo tried", sleeper.id());
    let ran = run(&[], &["sh", "-c", &script]);
    let alive = sleeper.try_wait().expect("it is ours").is_none();
    drop(sleeper.stdin.take());
    sleeper.wait().expect("it is ours");
    assert!(alive, "a process of the host was killed\n{ran}");
    assert_eq!(ran.prints(), "tried");
    Ok(())
}

fn cannot_touch_the_init() -> Promise {
    for (name, verdict) in Probe::get()?.verdicts(&["others"]) {
        // PID 1 ignores a signal of its own namespace: the call itself may succeed.
        let harmless = name == "kill-init" && verdict == Verdict::Done;
        assert!(harmless || matches!(verdict, Verdict::Errno(_)), "{name}: {verdict:?}");
    }
    Ok(())
}

fn cannot_read_the_caller_s_environment() -> Promise {
    let secret = marker();
    let script = "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'";
    let ran = Fumehood::new(&[], &["sh", "-c", script]).env("A_TOKEN_OF_MINE", &secret).run();
    assert!(ran.text().contains("HOME=/tmp"), "the program sees not even its own\n{ran}");
    assert!(!ran.text().contains(&secret), "the caller's environment is seen inside\n{ran}");
    assert!(!ran.text().contains("FUMEHOOD_END"), "the init's token is seen inside\n{ran}");
    Ok(())
}

/// Segments of System V shared memory are named by numbers that anybody may guess.
fn cannot_see_shared_memory_of_the_host() -> Promise {
    let (make, remove) = (host_tool("ipcmk")?, host_tool("ipcrm")?);
    host_tool("ipcs")?;
    let made = Command::new(make).args(["-M", "4096", "-p", "0666"]).output().expect("it exists");
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    let id = text.rsplit(' ').next().unwrap_or_default().trim();
    let script = "ipcs -m | grep ^0x; tail -n +2 /proc/sysvipc/shm; echo looked";
    let ran = run(&[], &["sh", "-c", script]);
    let removed = Command::new(remove).args(["-m", id]).status().expect("it exists");
    assert!(removed.success(), "no segment was made: {text}");
    assert_eq!(ran.prints(), "looked", "segments are seen");
    Ok(())
}

fn orphans_are_reaped() -> Promise {
    // One that has ended a moment ago may still wait for the init to run.
    let script = "i=0; while [ $i -lt 20 ]; do (sh -c 'exit 0' & exec true); i=$((i+1)); done
        sleep 0.5; tries=0
        while grep -l '^State:.Z' /proc/[0-9]*/status >/tmp/left 2>/dev/null && [ $tries -lt 100 ]
        do sleep 0.1; tries=$((tries+1)); done; cat /tmp/left; echo looked";
    let ran = run(&["--timeout", "50s"], &["sh", "-c", script]);
    assert_eq!(ran.prints(), "looked", "zombies are left");
    Ok(())
}

fn a_descendant_does_not_outlive_the_program() -> Promise {
    let word = marker();
    let ran = run(&[], &["sh", "-c", "sh -c 'sleep 600; :' $0 & echo started", &word]);
    assert_eq!(ran.prints(), "started");
    wait_until_gone(&word);
    Ok(())
}

fn a_daemon_does_not_outlive_the_program() -> Promise {
    host_tool("setsid")?;
    let word = marker();
    let script = "trap '' HUP TERM; setsid -f sh -c 'trap \"\" HUP TERM; sleep 600; :' $0 \
        </dev/null >/dev/null 2>&1; echo started";
    assert_eq!(run(&[], &["sh", "-c", script, &word]).prints(), "started");
    wait_until_gone(&word);
    Ok(())
}

fn a_signal_to_fumehood_reaches_the_program() -> Promise {
    let (dir, word) = (TempDir::open_to_all(), marker());
    let script = "trap 'echo got it; exit 3' TERM; : >/shared/ready; while :; do sleep 0.05; done";
    // Without grace it would be killed before it has had a processor, if there are many who want one.
    let volume = dir.volume("/shared", "rw");
    let flags = ["--timeout", "50s", "--grace", "40s", "--volume", &volume];
    let live = Fumehood::new(&flags, &["sh", "-c", script, &word]).feed(Feed::Held).spawn();
    let end = Instant::now() + Duration::from_secs(60) * slowness();
    // Stopped most of the time, it mostly has not heard that the program runs when that says so.
    loop {
        live.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(5));
        if dir.join("ready").exists() {
            break;
        }
        assert!(Instant::now() < end, "the program does not begin");
        live.signal(Signal::CONT);
        std::thread::sleep(Duration::from_micros(500));
    }
    live.signal(Signal::TERM);
    live.signal(Signal::CONT);
    let ran = live.finish();
    assert!(ran.text().contains("got it"), "the program did not get the signal\n{ran}");
    wait_until_gone(&word);
    Ok(())
}

fn many_forks_work() -> Promise {
    let script = "i=0; while [ $i -lt 200 ]; do /bin/true || exit 1; i=$((i+1)); done; echo $i";
    assert_eq!(run(&[], &["sh", "-c", script]).prints(), "200");
    Ok(())
}
