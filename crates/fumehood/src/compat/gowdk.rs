//! The surface of GoWDK's playground: a build in a sandbox, described by its specification.
//!
//! The paths inside, the environment and the JSON are the same. Limits hold for everything that runs
//! together where the host has control groups for that, instead of for each process; the module cache
//! is copy-on-write, whatever is in its path; `/etc` is that of any sandbox of ours.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Access, ByteSize, Error, ErrorKind, Guarantee, Job, Mount, Result, Tmpfs};

/// The exit status of a run that the host cannot confine. The command line has the same.
pub const UNSUPPORTED_EXIT_CODE: i32 = 99;

/// What the program finds in its environment, and nothing else.
pub const ENVIRONMENT: [(&str, &str); 13] = [
    ("CGO_ENABLED", "0"),
    ("GOCACHE", "/cache"),
    ("GOFLAGS", "-mod=mod"),
    ("GOMODCACHE", "/gomodcache"),
    ("GOPATH", "/tmp/gopath"),
    ("GOPROXY", "off"),
    ("GOROOT", "/goroot"),
    ("GOSUMDB", "off"),
    ("GOTOOLCHAIN", "local"),
    ("GOWORK", "off"),
    ("HOME", "/tmp"),
    ("PATH", "/goroot/bin"),
    ("TMPDIR", "/tmp"),
];

/// What a build gets and may use. A limit of 0 is that of every job here, not none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SandboxSpec {
    /// Shown at `/workspace`, writable.
    pub workspace_root: PathBuf,
    /// Shown at `/out`, writable.
    pub output_dir: PathBuf,
    /// Shown at `/goroot`.
    pub go_root: PathBuf,
    /// Shown at `/gomodcache`; what is written there is gone with the run.
    pub go_mod_cache: PathBuf,
    /// Bytes of memory.
    pub max_address_space_bytes: u64,
    /// Seconds of CPU time.
    #[serde(rename = "maxCPUSeconds")]
    pub max_cpu_seconds: u64,
    /// Bytes of a file.
    pub max_file_size_bytes: u64,
    /// Open files of a process.
    pub max_open_files: u64,
    /// Processes and threads.
    pub max_processes: u64,
    /// Bytes of each memory file system: `/cache` and `/tmp`.
    pub max_tmpfs_bytes: u64,
}

impl SandboxSpec {
    /// Reads it from JSON.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidJob`] for what is no specification.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| Error::invalid("spec", "JSON", format!("is wrong: {error}")))
    }

    /// Compact JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Paths that are not UTF-8 have no form in JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The job of a build: a program with its arguments, for as long as `timeout` says; 0 is the
    /// default of jobs. Run it as any other: what the host cannot confine is
    /// [unsupported](is_unsupported), and nothing has run then.
    ///
    /// Memory and CPU time hold for the whole build where there are control groups. Elsewhere the job
    /// goes without, as the playground did: with a limit for each process instead.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidJob`] for an output directory that [cannot be used](check_output).
    pub fn job<A: Into<String>>(
        &self,
        args: impl IntoIterator<Item = A>,
        timeout: Duration,
    ) -> Result<Job> {
        check_output(&self.output_dir)?;
        let mut job = Job::new(args).waive(Guarantee::Memory).waive(Guarantee::CpuTime);
        for (source, target) in [(&self.workspace_root, "/workspace"), (&self.output_dir, "/out")] {
            job = job.with_mount(writable(source, target));
        }
        if !self.go_root.as_os_str().is_empty() {
            job = job.mount(&self.go_root, "/goroot");
        }
        if !self.go_mod_cache.as_os_str().is_empty() {
            job = job.mount_cow(&self.go_mod_cache, "/gomodcache");
        }
        let size = (self.max_tmpfs_bytes > 0).then(|| ByteSize(self.max_tmpfs_bytes).into());
        job.tmpfs.push(Tmpfs { target: "/cache".into(), size });
        job = ENVIRONMENT.iter().fold(job, |job, (name, value)| job.env(*name, *value));
        Ok(job.limits(|limits| {
            let set = |value: u64| (value > 0).then_some(value);
            let bytes = |value| set(value).map(|value| ByteSize(value).into());
            limits.memory = bytes(self.max_address_space_bytes);
            limits.file_size = bytes(self.max_file_size_bytes);
            limits.tmp = bytes(self.max_tmpfs_bytes);
            limits.open_files = set(self.max_open_files).map(Into::into);
            limits.pids = set(self.max_processes).map(Into::into);
            limits.cpu_time =
                set(self.max_cpu_seconds).map(|secs| Duration::from_secs(secs).into());
            limits.wall_time = (timeout > Duration::ZERO).then(|| timeout.into());
        }))
    }
}

/// Where root starts the run, the program gets the rights of the directory's owner; never root's.
fn writable(source: &Path, target: &str) -> Mount {
    let as_owner = fs::metadata(source).is_ok_and(|dir| dir.uid() != 0 && dir.gid() != 0);
    Mount { access: Access::ReadWrite, as_owner, ..Mount::new(source, target) }
}

/// Whether an error says that the host cannot confine the run: exit status 99.
#[must_use]
pub fn is_unsupported(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported { .. } | ErrorKind::NoBackend { .. })
}

/// What a process that ran a build exits with.
#[must_use]
pub fn exit_code(result: &Result<crate::Report>) -> i32 {
    match result {
        Ok(report) => report.outcome.exit_code().into(),
        Err(error) if is_unsupported(error) => UNSUPPORTED_EXIT_CODE,
        Err(_) => 1,
    }
}

/// An output directory is the run's own: absent or empty, and not the root of the file system.
///
/// # Errors
/// [`ErrorKind::InvalidJob`], which names it.
pub fn check_output(dir: &Path) -> Result<()> {
    let refuse = |problem: String| Err(Error::invalid("outputDir", dir.display(), problem));
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    if real.parent().is_none() {
        return refuse("is the root of the file system, or no path at all".to_owned());
    }
    match fs::read_dir(dir) {
        Ok(entries) => match entries.count() {
            0 => Ok(()),
            count => refuse(format!("must be empty, and has {count} entries; use a fresh one")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => refuse(format!("cannot be read: {error}")),
    }
}

/// The directory to use as module cache: one for this run, or, if that is said, the one that all
/// programs of the host share.
///
/// # Errors
/// [`ErrorKind::InvalidJob`] if it is no directory, or nothing was said.
pub fn module_cache(own: Option<&Path>, shared: Option<&Path>) -> Result<PathBuf> {
    let Some(chosen) = own.or(shared) else {
        let problem = "will not mount the shared host module cache unless that is said; name one";
        return Err(Error::invalid("goModCache", "none", problem));
    };
    if chosen.is_dir() {
        return Ok(chosen.to_owned());
    }
    Err(Error::invalid("goModCache", chosen.display(), "is no directory"))
}

/// Names that an environment must not have, because they look like secrets.
#[must_use]
pub fn secrets<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    names.into_iter().filter(|name| crate::env::looks_secret(name)).collect()
}

#[cfg(test)]
#[path = "gowdk_tests.rs"]
mod tests;
