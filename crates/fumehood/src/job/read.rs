//! Jobs from JSON and TOML.

use serde::de::{Deserialize, Deserializer, Error as _};

use super::node::{Document, Node};
use super::read_files::{collect, collect_to, input, input_limits};
use super::root;
use super::values::{
    access, backend, count, cpus, excess, guarantees, limit, names, network, path, seccomp, size,
    stdin, string, time,
};
use super::{
    Access, BackendName, Collect, CollectTo, Cpus, Env, Excess, Input, InputLimits, Job, Limit,
    Limits, Mount, Network, Root, Seccomp, Stdin, Tmpfs,
};
use crate::{ByteSize, Error, Result};

const JOB: &[&str] = &[
    "args",
    "env",
    "cwd",
    "stdin",
    "tty",
    "root",
    "mounts",
    "tmpfs",
    "inputs",
    "input_limits",
    "collect",
    "network",
    "hostname",
    "limits",
    "require",
    "waive",
    "seccomp",
    "backend",
];
const ENV: &[&str] = &["set", "inherit", "allow_secret"];
const MOUNT: &[&str] = &["source", "target", "access", "optional", "as_owner"];
const TMPFS: &[&str] = &["target", "size"];
const LIMITS: &[&str] = &[
    "wall_time",
    "cpu_time",
    "memory",
    "pids",
    "output",
    "output_excess",
    "file_size",
    "open_files",
    "workspace",
    "tmp",
    "inodes",
    "cpus",
    "grace",
];

impl Job {
    /// Reads a job from JSON. What it says is not judged yet: [`Job::validate`] does that.
    ///
    /// ```
    /// let error = fumehood::Job::from_json(r#"{"args": ["true"], "limits": {"memory": 100}}"#);
    /// assert_eq!(
    ///     error.unwrap_err().to_string(),
    ///     "invalid job: limits.memory: 100: has no unit; write 100MiB or 100B"
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidJob`](crate::ErrorKind::InvalidJob) for text that is not JSON, a field that is
    /// unknown, missing or given twice, and a value of the wrong form.
    pub fn from_json(text: &str) -> Result<Self> {
        let Document(value) = serde_json::from_str(text)
            .map_err(|error| Error::invalid("job", "JSON text", error.to_string()))?;
        job(&Node::root(&value))
    }

    /// Reads a job from TOML: the same fields and forms as in JSON.
    ///
    /// # Errors
    ///
    /// Those of [`Job::from_json`].
    pub fn from_toml(text: &str) -> Result<Self> {
        let Document(value) = toml::from_str(text).map_err(|error| {
            // The error's own text repeats the line, and with it what may be a secret.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            Error::invalid("job", "TOML text", format!("{} at line {line}", error.message()))
        })?;
        job(&Node::root(&value))
    }
}

/// For each type, `Deserialize` by the function that reads it.
macro_rules! deserialize {
    ($($type:ty: $read:expr;)*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let Document(value) = Document::deserialize(deserializer)?;
                $read(&Node::root(&value)).map_err(D::Error::custom)
            }
        }
    )*};
}

deserialize! {
    Job: job;
    Env: env;
    Stdin: stdin;
    Root: root::read;
    Mount: mount;
    Tmpfs: tmpfs;
    Input: input;
    InputLimits: input_limits;
    Collect: collect;
    CollectTo: collect_to;
    Access: access;
    Network: network;
    Limits: limits;
    Excess: excess;
    Cpus: cpus;
    ByteSize: size;
    Limit<ByteSize>: |node: &Node<'_>| limit(node, size);
    Seccomp: seccomp;
    BackendName: backend;
}

fn job(node: &Node<'_>) -> Result<Job> {
    let fields = node.fields_besides(JOB, "limits", LIMITS)?;
    let what = r#"the program and its arguments, such as ["python3", "main.py"]"#;
    let mut job = Job::new(Vec::<String>::new());
    fields.read("root", &mut job.root, root::read)?;
    fields.read("args", &mut job.args, |node| node.list(what, string))?;
    if !matches!(job.root, Root::Image { .. }) {
        fields.required("args", what)?;
    }
    fields.read("env", &mut job.env, env)?;
    fields.read("cwd", &mut job.cwd, path)?;
    fields.read("stdin", &mut job.stdin, stdin)?;
    fields.read("tty", &mut job.tty, Node::boolean)?;
    fields.read("mounts", &mut job.mounts, |node| node.list("a list of mounts", mount))?;
    fields.read("tmpfs", &mut job.tmpfs, |node| node.list("a list of directories", tmpfs))?;
    fields.read("inputs", &mut job.inputs, |node| node.list("a list of inputs", input))?;
    fields.read("input_limits", &mut job.input_limits, input_limits)?;
    fields.read("collect", &mut job.collect, collect)?;
    fields.read("network", &mut job.network, network)?;
    fields.read("hostname", &mut job.hostname, |node| Ok(node.text("a host name")?.to_owned()))?;
    fields.read("limits", &mut job.limits, limits)?;
    fields.read("require", &mut job.require, guarantees)?;
    fields.read("waive", &mut job.waive, guarantees)?;
    fields.read("seccomp", &mut job.seccomp, seccomp)?;
    fields.read("backend", &mut job.backend, backend)?;
    Ok(job)
}

fn env(node: &Node<'_>) -> Result<Env> {
    // Whoever writes a variable where `set` belongs must not find its value in a log.
    let fields = node.hide().fields(ENV)?;
    let mut env = Env::default();
    fields
        .read("set", &mut env.set, |node| node.entries("an object of names and values", string))?;
    fields.read("inherit", &mut env.inherit, |node| names(&node.show()))?;
    fields.read("allow_secret", &mut env.allow_secret, |node| names(&node.show()))?;
    Ok(env)
}

fn mount(node: &Node<'_>) -> Result<Mount> {
    let fields = node.fields(MOUNT)?;
    let source = path(&fields.required("source", "an absolute path on the host")?)?;
    let target = path(&fields.required("target", "an absolute path inside")?)?;
    let mut mount = Mount::new(source, target);
    fields.read("access", &mut mount.access, access)?;
    fields.read("optional", &mut mount.optional, Node::boolean)?;
    fields.read("as_owner", &mut mount.as_owner, Node::boolean)?;
    Ok(mount)
}

fn tmpfs(node: &Node<'_>) -> Result<Tmpfs> {
    let fields = node.fields(TMPFS)?;
    let target = path(&fields.required("target", "an absolute path inside")?)?;
    let mut tmpfs = Tmpfs { target, size: None };
    fields.read("size", &mut tmpfs.size, |node| limit(node, size).map(Some))?;
    Ok(tmpfs)
}

fn limits(node: &Node<'_>) -> Result<Limits> {
    let fields = node.fields(LIMITS)?;
    let mut limits = Limits::default();
    let l = &mut limits;
    fields.read("wall_time", &mut l.wall_time, |node| limit(node, time).map(Some))?;
    fields.read("cpu_time", &mut l.cpu_time, |node| limit(node, time).map(Some))?;
    fields.read("output_excess", &mut l.output_excess, excess)?;
    fields.read("cpus", &mut l.cpus, |node| limit(node, cpus).map(Some))?;
    fields.read("grace", &mut l.grace, |node| time(node).map(Some))?;
    for (name, slot) in [
        ("memory", &mut l.memory),
        ("output", &mut l.output),
        ("file_size", &mut l.file_size),
        ("workspace", &mut l.workspace),
        ("tmp", &mut l.tmp),
    ] {
        fields.read(name, slot, |node: &Node<'_>| limit(node, size).map(Some))?;
    }
    for (name, slot) in
        [("pids", &mut l.pids), ("open_files", &mut l.open_files), ("inodes", &mut l.inodes)]
    {
        fields.read(name, slot, |node| limit(node, count).map(Some))?;
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
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
            "wall_time": "1.5s", "cpu_time": "unlimited", "memory": "256M", "pids": 7,
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
            (
                r#""limits": {"memory": 100}"#,
                "limits.memory: 100: has no unit; write 100MiB or 100B",
            ),
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
            (
                r#""limits": {"pids": -1}"#,
                r#"limits.pids: -1: must be a whole number, or "unlimited""#,
            ),
            (r#""limits": {"cpus": 0.0001}"#, "limits.cpus: 0.0001: has more than three decimals"),
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
            (r#""network": "bridge""#, r#"network: "bridge": must be "none" or "host""#),
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
                r#"seccomp.profil: "/a": unknown field; did you mean "profile"?"#,
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
                r#"limits.memroy: 1: unknown field; did you mean "memory"?"#,
            ),
            (
                r#""limits": {"wall-time": 1}"#,
                r#"limits.wall-time: 1: unknown field; did you mean "wall_time"?"#,
            ),
            (r#""memory": "1G""#, r#"memory: "1G": unknown field; did you mean "limits.memory"?"#),
            (r#""mount": []"#, r#"mount: []: unknown field; did you mean "mounts"?"#),
        ] {
            assert_eq!(refusal(&format!(r#"{{"args": ["a"], {field}}}"#)), message);
        }
        assert!(refusal(r#"{"args": ["a"], "\u001b[2J": 1}"#).starts_with(r#"["\u{1b}[2J"]: 1: "#));
        let known = refusal(r#"{"args": ["a"], "zebra": 1}"#);
        assert!(known.starts_with("zebra: 1: unknown field; known are args, env, cwd,"), "{known}");
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
    fn a_field_that_is_given_twice_is_refused() {
        for json in [
            r#"{"args": ["a"], "network": "none", "network": "host"}"#,
            r#"{"args": ["a"], "limits": {"pids": 1, "pids": 2}}"#,
        ] {
            assert!(refusal(json).contains("is given twice at line 1"), "{json}");
        }
        assert!(Job::from_toml("args = ['a']\ntty = true\ntty = false").is_err());
    }
}
