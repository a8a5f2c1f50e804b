//! What the caller asks for.

mod backend;
mod build;
pub(crate) mod files;
mod limits;
mod node;
mod read;
mod read_files;
mod root;
mod shape;
mod stdin;
mod validate;
mod validate_files;
mod validate_limits;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{ByteSize, Guarantee};
pub use backend::BackendName;
pub use files::{Collect, CollectTo, Input, InputLimits, InputSource, TarSource};
pub use limits::{Cpus, Excess, Limit, Limits};
pub use root::Root;
pub use stdin::Stdin;
pub(crate) use validate::may_hold_a_mount;

/// A program to run, and everything that it may see and use.
///
/// Read from JSON ([`Job::from_json`]) or TOML ([`Job::from_toml`]), or built in code; the defaults
/// are those of [`Job::new`]. Written as JSON, it is read back as an equal job, and what has its
/// default is left out.
///
/// ```
/// use fumehood::{ByteSize, Job, Network};
/// let built = Job::new(["python3", "main.py"])
///     .env("PYTHONUNBUFFERED", "1")
///     .mount("/srv/task", "/task")
///     .limits(|limits| limits.memory = Some(ByteSize::mib(256).into()));
/// let read = Job::from_json(r#"{
///     "args": ["python3", "main.py"],
///     "env": {"set": {"PYTHONUNBUFFERED": "1"}},
///     "mounts": [{"source": "/srv/task", "target": "/task"}],
///     "limits": {"memory": "256MiB"}
/// }"#)?;
/// assert_eq!(built, read);
/// assert_eq!(read.network, Network::None);
/// # Ok::<(), fumehood::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(description = "A program to run, and everything that it may see and use.")]
#[non_exhaustive]
pub struct Job {
    /// The program and its arguments. The program is resolved inside the sandbox on its `PATH`. Only
    /// where the root is an image can it be left out: the image names one then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The environment of the program.
    #[serde(default, skip_serializing_if = "is_default")]
    pub env: Env,
    /// Working directory inside the sandbox: an absolute path.
    #[serde(default = "default_cwd", skip_serializing_if = "is_default_cwd")]
    #[schemars(extend("default" = Job::CWD))]
    pub cwd: PathBuf,
    /// Where the program's standard input comes from.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = Stdin::None))]
    pub stdin: Stdin,
    /// Whether the program gets a terminal of its own.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = false))]
    pub tty: bool,
    /// The file system that the program sees.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = Root::Host))]
    pub root: Root,
    /// Host files and directories that are visible inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = validate::MOST_MOUNTS))]
    pub mounts: Vec<Mount>,
    /// Empty directories in memory, beside those that every program has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<Tmpfs>,
    /// What is copied into the sandbox before the program starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// What is refused in inputs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub input_limits: InputLimits,
    /// Which files are brought back when the program has ended.
    #[serde(default, skip_serializing_if = "is_default")]
    pub collect: Collect,
    /// Which network the program sees.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = Network::None))]
    pub network: Network,
    /// The host name that the program sees.
    #[serde(default = "default_hostname", skip_serializing_if = "is_default_hostname")]
    #[schemars(extend("default" = Job::HOSTNAME))]
    pub hostname: String,
    /// What the program may use.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// Guarantees without which the job must not run, beyond those required anyway.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(with = "Vec<Guarantee>")]
    pub require: BTreeSet<Guarantee>,
    /// Guarantees that may be missing.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(with = "Vec<Guarantee>")]
    pub waive: BTreeSet<Guarantee>,
    /// The filter of system calls.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = Seccomp::Default))]
    pub seccomp: Seccomp,
    /// The mechanism that confines.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = BackendName::Native))]
    pub backend: BackendName,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_cwd() -> PathBuf {
    Job::CWD.into()
}

fn is_default_cwd(cwd: &Path) -> bool {
    cwd.as_os_str() == Job::CWD
}

fn default_hostname() -> String {
    Job::HOSTNAME.into()
}

fn is_default_hostname(hostname: &String) -> bool {
    hostname == Job::HOSTNAME
}

/// The environment of a program: `PATH`, `HOME`, `LANG`, `TMPDIR`, and what is named here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Env {
    /// Variables with their values. A name that looks like a secret is refused here: the value
    /// would stay behind in job files and command lines.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Names that are taken from the caller's environment if they are set there.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub inherit: BTreeSet<String>,
    /// Names that look like secrets and may be inherited all the same: each must be in `inherit`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub allow_secret: BTreeSet<String>,
}

/// A host file or directory that is visible inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// What the program may do with it.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = Access::ReadOnly))]
    pub access: Access,
    /// Whether a source that does not exist is skipped rather than an error.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = false))]
    pub optional: bool,
    /// Whether the program gets the rights of the source's owner on what belongs to that owner. Only
    /// for runs that root starts, whose program is somebody else; in any other it is the caller
    /// anyway. With `cow` always.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = false))]
    pub as_owner: bool,
    /// Absolute path of a directory on the host that keeps what the program changes in a `cow` mount.
    /// It must belong to the caller, be closed to others, and be empty or hold the changes of an
    /// earlier run to the same source, which this one continues on. It has no limit but the file
    /// system's: the guarantee `disk` is given up. In memory if it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PathBuf")]
    pub upper: Option<PathBuf>,
}

/// An empty directory in memory that is gone with the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Absolute path inside.
    pub target: PathBuf,
    /// Bytes that it holds. As many as `limits.tmp` if it is not set. At least 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "crate::schema::Limited<ByteSize>")]
    pub size: Option<Limit<ByteSize>>,
}

/// What a program may do with a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub enum Access {
    /// Read and execute; nested mounts included.
    #[default]
    #[serde(rename = "ro")]
    ReadOnly,
    /// Read, write and execute.
    #[serde(rename = "rw")]
    ReadWrite,
    /// Read, write and execute, but what the program writes stays in the cell: the host's directory
    /// is not changed unless the changes are applied.
    #[serde(rename = "cow")]
    CopyOnWrite,
}

/// Which network a program sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Network {
    /// A loopback interface of its own and nothing else.
    #[default]
    None,
    /// The host's network.
    Host,
    /// A network of Docker's or Podman's by its name, such as `bridge`: what it leads to is the
    /// engine's affair.
    Named(String),
}

/// The filter of system calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Seccomp {
    /// The profile that Fumehood ships.
    #[default]
    Default,
    /// A profile in the JSON format of OCI runtimes or Docker, read from this file.
    Profile(PathBuf),
}
