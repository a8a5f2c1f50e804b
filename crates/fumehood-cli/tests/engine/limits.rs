//! Limits, and how an end is told.

use serde_json::{Value, json};

use crate::daemons::Engine;
use crate::fumehood::{report, run, stderr, stdout};

fn outcome(said: &Value) -> &Value {
    assert!(said.get("outcome").is_some(), "{said}");
    &said["outcome"]
}

fn standing<'a>(said: &'a Value, guarantee: &str) -> &'a Value {
    &said["confinement"]["guarantees"][guarantee]["state"]
}

pub(crate) fn memory_is_limited_and_told(engine: &Engine) {
    let greedy = "x=a; while :; do x=$x$x; done";
    let said = report(engine, &["--memory", "32MiB"], &["sh", "-c", greedy]);
    assert_eq!(outcome(&said)["kind"], "out-of-memory");
    assert_eq!(standing(&said, "memory"), "held");
    let peak = said["usage"]["peak_memory"]["value"].as_u64().expect("it is counted");
    assert!(peak <= 32 << 20, "{peak}");
}

pub(crate) fn what_a_child_costs_is_the_program_s(engine: &Engine) {
    let script = "sh -c 'x=a; while :; do x=$x$x; done'; echo survived; sleep 20";
    let said = report(engine, &["--memory", "32MiB"], &["sh", "-c", script]);
    assert_eq!(outcome(&said)["kind"], "out-of-memory", "the rest goes with the child");
}

pub(crate) fn processes_are_limited_and_told(engine: &Engine) {
    let bomb = "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; wait";
    let said = report(engine, &["--pids-limit", "20"], &["sh", "-c", bomb]);
    assert_eq!(outcome(&said)["kind"], "pids-limit");
    assert_eq!(standing(&said, "pids"), "held");
}

pub(crate) fn cpu_time_is_limited_for_all_together(engine: &Engine) {
    let script = "while :; do :; done & while :; do :; done & wait";
    let said = report(engine, &["--cpu-time", "600ms", "--timeout", "50s"], &["sh", "-c", script]);
    assert_eq!(*outcome(&said), json!({ "kind": "timed-out", "limit": "cpu" }));
}

/// Process 1 watches it, which the program can signal, and is of the same user as. Without it there is a limit for
/// each process, of two seconds more.
pub(crate) fn the_watch_over_cpu_time_cannot_be_put_off(engine: &Engine) {
    let signals = "while :; do kill -WINCH 1; done & while :; do :; done & while :; do :; done";
    let orphans = "while :; do (true &); done & while :; do :; done & while :; do :; done";
    let schedule = "renice -n 19 -p 1 && echo changed; renice -n 19 -u 65532 && echo changed
                    ionice -c 3 -p 1 && echo changed; taskset -p 1 1 && echo changed
                    while :; do :; done & while :; do :; done";
    for script in [signals, orphans, schedule] {
        let flags = ["--cpu-time", "600ms", "--timeout", "50s"];
        let said = report(engine, &flags, &["sh", "-c", script]);
        assert_eq!(*outcome(&said), json!({ "kind": "timed-out", "limit": "cpu" }));
        assert_eq!(standing(&said, "cpu-time"), "held");
        let text = said["stdout"]["data"]["text"].as_str().expect("it is text");
        assert!(!text.contains("changed"), "{said}");
        let figure = |name: &str| said["usage"][name]["value"].as_u64().expect("it is counted");
        let used = figure("user_us") + figure("system_us");
        assert!(used < 2_500_000, "{used} us: {script}");
    }
}

pub(crate) fn output_is_limited_while_it_flows(engine: &Engine) {
    let said = report(engine, &["--output-limit", "4KiB"], &["yes"]);
    assert_eq!(*outcome(&said), json!({ "kind": "output-limit", "stream": "stdout" }));
    let kept = said["stdout"]["data"]["text"].as_str().expect("it is text").len();
    assert_eq!(kept, 4096);
}

pub(crate) fn scratch_is_limited(engine: &Engine) {
    let script = "dd if=/dev/zero of=/workspace/big bs=1024 count=2048 2>&1; ls -l /workspace";
    let said = report(engine, &["--workspace-size", "1MiB"], &["sh", "-c", script]);
    let text = said["stdout"]["data"]["text"].as_str().expect("it is text");
    assert!(text.contains("No space left on device"), "{text}");
    assert_eq!(standing(&said, "disk"), "held");
}

/// What the report says of it is what was found there, and that is no more than is so.
pub(crate) fn shared_memory_is_limited_in_files_too(engine: &Engine) {
    let script = "i=0; while [ $i -lt 300 ] && touch /dev/shm/$i; do i=$((i+1)); done; echo $i";
    let flags = if engine.name == "docker" { &["--inodes", "100"][..] } else { &[][..] };
    let said = report(engine, flags, &["sh", "-c", script]);
    let made = said["stdout"]["data"]["text"].as_str().expect("it is text").trim().to_owned();
    let by = said["confinement"]["guarantees"]["disk"]["by"].to_string();
    if engine.name == "docker" {
        assert_eq!(made, "99", "its root is one of them: {said}");
        assert!(by.contains("nr_inodes, 100 each"), "{by}");
    } else {
        assert_eq!(made, "300", "{said}");
        assert!(by.contains("inodes only as memory"), "{by}");
    }
}

pub(crate) fn nothing_else_can_be_written(engine: &Engine) {
    let script = "for d in / /etc /bin /srv /var /run /dev /sys /proc; do touch $d/x && echo $d; done; \
                  true";
    let output = run(engine, &[], &["sh", "-c", script]);
    assert_eq!(stdout(&output), "", "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0));
}

pub(crate) fn a_program_that_is_not_there_is_told_from_one_that_exits_with_127(engine: &Engine) {
    for (program, code, kind) in [
        ("nonesuch", 127, "program-not-found"),
        ("/nonesuch", 127, "program-not-found"),
        ("/etc/passwd", 126, "program-not-executable"),
    ] {
        let said = report(engine, &[], &[program]);
        assert_eq!(said["error"]["kind"], kind, "{said}");
        let output = run(engine, &[], &[program]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    }
}

pub(crate) fn the_init_is_out_of_the_program_s_reach(engine: &Engine) {
    let script = "kill -9 1; kill -STOP 1; cat /proc/1/environ /proc/1/mem; ls /proc/1/fd/; echo x > \
                  /proc/1/fd/1; exit 5";
    let output = run(engine, &[], &["sh", "-c", script]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}

pub(crate) fn nobody_outlives_the_program(engine: &Engine) {
    let script = "(trap '' TERM HUP; sleep 55) & (sleep 55) & echo done";
    let started = std::time::Instant::now();
    let said = report(engine, &["--timeout", "50s"], &["sh", "-c", script]);
    assert_eq!(*outcome(&said), json!({ "kind": "exited", "code": 0 }));
    assert!(started.elapsed().as_secs() < 50, "it waited for orphans that hold its output");
    engine.has_nothing_left();
}

pub(crate) fn standard_input_reaches_the_program_and_ends(engine: &Engine) {
    let job = json!({
        "args": ["wc", "-c"], "backend": engine.name, "root": { "image": crate::daemons::IMAGE },
        "stdin": { "text": "x".repeat(300_000) },
    });
    let said = crate::fumehood::job(engine, &job, &[]);
    assert_eq!(said["stdout"]["data"]["text"], "300000\n", "{said}");
}

pub(crate) fn a_guarantee_that_no_engine_holds_is_refused(engine: &Engine) {
    for guarantee in ["landlock", "kernel-boundary"] {
        let output = run(engine, &["--require", guarantee], &["true"]);
        assert_eq!(output.status.code(), Some(99), "{guarantee}: {}", stderr(&output));
        assert!(stderr(&output).contains(guarantee));
        engine.has_nothing_left();
    }
}

pub(crate) fn signals_reach_the_program(engine: &Engine) {
    let head = ["run", "--backend", engine.name, "--image", crate::daemons::IMAGE];
    let args = [&head[..], &["--timeout", "50s", "--grace", "40s", "--", "sh", "-c"]].concat();
    let script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done";
    let mut child = crate::fumehood::command(engine, &[&args[..], &[script]].concat())
        .spawn()
        .expect("it starts");
    let mut stdout = child.stdout.take().expect("it is piped");
    let mut line = [0; 6];
    std::io::Read::read_exact(&mut stdout, &mut line).expect("it says that it is ready");
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let signal = rustix::process::Signal::INT;
    rustix::process::kill_process(pid.expect("it has one"), signal).expect("it runs");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut rest).expect("it is text");
    assert_eq!(child.wait().expect("it ends").code(), Some(7));
    assert_eq!(rest, "caught\n");
}
