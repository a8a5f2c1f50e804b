//! What the caller asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::{ByteSize, Guarantee};

/// A program to run, and everything that it may see and use.
///
/// Read from JSON or TOML, or built in code; the defaults are those of [`Job::new`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Job {
    /// The program and its arguments. The program is resolved inside the sandbox on its `PATH`.
    pub args: Vec<String>,
    /// The environment of the program.
    pub env: Env,
    /// Working directory inside the sandbox: an absolute path.
    pub cwd: PathBuf,
    /// Where the program's standard input comes from.
    pub stdin: Stdin,
    /// Whether the program gets a terminal of its own.
    pub tty: bool,
    /// The file system that the program sees.
    pub root: Root,
    /// Host files and directories that are visible inside.
    pub mounts: Vec<Mount>,
    /// Which network the program sees.
    pub network: Network,
    /// The host name that the program sees.
    pub hostname: String,
    /// What the program may use.
    pub limits: Limits,
    /// Guarantees without which the job must not run, beyond those required anyway.
    pub require: BTreeSet<Guarantee>,
    /// Guarantees that may be missing.
    pub waive: BTreeSet<Guarantee>,
    /// The filter of system calls.
    pub seccomp: Seccomp,
    /// The mechanism that confines.
    pub backend: BackendName,
}

/// The environment of a program: `PATH`, `HOME`, `LANG`, `TMPDIR`, and what is named here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// Variables with their values.
    pub set: BTreeMap<String, String>,
    /// Names that are taken from the caller's environment if they are set there.
    pub inherit: BTreeSet<String>,
    /// Names that look like secrets and may be inherited all the same.
    pub allow_secret: BTreeSet<String>,
}

/// Where standard input comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    None,
    /// These bytes, then end of file.
    Bytes(Vec<u8>),
    /// The content of a host file.
    File(PathBuf),
    /// The caller's own standard input.
    Inherit,
}

/// The file system that a program sees at `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Root {
    /// The host's system directories by an allow-list, read-only.
    #[default]
    Host,
}

/// A host file or directory that is visible inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// What the program may do with it.
    pub access: Access,
    /// Whether a source that does not exist is skipped rather than an error.
    pub optional: bool,
}

/// What a program may do with a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Read and execute; nested mounts included.
    #[default]
    ReadOnly,
    /// Read, write and execute.
    ReadWrite,
}

/// Which network a program sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// A loopback interface of its own and nothing else.
    #[default]
    None,
    /// The host's network.
    Host,
}

/// The filter of system calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seccomp {
    /// The profile that Fumehood ships.
    #[default]
    Default,
    /// A profile in the JSON format of OCI runtimes or Docker, read from this file.
    Profile(PathBuf),
}

/// The mechanism that confines a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendName {
    /// Linux namespaces, seccomp, Landlock and control groups.
    #[default]
    Native,
}

/// What to do when a stream prints more than its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Excess {
    /// End the run: the outcome is `output-limit`.
    #[default]
    Kill,
    /// Keep the first bytes, drop the rest, let the program go on.
    Truncate,
}

/// A limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<T> {
    /// At most this much.
    Finite(T),
    /// No limit; written `unlimited`.
    Unlimited,
}

/// What a program may use. `None` stands for the default, which is finite; a limit that is
/// spelled out is enforced for the whole process tree, or the job is refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Wall-clock time. Default 10 s.
    pub wall_time: Option<Limit<Duration>>,
    /// User and system CPU time of all processes together. Default 10 s.
    pub cpu_time: Option<Limit<Duration>>,
    /// Memory of all processes together, swap off. Default 512 MiB.
    pub memory: Option<Limit<ByteSize>>,
    /// Processes and threads at one time. Default 64.
    pub pids: Option<Limit<u64>>,
    /// Bytes per output stream. Default 16 MiB.
    pub output: Option<Limit<ByteSize>>,
    /// What happens when `output` is exceeded.
    pub output_excess: Excess,
    /// Size of any one file that the program writes. Default 256 MiB.
    pub file_size: Option<Limit<ByteSize>>,
    /// Open files per process. Default 1024.
    pub open_files: Option<Limit<u64>>,
    /// Bytes in `/workspace`. Default 256 MiB.
    pub workspace: Option<Limit<ByteSize>>,
    /// Bytes in `/tmp`, and as many again in `/dev/shm`. Default 256 MiB.
    pub tmp: Option<Limit<ByteSize>>,
    /// Files, directories and links in each of `/workspace`, `/tmp` and `/dev/shm`. Default 65536.
    pub inodes: Option<Limit<u64>>,
    /// CPUs' worth of time per wall-clock time, such as 0.5 or 2. Default unlimited.
    pub cpus: Option<Limit<Cpus>>,
    /// Time between the polite signal and the kill. Default 250 ms.
    pub grace: Option<Duration>,
}

/// A number of CPUs, counted in thousandths so that it can be compared exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// Thousandths of one CPU.
    pub milli: u32,
}
