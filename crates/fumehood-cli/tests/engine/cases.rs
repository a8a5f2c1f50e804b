//! The numbered cases of synchestra's `sandbox`, each run against a real engine.
//!
//! What cannot apply as it was written: Y-5 (`AutoRemove` passed through) is turned round, because
//! here every container goes by itself; Y-6 to Y-8 read an archive that is not there any more, so
//! they are about the files that it stood for; Y-10 is about the attempt, and in `real.rs`
//! about a registry of the tests' own; the volume of Y-16 and Y-17 does not exist, which is what they look at.

use serde_json::{Value, json};

use crate::daemons::{DEMANDING, Engine, IMAGE};
use crate::fumehood::{command, job, report, run, stderr, stdout};
use crate::y::{Job, Limits, archive};

/// Runs a job that waits, and gives the engine's own account of its container.
fn inspected(engine: &Engine, lowered: &Value) -> Value {
    let mut lowered = lowered.clone();
    lowered["args"] = json!(["sleep", "60"]);
    let mut child = command(engine, &["run", "--job", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, lowered.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let found = engine.inspect_first();
    drop(child.kill());
    drop(child.wait());
    // Killed with -9, it left its container to gc.
    let swept = command(engine, &["gc"]).output().expect("it starts");
    assert!(swept.status.success(), "{}", stderr(&swept));
    engine.has_nothing_left();
    found
}

pub(crate) fn y_01_the_whole_specification_reaches_the_engine(engine: &Engine) {
    let dir = crate::daemons::fresh("bind");
    let source = dir.to_str().expect("it is text");
    let y = Job {
        cmd: &["true"],
        env: &[("A", "b")],
        mounts: &[(source, "/rw", false), (source, "/ro", true)],
        limits: Limits { cpus: 2.0, memory_mb: 1024, pids: 256, ..Limits::default() },
        ..Job::default()
    };
    let found = inspected(engine, &y.lowered(engine));
    drop(std::fs::remove_dir_all(dir));
    let (config, host) = (&found["Config"], &found["HostConfig"]);
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Tty"], false);
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["Memory"], 1_u64 << 30);
    assert_eq!(host["MemorySwap"], 1_u64 << 30, "no swap");
    assert_eq!(host["NanoCpus"], 2_000_000_000_u64);
    assert_eq!(host["PidsLimit"], 257, "and the init");
    assert_eq!(host["CapAdd"].as_array().map_or(0, Vec::len), 0);
    assert_eq!(host["Devices"].as_array().map_or(0, Vec::len), 0);
    let options = host["SecurityOpt"].to_string();
    assert!(options.contains("no-new-privileges"), "{options}");
    assert!(!options.contains("seccomp="), "{options}");
    if engine.name == "docker" {
        assert_eq!(host["CapDrop"], json!(["ALL"]));
    }
    let mounts = found["Mounts"].as_array().expect("a list");
    let writable = |target: &str| {
        let mount = mounts.iter().find(|mount| mount["Destination"] == target);
        mount.unwrap_or_else(|| panic!("{target}: {mounts:?}"))["RW"].clone()
    };
    assert_eq!((writable("/rw"), writable("/ro")), (json!(true), json!(false)));
}

pub(crate) fn y_02_there_is_no_network_unless_one_is_named(engine: &Engine) {
    let found = inspected(engine, &Job { cmd: &["true"], ..Job::default() }.lowered(engine));
    assert_eq!(found["HostConfig"]["NetworkMode"], "none", "theirs was a bridge");
    let report = report(engine, &[], &["cat", "/proc/net/dev"]);
    let devices = report["stdout"]["data"]["text"].as_str().expect("it is text").to_owned();
    let names: Vec<_> = devices.lines().filter_map(|line| line.split_once(':')).collect();
    assert!(names.iter().any(|(name, _)| name.trim() == "lo"), "{devices}");
    assert!(!names.iter().any(|(name, _)| name.trim().starts_with("eth")), "{devices}");
    assert_eq!(report["confinement"]["guarantees"]["network"]["state"], "held");
    let error = job(
        engine,
        &json!({
            "args": ["true"], "backend": engine.name, "root": { "image": IMAGE },
            "network": { "named": "container:other" },
        }),
        &[],
    );
    assert!(error.to_string().contains("network.named"), "{error}");
}

pub(crate) fn y_03_no_limit_is_zero_and_the_walls_stand_by_default(engine: &Engine) {
    let found = inspected(engine, &Job { cmd: &["true"], ..Job::default() }.lowered(engine));
    let host = &found["HostConfig"];
    assert_eq!(host["PidsLimit"], 65, "64 and the init; theirs was unlimited");
    assert_eq!(host["Memory"], 512_u64 << 20);
    assert_eq!(host["ReadonlyRootfs"], true);
    let (config, options) = (&found["Config"], host["SecurityOpt"].to_string());
    assert!(options.contains("no-new-privileges"), "{options}");
    assert_eq!(config["User"], "65532:65532");
}

pub(crate) fn y_04_the_program_is_nobody_s_user(engine: &Engine) {
    let output = run(engine, &[], &["id"]);
    assert!(stdout(&output).starts_with("uid=65532"), "{}", stdout(&output));
    assert!(!stdout(&output).contains("root"), "{}", stdout(&output));
    let owned = run(engine, &[], &["sh", "-c", "cat /proc/self/status"]);
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(stdout(&owned).contains(line), "{line}: {}", stdout(&owned));
    }
    assert!(stdout(&owned).contains("Seccomp:\t2"), "{}", stdout(&owned));
}

pub(crate) fn y_05_a_container_goes_by_itself(engine: &Engine) {
    let found = inspected(engine, &Job { cmd: &["true"], ..Job::default() }.lowered(engine));
    assert_eq!(found["HostConfig"]["AutoRemove"], true);
}

pub(crate) fn y_06_a_file_is_brought_back_byte_by_byte(engine: &Engine) {
    let y = Job {
        cmd: &["sh", "-c", r"printf '\377\0x' > /workspace/bytes"],
        collect: &["/workspace/bytes"],
        ..Job::default()
    };
    let artifacts = y.run_once(engine).expect("it runs").artifacts;
    assert_eq!(artifacts["bytes"], b"\xff\0x");
}

pub(crate) fn y_07_what_is_not_there_is_left_out_and_named(engine: &Engine) {
    let said = report(engine, &["--collect", "/workspace/none"], &["true"]);
    assert_eq!(said["outcome"], json!({ "kind": "exited", "code": 0 }));
    assert!(said.get("artifacts").is_none(), "{said}");
    assert_eq!(said["skipped"][0]["reason"], "missing");
}

pub(crate) fn y_08_a_directory_stands_for_its_files(engine: &Engine) {
    let y = Job {
        cmd: &[
            "sh",
            "-c",
            "mkdir -p d/e && echo 1 > d/f && echo 2 > d/e/f && ln -s /etc/passwd d/l",
        ],
        collect: &["d"],
        ..Job::default()
    };
    let artifacts = y.run_once(engine).expect("it runs").artifacts;
    let names: Vec<_> = artifacts.keys().map(String::as_str).collect();
    assert_eq!(names, ["d/e/f", "d/f"], "no link is followed");
}

pub(crate) fn y_09_a_run_gives_code_output_and_artifacts_and_leaves_nothing(engine: &Engine) {
    let before = engine.volumes();
    let y = Job {
        cmd: &["sh", "-c", "echo out; echo err >&2; echo data > /tmp/file"],
        collect: &["/tmp/file", "/tmp/other"],
        ..Job::default()
    };
    let result = y.run_once(engine).expect("it runs");
    assert_eq!((result.exit_code, result.timed_out), (0, false));
    assert_eq!(result.logs, "out\nerr\n");
    assert_eq!(result.artifacts.len(), 1);
    assert_eq!(result.artifacts["/tmp/file"], b"data\n", "from memory, which a stop would empty");
    engine.has_nothing_left();
    assert_eq!(engine.volumes(), before);
}

pub(crate) fn y_10_an_image_that_is_absent_is_pulled(engine: &Engine) {
    let args =
        ["run", "--backend", engine.name, "--image", "registry.invalid/none:1", "--", "true"];
    let output = command(engine, &args).output().expect("it starts");
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("is not there and cannot be pulled"), "{said}");
    assert!(said.contains("registry.invalid"), "it was tried: {said}");
    engine.has_nothing_left();
}

pub(crate) fn y_11_a_code_that_is_not_zero_is_a_result(engine: &Engine) {
    for code in [2, 125, 126, 127, 137, 255] {
        let script = format!("exit {code}");
        let y = Job { cmd: &["sh", "-c", &script], ..Job::default() };
        assert_eq!(y.run_once(engine).expect("it runs").exit_code, code);
    }
    let killed = report(engine, &[], &["sh", "-c", "kill -9 $$"]);
    assert_eq!(killed["outcome"], json!({ "kind": "signaled", "signal": 9 }), "no exit with 137");
}

pub(crate) fn y_12_a_timeout_is_a_result_with_what_was_printed(engine: &Engine) {
    let y = Job {
        cmd: &["sh", "-c", "echo early; echo kept > f; trap '' TERM; sleep 60"],
        collect: &["f"],
        limits: Limits { timeout_ms: 4000, ..Limits::default() },
        ..Job::default()
    };
    let result = y.run_once(engine).expect("a timeout is no error");
    assert_eq!((result.exit_code, result.timed_out), (-1, true));
    assert_eq!(result.logs, "early\n");
    assert_eq!(result.artifacts["f"], b"kept\n");
    engine.has_nothing_left();
}

pub(crate) fn y_14_an_archive_goes_to_its_directory_and_is_the_program_s(engine: &Engine) {
    let y = Job {
        cmd: &[
            "sh",
            "-c",
            "cat sub/in; echo more >> sub/in && echo new > sub/new && cat sub/in sub/new",
        ],
        input_tar: Some(archive(&[("sub/in", "given\n")])),
        input_dir: Some("/work"),
        work_dir: Some("/work"),
        ..Job::default()
    };
    let result = y.run_once(engine).expect("it runs");
    assert_eq!(result.logs, "given\ngiven\nmore\nnew\n", "files and directories can be changed");
    assert_eq!(result.exit_code, 0);
}

pub(crate) fn y_15_without_an_archive_nothing_is_there(engine: &Engine) {
    let y = Job { cmd: &["ls", "-A", "/workspace"], ..Job::default() };
    assert_eq!(y.run_once(engine).expect("it runs").logs, "");
}

pub(crate) fn y_16_an_archive_that_is_refused_leaves_no_container(engine: &Engine) {
    let mut bad = archive(&[("aa/escape", "x")]);
    bad.splice(0..9, *b"../escape");
    let sum = checksum(&bad[..512]);
    bad.splice(148..156, sum.into_bytes());
    let y = Job { cmd: &["true"], input_tar: Some(bad), ..Job::default() };
    let error = y.run_once(engine).expect_err("a name leads out");
    assert!(error.contains("inputs[0]") && error.contains("escape"), "{error}");
    engine.has_nothing_left();
    let twice = archive(&[("same", "1"), ("same", "2")]);
    let y = Job { cmd: &["true"], input_tar: Some(twice), ..Job::default() };
    let error = y.run_once(engine).expect_err("the inside refuses a name that is there");
    assert!(error.contains("is there already"), "{error}");
    engine.has_nothing_left();
}

fn checksum(header: &[u8]) -> String {
    let bytes = header.iter().enumerate();
    let sum: u32 = bytes
        .map(|(at, &byte)| u32::from(if (148..156).contains(&at) { b' ' } else { byte }))
        .sum();
    format!("{sum:06o}\0 ")
}

pub(crate) fn y_17_inputs_need_no_volume(engine: &Engine) {
    let before = engine.volumes();
    let y = Job {
        cmd: &["true"],
        input_tar: Some(archive(&[("in", "x")])),
        input_dir: Some("/work"),
        ..Job::default()
    };
    let found = inspected(engine, &y.lowered(engine));
    let volumes = found["Mounts"].as_array().expect("a list").iter();
    assert_eq!(volumes.filter(|mount| mount["Type"] == "volume").count(), 0);
    assert_eq!(engine.volumes(), before);
}

pub(crate) fn y_18_the_workspace_is_in_memory_and_executes(engine: &Engine) {
    let script = "grep ' /workspace ' /proc/self/mountinfo; cp /bin/busybox echo; ./echo ran; \
                  cp /bin/busybox /tmp/echo; /tmp/echo too";
    let output = run(engine, &[], &["sh", "-c", script]);
    let said = stdout(&output);
    let line = said.lines().find(|line| line.contains(" /workspace ")).expect("it is a mount");
    assert!(line.contains("tmpfs") && line.contains("size=262144k"), "{line}");
    assert!(line.contains("nosuid") && !line.contains("noexec"), "{line}");
    assert!(said.ends_with("ran\ntoo\n"), "{said}{}", stderr(&output));
}

pub(crate) fn y_19_another_input_directory_is_writable_memory(engine: &Engine) {
    let y = Job {
        cmd: &["sh", "-c", "echo x > /work/f && cat /work/f && cat /proc/self/mountinfo"],
        input_dir: Some("/work"),
        ..Job::default()
    };
    let result = y.run_once(engine).expect("it runs");
    assert_eq!(result.exit_code, 0, "{}", result.logs);
    assert!(result.logs.contains(" /work rw,nosuid,nodev"), "{}", result.logs);
}

pub(crate) fn y_20_a_directory_in_the_workspace_is_no_mount_of_its_own(engine: &Engine) {
    let y = Job {
        cmd: &["sh", "-c", "cat /workspace/a/b/in; cat /proc/self/mountinfo"],
        input_tar: Some(archive(&[("in", "given\n")])),
        input_dir: Some("/workspace/a/b"),
        ..Job::default()
    };
    let result = y.run_once(engine).expect("it runs");
    assert!(result.logs.starts_with("given\n"), "{}", result.logs);
    assert!(!result.logs.contains(" /workspace/a"), "{}", result.logs);
}

pub(crate) fn y_21_inject_run_and_collect(engine: &Engine) {
    let script = "cat /work/input.txt; echo hello-stdout; echo cov-data > /work/coverage.out";
    let y = Job {
        cmd: &["sh", "-c", script],
        input_tar: Some(archive(&[("input.txt", "injected-source\n")])),
        input_dir: Some("/work"),
        work_dir: Some("/work"),
        collect: &["/work/coverage.out"],
        limits: Limits {
            cpus: 1.0,
            memory_mb: 256,
            pids: 128,
            timeout_ms: 60_000,
            network: "none",
        },
        ..Job::default()
    };
    let result = y.run_once(engine).expect("it runs");
    assert_eq!(result.exit_code, 0);
    assert_eq!(result.logs, "injected-source\nhello-stdout\n");
    assert_eq!(result.artifacts["coverage.out"], b"cov-data\n");
}

pub(crate) fn what_an_image_demands_does_not_weaken_the_walls(engine: &Engine) {
    let args = ["run", "--backend", engine.name, "--image", DEMANDING];
    let output = command(engine, &args).output().expect("it starts");
    assert_eq!(stdout(&output), "entry command\n", "{}", stderr(&output));
    let script = "echo $GREETING; pwd; id; cat /proc/self/mountinfo";
    let shell = [&args[..], &["--entrypoint", "sh", "--", "-c", script]].concat();
    let output = command(engine, &shell).output().expect("it starts");
    let said = stdout(&output);
    assert!(said.starts_with("hello\n/srv\nuid=65532"), "{said}{}", stderr(&output));
    let volume = said.lines().find(|line| line.contains(" /vol ")).expect("it is a mount");
    assert!(volume.contains("tmpfs"), "a volume would outlive the run: {volume}");
}
