//! Jobs from JSON and TOML.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::node::{Document, Node};
use super::{
    Access, BackendName, Cpus, Env, Excess, Job, Limit, Limits, Mount, Network, Root, Seccomp,
    Stdin,
};
use crate::{ByteSize, Error, Guarantee, ParseUnitError, Result, parse_duration};

const JOB: &[&str] = &[
    "args", "env", "cwd", "stdin", "tty", "root", "mounts", "network", "hostname", "limits",
    "require", "waive", "seccomp", "backend",
];
const ENV: &[&str] = &["set", "inherit", "allow_secret"];
const MOUNT: &[&str] = &["source", "target", "access", "optional"];
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
        job(Node::root(value))
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
        job(Node::root(value))
    }
}

/// For each type, `Deserialize` by the function that reads it.
macro_rules! deserialize {
    ($($type:ty: $read:expr;)*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let Document(value) = Document::deserialize(deserializer)?;
                $read(Node::root(value)).map_err(D::Error::custom)
            }
        }
    )*};
}

deserialize! {
    Job: job;
    Env: env;
    Stdin: stdin;
    Root: root;
    Mount: mount;
    Access: access;
    Network: network;
    Limits: limits;
    Excess: excess;
    Cpus: |node| cpus(&node);
    ByteSize: |node| size(&node);
    Limit<ByteSize>: |node| limit(&node, size);
    Seccomp: seccomp;
    BackendName: backend;
}

fn job(node: Node) -> Result<Job> {
    let mut fields = node.fields_besides(JOB, "limits", LIMITS)?;
    let what = r#"the program and its arguments, such as ["python3", "main.py"]"#;
    let args = fields.required("args", what)?;
    let mut job = Job::new(strings(args, what)?);
    fields.read("env", &mut job.env, env)?;
    fields.read("cwd", &mut job.cwd, path)?;
    fields.read("stdin", &mut job.stdin, stdin)?;
    fields.read("tty", &mut job.tty, |node| node.boolean())?;
    fields.read("root", &mut job.root, root)?;
    fields.read("mounts", &mut job.mounts, |node| {
        node.list("a list of mounts")?.into_iter().map(mount).collect()
    })?;
    fields.read("network", &mut job.network, network)?;
    fields.read("hostname", &mut job.hostname, |node| Ok(node.text("a host name")?.to_owned()))?;
    fields.read("limits", &mut job.limits, limits)?;
    fields.read("require", &mut job.require, guarantees)?;
    fields.read("waive", &mut job.waive, guarantees)?;
    fields.read("seccomp", &mut job.seccomp, seccomp)?;
    fields.read("backend", &mut job.backend, backend)?;
    Ok(job)
}

fn env(node: Node) -> Result<Env> {
    // Whoever writes a variable where `set` belongs must not find its value in a log.
    let mut fields = node.hide().fields(ENV)?;
    let mut env = Env::default();
    fields.read("set", &mut env.set, |node| {
        let entries = node.entries("an object of names and values")?;
        let read = |(name, node): (String, Node)| Ok((name, node.text("a string")?.to_owned()));
        entries.into_iter().map(read).collect()
    })?;
    fields.read("inherit", &mut env.inherit, |node| names(node.show()))?;
    fields.read("allow_secret", &mut env.allow_secret, |node| names(node.show()))?;
    Ok(env)
}

fn mount(node: Node) -> Result<Mount> {
    let mut fields = node.fields(MOUNT)?;
    let source = path(fields.required("source", "an absolute path on the host")?)?;
    let target = path(fields.required("target", "an absolute path inside")?)?;
    let mut mount = Mount { source, target, access: Access::default(), optional: false };
    fields.read("access", &mut mount.access, access)?;
    fields.read("optional", &mut mount.optional, |node| node.boolean())?;
    Ok(mount)
}

fn limits(node: Node) -> Result<Limits> {
    let mut fields = node.fields(LIMITS)?;
    let mut limits = Limits::default();
    let l = &mut limits;
    fields.read("wall_time", &mut l.wall_time, |node| limit(&node, time).map(Some))?;
    fields.read("cpu_time", &mut l.cpu_time, |node| limit(&node, time).map(Some))?;
    fields.read("output_excess", &mut l.output_excess, excess)?;
    fields.read("cpus", &mut l.cpus, |node| limit(&node, cpus).map(Some))?;
    fields.read("grace", &mut l.grace, |node| time(&node).map(Some))?;
    for (name, slot) in [
        ("memory", &mut l.memory),
        ("output", &mut l.output),
        ("file_size", &mut l.file_size),
        ("workspace", &mut l.workspace),
        ("tmp", &mut l.tmp),
    ] {
        fields.read(name, slot, |node| limit(&node, size).map(Some))?;
    }
    for (name, slot) in
        [("pids", &mut l.pids), ("open_files", &mut l.open_files), ("inodes", &mut l.inodes)]
    {
        fields.read(name, slot, |node| limit(&node, Node::count).map(Some))?;
    }
    Ok(limits)
}

/// A limit whose amount is read by `amount`.
fn limit<T>(node: &Node, amount: impl FnOnce(&Node) -> Result<T>) -> Result<Limit<T>> {
    if node.as_text() == Some(Limit::<T>::UNLIMITED) {
        return Ok(Limit::Unlimited);
    }
    amount(node).map(Limit::Finite)
}

fn size(node: &Node) -> Result<ByteSize> {
    with_unit(node, r#"a size such as "256MiB""#, str::parse)
}

fn time(node: &Node) -> Result<Duration> {
    with_unit(node, r#"a time such as "10s""#, parse_duration)
}

fn cpus(node: &Node) -> Result<Cpus> {
    with_unit(node, "a number of CPUs such as 0.5 or 2", str::parse)
}

/// Reads the text of a string or a number: a number without a unit gets the message of the unit.
fn with_unit<T>(
    node: &Node,
    what: &str,
    parse: impl FnOnce(&str) -> Result<T, ParseUnitError>,
) -> Result<T> {
    let parsed = match node.as_number() {
        Some(number) => parse(&number.to_string()),
        None => parse(node.text(what)?),
    };
    parsed.map_err(|error| node.refuse(error.problem()))
}

fn strings(node: Node, what: &str) -> Result<Vec<String>> {
    let read = |node: Node| Ok(node.text("a string")?.to_owned());
    node.list(what)?.into_iter().map(read).collect()
}

fn names(node: Node) -> Result<BTreeSet<String>> {
    Ok(strings(node, "a list of names")?.into_iter().collect())
}

fn path(node: Node) -> Result<PathBuf> {
    Ok(node.text("a path")?.into())
}

fn guarantees(node: Node) -> Result<BTreeSet<Guarantee>> {
    let known = Guarantee::ALL.map(|guarantee| (guarantee.name(), guarantee));
    let nodes = node.list("a list of guarantees")?;
    nodes.into_iter().map(|node| node.choice(&known)).collect()
}

fn stdin(node: Node) -> Result<Stdin> {
    const WHAT: &str = r#""none", "inherit", {"text": "…"}, {"base64": "…"} or {"file": "/path"}"#;
    if node.is_object() {
        return match node.only(&["text", "base64", "file"])? {
            ("base64", node) => base64(&node).map(Stdin::Bytes),
            ("file", node) => path(node).map(Stdin::File),
            (_, node) => Ok(Stdin::Bytes(node.text("a string")?.into())),
        };
    }
    match node.text(WHAT)? {
        "none" => Ok(Stdin::None),
        "inherit" => Ok(Stdin::Inherit),
        _ => Err(node.refuse(format!("must be {WHAT}"))),
    }
}

fn base64(node: &Node) -> Result<Vec<u8>> {
    let text = node.text("a string in base64")?;
    let refuse = |error| node.refuse(format!("is not base64 with padding: {error}"));
    BASE64_STANDARD.decode(text).map_err(refuse)
}

fn seccomp(node: Node) -> Result<Seccomp> {
    if node.is_object() {
        return node.only(&["profile"]).and_then(|(_, node)| path(node)).map(Seccomp::Profile);
    }
    match node.text(r#""default" or {"profile": "/path"}"#)? {
        "default" => Ok(Seccomp::Default),
        _ => Err(node.refuse(r#"must be "default" or {"profile": "/path"}"#)),
    }
}

fn root(node: Node) -> Result<Root> {
    node.choice(&[("host", Root::Host)])
}

fn access(node: Node) -> Result<Access> {
    node.choice(&[("ro", Access::ReadOnly), ("rw", Access::ReadWrite)])
}

fn network(node: Node) -> Result<Network> {
    node.choice(&[("none", Network::None), ("host", Network::Host)])
}

fn excess(node: Node) -> Result<Excess> {
    node.choice(&[("kill", Excess::Kill), ("truncate", Excess::Truncate)])
}

fn backend(node: Node) -> Result<BackendName> {
    node.choice(&[("native", BackendName::Native)])
}
