//! What a remote job may ask for.
//!
//! A caller of the library may mount what it likes, since it could read that itself. A stranger's
//! job gets nothing of the host but what every program sees and what the operator put into a profile.

use std::fmt::Display;
use std::time::Duration;

use fumehood::env::looks_secret;
use fumehood::{
    BackendName, ByteSize, Collect, CollectTo, Cpus, Input, InputLimits, InputSource, Job, Limit,
    Limits, Network, Root, Seccomp, Stdin, TarSource, format_duration,
};
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::config::{Config, Time};
use super::problem::Problem;
use super::profile::Profile;

/// The most that a remote job may ask for. What it does not ask for is the library's default, or
/// the ceiling if that is lower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ceilings {
    pub(crate) wall_time: Time,
    pub(crate) cpu_time: Time,
    pub(crate) memory: ByteSize,
    pub(crate) pids: u64,
    /// Of each of the two streams.
    pub(crate) output: ByteSize,
    pub(crate) file_size: ByteSize,
    pub(crate) open_files: u64,
    pub(crate) workspace: ByteSize,
    pub(crate) tmp: ByteSize,
    pub(crate) inodes: u64,
    /// Without it as many as the host has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpus: Option<Cpus>,
    pub(crate) grace: Time,
    /// Bytes of all inputs, unpacked.
    pub(crate) input_size: ByteSize,
    /// Files, directories and links of all inputs.
    pub(crate) input_entries: u64,
    /// Files that are brought back, and their bytes.
    pub(crate) collect_files: u64,
    pub(crate) collect_size: ByteSize,
    /// Images that may be named as root; none unless listed.
    pub(crate) images: Vec<String>,
}

impl Default for Ceilings {
    fn default() -> Self {
        let minute = Time(Duration::from_secs(60));
        Self {
            wall_time: minute,
            cpu_time: minute,
            memory: ByteSize::gib(2),
            pids: 256,
            output: ByteSize::mib(4),
            file_size: ByteSize::mib(256),
            open_files: 4096,
            workspace: ByteSize::mib(512),
            tmp: ByteSize::mib(512),
            inodes: 1 << 18,
            cpus: None,
            grace: Time(Duration::from_secs(5)),
            input_size: ByteSize::mib(256),
            input_entries: 1 << 16,
            collect_files: 1000,
            collect_size: ByteSize::mib(16),
            images: Vec::new(),
        }
    }
}

/// The job that is run for a remote one, which names a profile or none.
///
/// # Errors
/// 403 with the field if it asks for more than it may, 404 if there is no such profile, 422 if it
/// is not valid.
pub(crate) fn admit(
    job: Job,
    profile: Option<&str>,
    caller: &Caller,
    config: &Config,
) -> Result<Job, Problem> {
    nothing_of_the_host(&job, &config.ceilings)?;
    ask_for_limits(&job, &config.ceilings)?;
    let mut job = match profile {
        Some(name) => find(name, caller, config)?.extend(job),
        None => job,
    };
    fill_in(&mut job.limits, &config.ceilings);
    lower_files(&mut job, &config.ceilings);
    job.require.extend(config.required());
    job.validate().map_err(|error| Problem::from(&error))?;
    Ok(job)
}

fn find<'a>(name: &str, caller: &Caller, config: &'a Config) -> Result<&'a Profile, Problem> {
    let profile = config.profiles.get(name).filter(|_| caller.may_use(name));
    profile.ok_or_else(|| Problem::not_found("there is no such profile, or it is not for you"))
}

fn refuse(field: impl Into<String>, value: impl Display, why: &str) -> Result<(), Problem> {
    Err(Problem::not_permitted(field, value.to_string(), why))
}

/// Refuses every field that leads to the host. A test holds that no field is forgotten.
fn nothing_of_the_host(job: &Job, ceilings: &Ceilings) -> Result<(), Problem> {
    let Job { root, mounts, network, waive, seccomp, backend, stdin, collect, env, inputs, .. } =
        job;
    if let Some(mount) = mounts.first() {
        let source = mount.source.display();
        return refuse("mounts[0].source", source, "nothing of the host can be mounted");
    }
    if *network != Network::None {
        return refuse("network", "host", "the host's network is not given; use none");
    }
    if let Some(waived) = waive.first() {
        return refuse("waive", waived, "nothing can be waived here");
    }
    if let Seccomp::Profile(path) = seccomp {
        return refuse("seccomp.profile", path.display(), "only the default filter is used here");
    }
    if *backend != BackendName::default() {
        return refuse("backend", backend, "the operator chooses the backend");
    }
    if let CollectTo::Dir(path) | CollectTo::Tar(path) = &collect.to {
        return refuse("collect.to", path.display(), "files come back in the report; use report");
    }
    root_may_be(root, ceilings)?;
    stdin_may_be(stdin)?;
    environment_may_be(env)?;
    inputs.iter().enumerate().try_for_each(|(index, input)| input_may_be(index, input))
}

fn root_may_be(root: &Root, ceilings: &Ceilings) -> Result<(), Problem> {
    match root {
        Root::Host => Ok(()),
        Root::Image { image, .. } if ceilings.images.contains(image) => Ok(()),
        Root::Image { image, .. } => refuse("root.image", image, "this image is not offered here"),
        Root::Dir(path) => {
            refuse("root.dir", path.display(), "a directory of the host is not given")
        }
        Root::Bundle(path) => {
            refuse("root.bundle", path.display(), "a bundle of the host is not given")
        }
        _ => refuse("root", "(unknown)", "this kind of root is not given"),
    }
}

fn stdin_may_be(stdin: &Stdin) -> Result<(), Problem> {
    match stdin {
        Stdin::None | Stdin::Bytes(_) => Ok(()),
        Stdin::File(path) => refuse(
            "stdin.file",
            path.display(),
            "a file of the host is not read; use text or base64",
        ),
        _ => refuse("stdin", "inherit", "the service has no input to pass on; use text or base64"),
    }
}

/// The service's own variables are the operator's, and secrets do not belong into jobs.
fn environment_may_be(env: &fumehood::Env) -> Result<(), Problem> {
    if let Some(name) = env.inherit.first().or(env.allow_secret.first()) {
        return refuse("env.inherit", name, "variables of the service are not passed on");
    }
    match env.set.keys().find(|name| looks_secret(name)) {
        Some(name) => {
            let why = "looks like a secret, which a program that nobody trusts must not get";
            refuse(format!("env.set.{name}"), "(value not shown)", why)
        }
        None => Ok(()),
    }
}

fn input_may_be(index: usize, input: &Input) -> Result<(), Problem> {
    let host = "a path of the host is not read; send the bytes";
    match &input.source {
        InputSource::Bytes { .. } | InputSource::Tar(TarSource::Bytes(_)) => Ok(()),
        InputSource::Dir { path, .. } => {
            refuse(format!("inputs[{index}].dir"), path.display(), host)
        }
        InputSource::File(path) => refuse(format!("inputs[{index}].file"), path.display(), host),
        InputSource::Tar(TarSource::File(path)) => {
            refuse(format!("inputs[{index}].tar"), path.display(), host)
        }
        InputSource::Tar(_) => refuse(format!("inputs[{index}].tar"), "stdin", host),
        _ => refuse(format!("inputs[{index}]"), "(unknown)", host),
    }
}

/// Refuses a limit above its ceiling.
fn below<T: PartialOrd>(
    field: &str,
    asked: Option<Limit<T>>,
    most: &T,
    show: impl Fn(&T) -> String,
) -> Result<(), Problem> {
    let shown = match asked {
        None => return Ok(()),
        Some(Limit::Finite(amount)) if amount <= *most => return Ok(()),
        Some(Limit::Finite(amount)) => show(&amount),
        Some(Limit::Unlimited) => Limit::<()>::UNLIMITED.to_owned(),
    };
    refuse(field, shown, &format!("is above the ceiling; at most {}", show(most)))
}

fn ask_for_limits(job: &Job, c: &Ceilings) -> Result<(), Problem> {
    let time = |time: &Duration| format_duration(*time);
    let (size, count) = (ByteSize::to_string, u64::to_string);
    let limits = &job.limits;
    below("limits.wall_time", limits.wall_time, &c.wall_time.0, time)?;
    below("limits.cpu_time", limits.cpu_time, &c.cpu_time.0, time)?;
    below("limits.grace", limits.grace.map(Limit::Finite), &c.grace.0, time)?;
    below("limits.memory", limits.memory, &c.memory, size)?;
    below("limits.output", limits.output, &c.output, size)?;
    below("limits.file_size", limits.file_size, &c.file_size, size)?;
    below("limits.workspace", limits.workspace, &c.workspace, size)?;
    below("limits.tmp", limits.tmp, &c.tmp, size)?;
    below("limits.pids", limits.pids, &c.pids, count)?;
    below("limits.open_files", limits.open_files, &c.open_files, count)?;
    below("limits.inodes", limits.inodes, &c.inodes, count)?;
    if let Some(cpus) = &c.cpus {
        below("limits.cpus", limits.cpus, cpus, Cpus::to_string)?;
    }
    const MOST_TMPFS: usize = 16;
    if job.tmpfs.len() > MOST_TMPFS {
        refuse("tmpfs", job.tmpfs.len(), &format!("at most {MOST_TMPFS} here"))?;
    }
    for (index, tmpfs) in job.tmpfs.iter().enumerate() {
        below(&format!("tmpfs[{index}].size"), tmpfs.size, &c.tmp, size)?;
    }
    ask_for_files(job, c)
}

/// Limits of files in and out; what is not named is lowered later.
fn ask_for_files(job: &Job, c: &Ceilings) -> Result<(), Problem> {
    let (inputs, collect) = (&job.input_limits, &job.collect);
    let usual = (InputLimits::default(), Collect::default());
    let (size, count) = (ByteSize::to_string, u64::to_string);
    for (field, asked, usual, most) in [
        ("input_limits.size", inputs.size, usual.0.size, c.input_size),
        ("collect.size", collect.size, usual.1.size, c.collect_size),
        ("collect.file_size", collect.file_size, usual.1.file_size, c.collect_size),
    ] {
        let named = (asked != usual).then_some(Limit::Finite(asked));
        below(field, named, &most, size)?;
    }
    for (field, asked, usual, most) in [
        ("input_limits.entries", inputs.entries, usual.0.entries, c.input_entries),
        ("collect.files", collect.files, usual.1.files, c.collect_files),
    ] {
        let named = (asked != usual).then_some(Limit::Finite(asked));
        below(field, named, &most, count)?;
    }
    Ok(())
}

/// Lowers the defaults of files in and out that are above their ceiling.
fn lower_files(job: &mut Job, c: &Ceilings) {
    fn lower<T: Ord + Copy>(value: &mut T, usual: T, most: T) {
        if *value == usual {
            *value = usual.min(most);
        }
    }
    let (inputs, collect) = (&mut job.input_limits, &mut job.collect);
    let usual = (InputLimits::default(), Collect::default());
    lower(&mut inputs.size, usual.0.size, c.input_size);
    lower(&mut inputs.entries, usual.0.entries, c.input_entries);
    lower(&mut collect.size, usual.1.size, c.collect_size);
    lower(&mut collect.file_size, usual.1.file_size, c.collect_size);
    lower(&mut collect.files, usual.1.files, c.collect_files);
}

/// Lowers a default that is above its ceiling; one that is not stays a default.
fn lower<T: PartialOrd + Copy>(asked: &mut Option<Limit<T>>, usual: Limit<T>, most: T) {
    let is_lower = match usual {
        Limit::Finite(usual) => most < usual,
        Limit::Unlimited => true,
    };
    if asked.is_none() && is_lower {
        *asked = Some(Limit::Finite(most));
    }
}

fn fill_in(limits: &mut Limits, c: &Ceilings) {
    lower(&mut limits.wall_time, Limits::WALL_TIME, c.wall_time.0);
    lower(&mut limits.cpu_time, Limits::CPU_TIME, c.cpu_time.0);
    lower(&mut limits.memory, Limits::MEMORY, c.memory);
    lower(&mut limits.output, Limits::OUTPUT, c.output);
    lower(&mut limits.file_size, Limits::FILE_SIZE, c.file_size);
    lower(&mut limits.workspace, Limits::WORKSPACE, c.workspace);
    lower(&mut limits.tmp, Limits::TMP, c.tmp);
    lower(&mut limits.pids, Limits::PIDS, c.pids);
    lower(&mut limits.open_files, Limits::OPEN_FILES, c.open_files);
    lower(&mut limits.inodes, Limits::INODES, c.inodes);
    if let Some(cpus) = c.cpus {
        lower(&mut limits.cpus, Limits::CPUS, cpus);
    }
    if limits.grace.is_none() && c.grace.0 < Limits::GRACE {
        limits.grace = Some(c.grace.0);
    }
}

impl Ceilings {
    /// A ceiling of nothing would refuse everything.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut job = Job::new(["true"]);
        let limits = &mut job.limits;
        limits.wall_time = Some(self.wall_time.0.into());
        limits.cpu_time = Some(self.cpu_time.0.into());
        limits.memory = Some(self.memory.into());
        limits.pids = Some(self.pids.into());
        limits.output = Some(self.output.into());
        limits.file_size = Some(self.file_size.into());
        limits.open_files = Some(self.open_files.into());
        limits.workspace = Some(self.workspace.into());
        limits.tmp = Some(self.tmp.into());
        limits.inodes = Some(self.inodes.into());
        limits.grace = Some(self.grace.0);
        job.validate().map_err(|error| match error.kind() {
            fumehood::ErrorKind::InvalidJob { field, value, problem } => {
                format!("{}: {value}: {problem}", field.replace("limits.", "ceilings."))
            }
            _ => error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that is new is for somebody to judge, here and in the schema of remote jobs.
    #[test]
    fn every_field_of_a_job_is_judged() {
        let judged = [
            "args",
            "backend",
            "collect",
            "cwd",
            "env",
            "hostname",
            "input_limits",
            "inputs",
            "limits",
            "mounts",
            "network",
            "require",
            "root",
            "seccomp",
            "stdin",
            "tmpfs",
            "tty",
            "waive",
        ];
        let schema = fumehood::job_schema();
        let fields: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(fields, judged);
    }

    #[test]
    fn every_limit_has_a_ceiling() {
        let schema = fumehood::job_schema();
        for name in schema["$defs"]["Limits"]["properties"].as_object().unwrap().keys() {
            let unlimited = format!(r#"{{"args": ["a"], "limits": {{"{name}": "unlimited"}}}}"#);
            // A word for what is no amount, and a time that is never unlimited.
            let Ok(job) = Job::from_json(&unlimited) else {
                assert!(["output_excess", "grace"].contains(&name.as_str()), "{name}");
                continue;
            };
            let refused = ask_for_limits(&job, &Ceilings::default()).is_err();
            assert_eq!(refused, name != "cpus", "{name}");
        }
    }
}
