//! From arguments to a job: after this nothing is parsed again.

mod files;
mod mounts;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use fumehood::{
    BackendName, Error, Excess, Guarantee, Job, Limit, Network, ParseUnitError, Result, Root,
    Seccomp, Stdin, parse_duration,
};
use serde::de::IgnoredAny;

use crate::args::{ConfineArgs, InsideArgs, JobArgs, LimitArgs};
use files::files;
use mounts::mounts;

/// The job that the arguments mean.
///
/// # Errors
/// [`InvalidJob`](fumehood::ErrorKind::InvalidJob), whose field is the flag that is wrong.
pub(crate) fn job(args: &JobArgs) -> Result<Job> {
    reads_once(args)?;
    let mut job = base(args)?;
    inside(&args.inside, &mut job)?;
    files(&args.files, &mut job)?;
    limits(&args.limits, &mut job)?;
    confine(&args.confine, &mut job)?;
    Ok(job)
}

/// A job file's job, or one that has every default but that standard input is passed on.
fn base(args: &JobArgs) -> Result<Job> {
    let Some(file) = &args.file else {
        let inside = &args.inside;
        if args.program.is_empty() && inside.image.is_none() && inside.bundle.is_none() {
            let problem = "name a program, such as: fumehood run -- echo hello; or a --job file";
            return Err(Error::invalid("PROGRAM", "none", problem));
        }
        return Ok(Job::new(args.program.iter().cloned()).stdin(Stdin::Inherit));
    };
    let mut job = read_job(file)?;
    if !args.program.is_empty() {
        job.args.clone_from(&args.program);
    }
    Ok(job)
}

/// Standard input that was read to its end for a job has nothing left for an archive.
fn reads_once(args: &JobArgs) -> Result<()> {
    let mut archives = args.files.input_tar.iter();
    let archive = archives.find(|text| *text == "-" || text.starts_with("-:/"));
    match archive.filter(|_| args.file.as_deref() == Some(Path::new("-"))) {
        Some(archive) => {
            let problem = "standard input is the job (--job -); name a file for one of the two";
            Err(Error::invalid("--input-tar", archive, problem))
        }
        None => Ok(()),
    }
}

fn read_job(file: &Path) -> Result<Job> {
    let text = if file == Path::new("-") { all(std::io::stdin()) } else { read(file) };
    let text = text.map_err(|error| unreadable("--job", file, &error))?;
    let toml = match file.extension() {
        Some(extension) => extension == "toml",
        None => !is_json(&text),
    };
    if toml { Job::from_toml(&text) } else { Job::from_json(&text) }
}

/// Whether a text that does not say so is to be read as JSON: it begins as an object does, or is another value,
/// of which it is better told that it is no job than that it is no TOML.
fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{') || serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// What a file holds that somebody wrote by hand.
fn read(file: &Path) -> std::io::Result<String> {
    all(fs::File::open(file)?)
}

/// All that there is to read, unless it is more than anybody writes: `/dev/zero` has no end.
fn all(from: impl Read) -> std::io::Result<String> {
    const MOST: u64 = 16 << 20;
    let mut text = String::new();
    from.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(std::io::Error::other("it has more than 16 MiB"));
    }
    // Some editors begin every file with a byte order mark (RFC 8259, section 8.1).
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

fn unreadable(flag: &str, file: &Path, error: &std::io::Error) -> Error {
    Error::invalid(flag, file.display(), format!("cannot be read: {error}"))
}

fn inside(args: &InsideArgs, job: &mut Job) -> Result<()> {
    environment(args, job)?;
    root(args, job)?;
    mounts(args, job)?;
    if let Some(workdir) = &args.workdir {
        job.cwd.clone_from(workdir);
    }
    if let Some(hostname) = &args.hostname {
        job.hostname.clone_from(hostname);
    }
    // What else there is by name only the backend knows.
    set(&mut job.network, "--network", args.network.as_deref(), |text| {
        Ok(match text {
            "none" => Network::None,
            "host" => Network::Host,
            name => Network::Named(name.to_owned()),
        })
    })?;
    if let Some(stdin) = &args.stdin {
        job.stdin = read_stdin_choice(stdin)?;
    }
    if args.interactive {
        job.stdin = Stdin::Inherit;
    }
    job.tty |= args.tty;
    Ok(())
}

fn root(args: &InsideArgs, job: &mut Job) -> Result<()> {
    if let Some(dir) = &args.rootfs {
        job.root = Root::Dir(on_host("--rootfs", dir)?);
    }
    if let Some(dir) = &args.bundle {
        job.root = Root::Bundle(on_host("--bundle", dir)?);
    }
    if let Some(name) = &args.image {
        let program = args.entrypoint.clone().map(|one| Some(one).filter(|one| !one.is_empty()));
        let entrypoint = program.map(|one| one.into_iter().collect());
        job.root = Root::Image { image: name.clone(), entrypoint };
    }
    Ok(())
}

fn read_stdin_choice(stdin: &Path) -> Result<Stdin> {
    Ok(match stdin.to_str() {
        Some("inherit" | "-") => Stdin::Inherit,
        Some("none") => Stdin::None,
        _ => Stdin::File(on_host("--stdin", stdin)?),
    })
}

/// Files first, then flags, so that these override those.
fn environment(args: &InsideArgs, job: &mut Job) -> Result<()> {
    for file in &args.env_file {
        let text = read(file).map_err(|error| unreadable("--env-file", file, &error))?;
        for (number, line) in (1..).zip(text.lines().map(str::trim_start)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split_once('=').map_or(line, |(name, _)| name);
            if name.contains(char::is_whitespace) {
                // A shell reads these; what is no assignment here might hold a value.
                let problem = format!(
                    "line {number} has a space in the name; write NAME=VALUE, without export and \
                     without spaces around ="
                );
                return Err(Error::invalid("--env-file", file.display(), problem));
            }
            variable(line, job);
        }
    }
    args.env.iter().for_each(|text| variable(text, job));
    for name in &args.allow_secret {
        job.env.inherit.insert(name.clone());
        job.env.allow_secret.insert(name.clone());
    }
    Ok(())
}

/// `NAME=VALUE` sets, `NAME` inherits; the last word on a name counts.
fn variable(text: &str, job: &mut Job) {
    match text.split_once('=') {
        Some((name, value)) => {
            job.env.inherit.remove(name);
            job.env.set.insert(name.to_owned(), value.to_owned());
        }
        None => {
            job.env.set.remove(text);
            job.env.inherit.insert(text.to_owned());
        }
    }
}

/// A path on the host, made absolute: jobs have no working directory on the host.
fn on_host(flag: &str, path: &Path) -> Result<PathBuf> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    fs::canonicalize(path).or_else(|_| std::path::absolute(path)).map_err(|error| {
        Error::invalid(flag, path.display(), format!("cannot be made absolute: {error}"))
    })
}

fn limits(args: &LimitArgs, job: &mut Job) -> Result<()> {
    let limits = &mut job.limits;
    limit(&mut limits.wall_time, "--timeout", args.timeout.as_deref(), time)?;
    limit(&mut limits.cpu_time, "--cpu-time", args.cpu_time.as_deref(), time)?;
    limit(&mut limits.cpus, "--cpus", args.cpus.as_deref(), unit)?;
    limit(&mut limits.memory, "--memory", args.memory.as_deref(), unit)?;
    limit(&mut limits.pids, "--pids-limit", args.pids_limit.as_deref(), count)?;
    limit(&mut limits.output, "--output-limit", args.output_limit.as_deref(), unit)?;
    limit(&mut limits.file_size, "--file-size", args.file_size.as_deref(), unit)?;
    limit(&mut limits.open_files, "--open-files", args.open_files.as_deref(), count)?;
    limit(&mut limits.workspace, "--workspace-size", args.workspace_size.as_deref(), unit)?;
    limit(&mut limits.tmp, "--tmp-size", args.tmp_size.as_deref(), unit)?;
    limit(&mut limits.inodes, "--inodes", args.inodes.as_deref(), count)?;
    set(&mut limits.grace, "--grace", args.grace.as_deref(), |text| time(text).map(Some))?;
    set(&mut limits.output_excess, "--output-excess", args.output_excess.as_deref(), |text| {
        choice(text, &[("kill", Excess::Kill), ("truncate", Excess::Truncate)])
    })
}

/// Sets a field if its flag was given; `read` says what is wrong with a value.
pub(crate) fn set<T>(
    field: &mut T,
    flag: &str,
    text: Option<&str>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<()> {
    if let Some(text) = text {
        *field = read(text).map_err(|problem| Error::invalid(flag, text, problem))?;
    }
    Ok(())
}

fn limit<T>(
    field: &mut Option<Limit<T>>,
    flag: &str,
    text: Option<&str>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<()> {
    set(field, flag, text, |text| Limit::parse(text, read).map(Some))
}

fn unit<T: FromStr<Err = ParseUnitError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseUnitError| error.problem().to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.problem().to_owned())
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "must be a whole number, or unlimited".to_owned())
}

pub(crate) fn choice<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        format!("must be one of: {}", names.join(", "))
    })
}

fn confine(args: &ConfineArgs, job: &mut Job) -> Result<()> {
    for (flag, names, guarantees) in
        [("--require", &args.require, &mut job.require), ("--waive", &args.waive, &mut job.waive)]
    {
        for name in names {
            guarantees.insert(guarantee(flag, name)?);
        }
    }
    if let Some(seccomp) = &args.seccomp {
        job.seccomp = match seccomp.to_str() {
            Some("default") => Seccomp::Default,
            _ => Seccomp::Profile(on_host("--seccomp", seccomp)?),
        };
    }
    set(&mut job.backend, "--backend", args.backend.as_deref(), |text| {
        choice(text, &BackendName::ALL.map(|backend| (backend.name(), backend)))
    })
}

fn guarantee(flag: &str, name: &str) -> Result<Guarantee> {
    let known = Guarantee::ALL.map(|guarantee| (guarantee.name(), guarantee));
    choice(name, &known).map_err(|problem| Error::invalid(flag, name, problem))
}

#[cfg(test)]
#[path = "lower_tests.rs"]
mod tests;
