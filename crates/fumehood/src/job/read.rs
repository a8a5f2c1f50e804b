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
const MOUNT: &[&str] = &["source", "target", "access", "optional", "as_owner", "upper"];
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
    if !matches!(job.root, Root::Image { .. } | Root::Bundle(_)) {
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
    fields.read("upper", &mut mount.upper, |node| path(node).map(Some))?;
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
#[path = "read_tests.rs"]
mod tests;
