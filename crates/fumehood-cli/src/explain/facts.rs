//! What a plan says, as data.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fumehood::env::looks_secret;
use fumehood::image::Image;
use fumehood::policy::landlock::{Allowed, Fence};
use fumehood::policy::seccomp::Arch;
use fumehood::{
    Access, Entry, Filter, Guarantee, Job, Limits, MountNote, Plan, Result, Standing,
    format_duration, quoted,
};
use serde::{Serialize, Serializer};

/// A plan, laid open.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    pub(super) program: Program,
    /// What the image says, of which the program above is made.
    pub(super) image: Option<Image>,
    pub(super) identity: Identity,
    pub(super) namespaces: Vec<&'static str>,
    pub(super) root: Vec<Object>,
    pub(super) mounts: Vec<MountNote>,
    /// What is copied in, as in a job.
    pub(super) inputs: Vec<fumehood::Input>,
    /// What is brought back, as in a job.
    pub(super) collect: fumehood::Collect,
    pub(super) environment: BTreeMap<String, Variable>,
    #[serde(serialize_with = "in_order")]
    pub(super) limits: Vec<(&'static str, String)>,
    pub(super) syscalls: Option<Syscalls>,
    pub(super) landlock: Option<Landlock>,
    pub(super) steps: Vec<String>,
    pub(super) guarantees: BTreeMap<Guarantee, Standing>,
}

#[derive(Debug, Serialize)]
pub(super) struct Program {
    pub(super) args: Vec<String>,
    /// Where the program is looked for, in order.
    pub(super) candidates: Vec<PathBuf>,
    pub(super) cwd: PathBuf,
    pub(super) hostname: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) host_uid: u32,
    pub(super) host_gid: u32,
}

/// Something in the root.
#[derive(Debug, Serialize)]
pub(super) struct Object {
    pub(super) kind: &'static str,
    pub(super) path: PathBuf,
    pub(super) detail: String,
}

/// A variable; a value that looks like a secret is not shown.
#[derive(Debug, Serialize)]
pub(super) struct Variable {
    pub(super) value: Option<String>,
    pub(super) from: &'static str,
}

/// How many system calls are answered how.
#[derive(Debug, Serialize)]
pub(super) struct Syscalls {
    pub(super) profile: String,
    pub(super) instructions: usize,
    /// By answer, calls that are always answered so.
    pub(super) always: BTreeMap<String, usize>,
    /// Calls whose arguments decide.
    pub(super) conditional: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Landlock {
    pub(super) abi: u32,
    /// Rights that are denied where they are not allowed.
    pub(super) handled: Vec<&'static str>,
    pub(super) read_only: Vec<&'static str>,
    pub(super) read_write: Vec<&'static str>,
    pub(super) devices: Vec<&'static str>,
    /// What cannot be reached outside.
    pub(super) scoped: Vec<&'static str>,
}

impl Facts {
    pub(super) fn of(plan: &Plan) -> Result<Self> {
        Ok(Self {
            program: program(plan),
            image: plan.image.clone(),
            identity: identity(plan),
            namespaces: namespaces(plan),
            root: plan.root.iter().map(object).collect(),
            mounts: plan.notes.clone(),
            inputs: plan.job.inputs.clone(),
            collect: plan.job.collect.clone(),
            environment: environment(plan),
            limits: limits(&plan.job.limits),
            syscalls: plan.filter.as_deref().and_then(syscalls),
            landlock: plan.fence.as_ref().map(landlock),
            steps: plan.steps()?,
            guarantees: plan.guarantees.clone(),
        })
    }
}

/// An object whose fields keep the order of the list.
fn in_order<S: Serializer>(list: &[(&str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(list.iter().map(|(name, value)| (name, value)))
}

fn program(plan: &Plan) -> Program {
    let Job { args, cwd, hostname, .. } = &plan.job;
    Program {
        args: args.clone(),
        candidates: plan.candidates.clone(),
        cwd: cwd.clone(),
        hostname: hostname.clone(),
    }
}

fn identity(plan: &Plan) -> Identity {
    let fumehood::Identity { uid, gid, host_uid, host_gid, .. } = plan.identity;
    Identity { uid, gid, host_uid, host_gid }
}

fn namespaces(plan: &Plan) -> Vec<&'static str> {
    let fumehood::Namespaces { base, ipc, pid, net } = plan.namespaces;
    let base = ["user", "mount", "uts", "cgroup"].into_iter().filter(|_| base);
    base.chain(ipc.then_some("ipc"))
        .chain(pid.then_some("pid"))
        .chain(net.then_some("net"))
        .collect()
}

fn environment(plan: &Plan) -> BTreeMap<String, Variable> {
    let asked = &plan.job.env;
    let from = |name: &str| {
        if asked.set.contains_key(name) {
            "job"
        } else if asked.inherit.contains(name) {
            "caller"
        } else if plan.image.iter().any(|image| image.config.env.iter().any(|one| one.0 == name)) {
            "image"
        } else {
            "default"
        }
    };
    let shown = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
    plan.env
        .iter()
        .map(|(name, value)| {
            let value = (!looks_secret(name)).then(|| shown(value));
            (name.to_owned(), Variable { value, from: from(name) })
        })
        .collect()
}

fn object(entry: &Entry) -> Object {
    let (kind, path, detail) = match entry {
        Entry::Dir { path, mode } => ("directory", path.clone(), format!("mode {mode:o}")),
        Entry::Link { path, target } => ("link", path.clone(), format!("to {}", target.display())),
        Entry::File { path, data } => ("file", path.clone(), format!("{} bytes", data.len())),
        Entry::Bind { source, target, access, as_owner, .. } => {
            let access = if *access == Access::ReadWrite { "read-write" } else { "read-only" };
            let owner = if *as_owner { ", as its owner" } else { "" };
            ("bind", target.clone(), format!("{access}{owner}, from {}", quoted(source)))
        }
        Entry::Cow { source, target, upper, .. } => {
            let kept = upper.as_ref().map(|upper| format!(", changes kept in {}", quoted(upper)));
            let kept = kept.unwrap_or_default();
            ("overlay", target.clone(), format!("copy-on-write, from {}{kept}", quoted(source)))
        }
        Entry::Device { path } => ("device", path.clone(), "the host's".to_owned()),
        Entry::Tmpfs { target, size, inodes, .. } => {
            ("tmpfs", target.clone(), format!("{}, {} inodes", bytes(*size), number(*inodes)))
        }
        Entry::Cover { path, data } => {
            ("cover", path.clone(), format!("{} bytes, over the root's own", data.len()))
        }
        Entry::Proc => ("proc", "/proc".into(), "fresh, read-only".to_owned()),
        Entry::Devpts => ("devpts", "/dev/pts".into(), "fresh".to_owned()),
        Entry::Mask { path, .. } => ("mask", path.clone(), "hidden if it exists".to_owned()),
        other => ("other", PathBuf::new(), format!("{other:?}")),
    };
    Object { kind, path, detail }
}

fn bytes(size: Option<u64>) -> String {
    size.map_or_else(|| "unlimited".to_owned(), |size| fumehood::ByteSize(size).to_string())
}

fn number(count: Option<u64>) -> String {
    count.map_or_else(|| "unlimited".to_owned(), |count| count.to_string())
}

fn limits(limits: &Limits) -> Vec<(&'static str, String)> {
    let time = |limit: fumehood::Limit<_>| {
        limit.finite().map_or_else(|| "unlimited".to_owned(), format_duration)
    };
    let excess = if limits.output_excess == fumehood::Excess::Kill { "kill" } else { "truncate" };
    vec![
        ("wall_time", time(limits.wall_time())),
        ("cpu_time", time(limits.cpu_time())),
        ("grace", format_duration(limits.grace())),
        ("memory", limits.memory().to_string()),
        ("pids", limits.pids().to_string()),
        ("cpus", limits.cpus().to_string()),
        ("output", format!("{} per stream, then {excess}", limits.output())),
        ("file_size", limits.file_size().to_string()),
        ("open_files", limits.open_files().to_string()),
        ("workspace", limits.workspace().to_string()),
        ("tmp", limits.tmp().to_string()),
        ("inodes", limits.inodes().to_string()),
    ]
}

fn syscalls(filter: &Filter) -> Option<Syscalls> {
    let (mut always, mut conditional) = (BTreeMap::new(), Vec::new());
    for (name, action) in filter.program.verdicts(Arch::host()?) {
        match action {
            Some(action) => *always.entry(action.to_string()).or_default() += 1,
            None => conditional.push(name),
        }
    }
    let (profile, instructions) = (filter.origin.clone(), filter.program.len());
    Some(Syscalls { profile, instructions, always, conditional })
}

fn landlock(fence: &Fence) -> Landlock {
    let allowed = |allowed| Fence::names(fence.rights(allowed, true));
    Landlock {
        abi: fence.abi,
        handled: Fence::names(fence.fs),
        read_only: allowed(Allowed::ReadOnly),
        read_write: allowed(Allowed::ReadWrite),
        devices: allowed(Allowed::Devices),
        scoped: fence.scopes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_look_secret_are_not_shown() {
        // PATH is in every environment; the name of the other says what it is.
        let name = "FUMEHOOD_TEST_PASSWORD";
        let mut plan = Plan::new(&Job::new(["true"]).env("SHOWN", "yes")).unwrap();
        let mut job = plan.job.clone();
        job.env.inherit.insert(name.to_owned());
        job.env.allow_secret.insert(name.to_owned());
        let caller = |asked: &str| (asked == name).then(|| "hunter2".into());
        plan.env = fumehood::env::Environment::resolve(&job.env, false, caller).unwrap();
        plan.job = job;
        let facts = Facts::of(&plan).unwrap();
        assert_eq!(facts.environment["SHOWN"].value.as_deref(), Some("yes"));
        assert_eq!(facts.environment[name].value, None);
        assert_eq!(facts.environment[name].from, "caller");
        assert!(!serde_json::to_string(&facts).unwrap().contains("hunter2"));
        assert!(!super::super::text::render(&facts).contains("hunter2"));
    }
}
