use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::Guarantee;

fn refusal(json: &str) -> String {
    let text = Job::from_json(json).unwrap_err().to_string();
    text.strip_prefix("invalid job: ").unwrap().to_owned()
}

/// A job with everything that can be said, in JSON.
const FULL: &str = r#"{
    "args": ["sh", "-c", "exit 3"],
    "env": {"set": {"A": "b"}, "inherit": ["LC_ALL", "API_KEY"], "allow_secret": ["API_KEY"]},
    "cwd": "/task",
    "stdin": {"text": "hello\n"},
    "tty": true,
    "root": "host",
    "mounts": [
        {"source": "/srv/task", "target": "/task"},
        {"source": "/srv/out", "target": "/out", "access": "rw", "optional": true}
    ],
    "network": "host",
    "hostname": "box",
    "limits": {
        "wall_time": "1.5s", "cpu_time": "unlimited", "memory": "256M", "pids": 7.0,
        "output": "1KiB", "output_excess": "truncate", "file_size": "100B",
        "open_files": "unlimited", "workspace": "1GiB", "tmp": "unlimited", "inodes": 99,
        "cpus": 0.5, "grace": "1ms"
    },
    "require": ["landlock", "pids"],
    "waive": ["network"],
    "seccomp": {"profile": "/etc/profile.json"},
    "backend": "native"
}"#;

fn full() -> Job {
    Job::new(["sh", "-c", "exit 3"])
        .env("A", "b")
        .inherit_env("LC_ALL")
        .inherit_secret("API_KEY")
        .cwd("/task")
        .stdin("hello\n")
        .tty(true)
        .mount("/srv/task", "/task")
        .with_mount(Mount {
            access: Access::ReadWrite,
            optional: true,
            ..Mount::new("/srv/out", "/out")
        })
        .network(Network::Host)
        .hostname("box")
        .limits(|limits| {
            *limits = Limits {
                wall_time: Some(Duration::from_millis(1500).into()),
                cpu_time: Some(Limit::Unlimited),
                memory: Some(ByteSize::mib(256).into()),
                pids: Some(7.into()),
                output: Some(ByteSize::kib(1).into()),
                output_excess: Excess::Truncate,
                file_size: Some(ByteSize(100).into()),
                open_files: Some(Limit::Unlimited),
                workspace: Some(ByteSize::gib(1).into()),
                tmp: Some(Limit::Unlimited),
                inodes: Some(99.into()),
                cpus: Some(Cpus { milli: 500 }.into()),
                grace: Some(Duration::from_millis(1)),
            }
        })
        .require(Guarantee::Landlock)
        .require(Guarantee::Pids)
        .waive(Guarantee::Network)
        .seccomp(Seccomp::Profile("/etc/profile.json".into()))
}

#[test]
fn every_field_is_read_from_json() {
    assert_eq!(Job::from_json(FULL).unwrap(), full());
    assert_eq!(serde_json::from_str::<Job>(FULL).unwrap(), full());
}

#[test]
fn every_field_is_read_from_toml() {
    let toml = r#"
        args = ["sh", "-c", "exit 3"]
        cwd = "/task"
        stdin.text = "hello\n"
        tty = true
        root = "host"
        network = "host"
        hostname = "box"
        require = ["landlock", "pids"]
        waive = ["network"]
        seccomp = { profile = "/etc/profile.json" }
        backend = "native"
        env.inherit = ["LC_ALL", "API_KEY"]
        env.allow_secret = ["API_KEY"]
        [env.set]
        A = "b"
        [[mounts]]
        source = "/srv/task"
        target = "/task"
        [[mounts]]
        source = "/srv/out"
        target = "/out"
        access = "rw"
        optional = true
        [limits]
        wall_time = "1.5s"
        cpu_time = "unlimited"
        memory = "256M"
        pids = 7
        output = "1KiB"
        output_excess = "truncate"
        file_size = "100B"
        open_files = "unlimited"
        workspace = "1GiB"
        tmp = "unlimited"
        inodes = 99
        cpus = 0.5
        grace = "1ms"
    "#;
    assert_eq!(Job::from_toml(toml).unwrap(), full());
}

#[test]
fn a_job_is_read_back_as_it_was_written() {
    let limited = |change: fn(&mut Limits)| Job::new(["a"]).limits(change);
    for job in [
        full(),
        Job::new(["a"]),
        Job::new(["\u{1f600}", "\0", "\"", ""]),
        Job::new(["a"]).stdin(Stdin::Inherit),
        Job::new(["a"]).stdin(Stdin::File("/in".into())),
        Job::new(["a"]).stdin(""),
        Job::new(["a"]).stdin([0xff, 0, 0x80]),
        Job::new(["a"]).hostname("").cwd("relative"),
        limited(|limits| limits.cpus = Some(Limit::Unlimited)),
        limited(|limits| limits.cpus = Some(Cpus { milli: 3000 }.into())),
        limited(|limits| limits.cpus = Some(Cpus { milli: u32::MAX }.into())),
        limited(|limits| limits.pids = Some(u64::MAX.into())),
        limited(|limits| limits.memory = Some(ByteSize(u64::MAX).into())),
        limited(|limits| limits.wall_time = Some(Duration::MAX.into())),
        limited(|limits| limits.wall_time = Some(Duration::ZERO.into())),
        limited(|limits| limits.memory = Some(Limits::MEMORY)),
        Guarantee::ALL.into_iter().fold(Job::new(["a"]), Job::waive),
    ] {
        let json = serde_json::to_string(&job).unwrap();
        assert_eq!(Job::from_json(&json).unwrap(), job, "{json}");
    }
}

#[test]
fn defaults_are_not_written() {
    let json = serde_json::to_string(&Job::new(["a"])).unwrap();
    assert_eq!(json, r#"{"args":["a"]}"#);
    let job = Job::new(["a"]).limits(|limits| limits.pids = Some(2.into())).env("A", "b");
    let json = serde_json::to_string(&job).unwrap();
    assert_eq!(json, r#"{"args":["a"],"env":{"set":{"A":"b"}},"limits":{"pids":2}}"#);
}

/// Each job with one of the fields is refused with its message.
fn are_refused(cases: &[(&str, &str)]) {
    for (field, message) in cases {
        assert_eq!(refusal(&format!(r#"{{"args": ["a"], {field}}}"#)), *message);
    }
}

#[test]
fn an_error_in_a_limit_names_the_field_the_value_and_what_would_be_right() {
    are_refused(&[
        (r#""limits": {"memory": 100}"#, "limits.memory: 100: has no unit; write 100MiB or 100B"),
        (
            r#""limits": {"memory": "1MB"}"#,
            "limits.memory: \"1MB\": has the unit MB, which counts thousands to some and \
             1024s to others; write 1MiB",
        ),
        (
            r#""limits": {"memory": true}"#,
            r#"limits.memory: true: must be a size such as "256MiB""#,
        ),
        (
            r#""limits": {"wall_time": null}"#,
            "limits.wall_time: null: null is not a time such as \"10s\"; leave the field out \
             for the default",
        ),
        (r#""limits": {"grace": 1}"#, "limits.grace: 1: has no unit; write 1s or 1ms"),
        (
            r#""limits": {"pids": "7"}"#,
            r#"limits.pids: "7": must be a whole number, or "unlimited""#,
        ),
        (r#""limits": {"pids": -1}"#, r#"limits.pids: -1: must be a whole number, or "unlimited""#),
        (
            r#""limits": {"pids": 7.5}"#,
            r#"limits.pids: 7.5: must be a whole number, or "unlimited""#,
        ),
        (r#""limits": {"cpus": 0.0001}"#, "limits.cpus: 0.0001: has more than three decimals"),
        (r#""limits": {"cpus": 1e-7}"#, "limits.cpus: 1e-7: has more than three decimals"),
        (
            r#""limits": {"cpus": 1e30}"#,
            "limits.cpus: 1e+30: is too large; at most 4294967 CPUs can be counted",
        ),
        (
            r#""collect": {"paths": ["a"], "files": "unlimited"}"#,
            r#"collect.files: "unlimited": must be a whole number"#,
        ),
        (
            r#""input_limits": {"entries": "unlimited"}"#,
            r#"input_limits.entries: "unlimited": must be a whole number"#,
        ),
        (
            r#""limits": {"output_excess": "cut"}"#,
            r#"limits.output_excess: "cut": must be "kill" or "truncate""#,
        ),
    ]);
}

#[test]
fn an_error_names_the_field_the_value_and_what_would_be_right() {
    are_refused(&[
        (
            r#""mounts": [{"source": "/a", "target": "/b", "access": "r"}]"#,
            r#"mounts[0].access: "r": is unknown; did you mean "ro"?"#,
        ),
        (
            r#""mounts": [{"source": "/a", "target": "/b"}, {"source": "/a"}]"#,
            "mounts[1].target: (missing): must be an absolute path inside",
        ),
        (
            r#""require": ["pids", "landlok"]"#,
            r#"require[1]: "landlok": is unknown; did you mean "landlock"?"#,
        ),
        (
            r#""network": "bridge""#,
            r#"network: "bridge": must be "none", "host" or {"named": "NAME"}"#,
        ),
        (
            r#""stdin": {"text": "a", "file": "/b"}"#,
            r#"stdin: {"file":"/b","text":"a"}: must have exactly one field of text, base64, file"#,
        ),
        (
            r#""stdin": {"base64": "YQ"}"#,
            r#"stdin.base64: "YQ": is not base64 with padding: Invalid padding"#,
        ),
        (
            r#""stdin": "x""#,
            r#"stdin: "x": must be "none", "inherit", {"text": "…"}, {"base64": "…"} or {"file": "/path"}"#,
        ),
        (r#""seccomp": "off""#, r#"seccomp: "off": must be "default" or {"profile": "/path"}"#),
        (
            r#""seccomp": {"profil": "/a"}"#,
            r#"seccomp.profil: (value not shown): unknown field; did you mean "profile"?"#,
        ),
        (r#""tty": "yes""#, r#"tty: "yes": must be true or false"#),
        (r#""env": {"inherit": "HOME"}"#, r#"env.inherit: "HOME": must be a list of names"#),
    ]);
}

#[test]
fn an_unknown_field_is_refused_with_the_nearest_known_one() {
    for (field, message) in [
        (
            r#""limits": {"memroy": 1}"#,
            r#"limits.memroy: (value not shown): unknown field; did you mean "memory"?"#,
        ),
        (
            r#""limits": {"wall-time": 1}"#,
            r#"limits.wall-time: (value not shown): unknown field; did you mean "wall_time"?"#,
        ),
        (
            r#""memory": "1G""#,
            r#"memory: (value not shown): unknown field; did you mean "limits.memory"?"#,
        ),
        (r#""mount": []"#, r#"mount: (value not shown): unknown field; did you mean "mounts"?"#),
    ] {
        assert_eq!(refusal(&format!(r#"{{"args": ["a"], {field}}}"#)), message);
    }
    assert!(refusal(r#"{"args": ["a"], "\u001b[2J": 1}"#).starts_with(r#"["\u{1b}[2J"]: (value"#));
    let known = refusal(r#"{"args": ["a"], "zebra": 1}"#);
    assert!(
        known.starts_with("zebra: (value not shown): unknown field; known are args, env, cwd,"),
        "{known}"
    );
}

#[test]
fn the_value_of_a_variable_is_never_repeated() {
    for env in [
        r#"{"set": {"KEY": ["hunter2"]}}"#,
        r#"{"KEY": "hunter2"}"#,
        r#"{"set": "KEY=hunter2"}"#,
        r#""KEY=hunter2""#,
    ] {
        let message = refusal(&format!(r#"{{"args": ["a"], "env": {env}}}"#));
        assert!(message.contains("(value not shown)"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let misspelt = refusal(r#"{"args": ["a"], "enw": {"set": {"KEY": "hunter2"}}}"#);
    assert_eq!(misspelt, r#"enw: (value not shown): unknown field; did you mean "env"?"#);
    let toml = Job::from_toml("args = ['a']\nenv.set.KEY = \"hunter2").unwrap_err().to_string();
    assert!(!toml.contains("hunter2") && toml.contains("at line 2"), "{toml}");
}

#[test]
fn what_is_not_a_job_is_refused() {
    let args = r#"must be the program and its arguments, such as ["python3", "main.py"]"#;
    assert_eq!(refusal("{}"), format!("args: (missing): {args}"));
    assert_eq!(refusal(r#"{"args": "ls"}"#), format!(r#"args: "ls": {args}"#));
    assert_eq!(refusal(r#"{"args": ["a", 1]}"#), "args[1]: 1: must be a string");
    assert!(refusal("[]").starts_with("job: []: must be an object with args, env"));
    assert!(refusal("{").starts_with("job: JSON text: EOF while parsing"));
    assert!(refusal(r#"{"args": ["a"]} x"#).contains("trailing characters"));
    assert!(refusal(&"[".repeat(100_000)).contains("recursion limit"));
    let long = refusal(&format!(r#"{{"args": "{}"}}"#, "ä".repeat(1000)));
    assert!(long.chars().count() < 200, "{long}");
}

#[test]
fn the_schema_knows_the_same_fields() {
    let schema = crate::job_schema();
    let of = |schema: &serde_json::Value, known: &[&str]| {
        let fields = schema["properties"].as_object().unwrap();
        let fields: BTreeSet<_> = fields.keys().map(String::as_str).collect();
        assert_eq!(fields, known.iter().copied().collect());
        assert_eq!(schema["additionalProperties"], false);
    };
    of(&schema, JOB);
    of(&schema["$defs"]["Env"], ENV);
    of(&schema["$defs"]["Mount"], MOUNT);
    of(&schema["$defs"]["Tmpfs"], TMPFS);
    of(&schema["$defs"]["Limits"], LIMITS);
}

#[test]
fn the_schema_and_the_program_refuse_the_same() {
    let schema = crate::job_schema();
    let with = |field: &str| Job::from_json(&format!(r#"{{"args": ["a"], {field}}}"#));
    assert!(with(r#""waive": ["ipc", "ipc"], "env": {"inherit": ["A", "A"]}"#).is_ok());
    assert!(!schema.to_string().contains("uniqueItems"));
    assert!(with(r#""mounts": [{"source": "/a", "target": "/b", "upper": null}]"#).is_err());
    assert_eq!(schema["$defs"]["Mount"]["properties"]["upper"]["type"], "string");
    let most = &schema["$defs"]["Cpus"]["maximum"];
    assert!(with(&format!(r#""limits": {{"cpus": {most}}}"#)).is_ok());
    assert!(with(r#""limits": {"cpus": 4294967.296}"#).is_err());
}

#[test]
fn a_field_that_is_given_twice_is_refused() {
    for json in [
        r#"{"args": ["a"], "network": "none", "network": "host"}"#,
        r#"{"args": ["a"], "limits": {"pids": 1, "pids": 2}}"#,
    ] {
        assert!(refusal(json).contains("is given twice at line 1"), "{json}");
    }
    assert!(Job::from_toml("args = ['a']\ntty = true\ntty = false").is_err());
}
