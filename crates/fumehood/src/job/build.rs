//! Jobs built in code.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{
    Access, BackendName, Collect, Env, InputLimits, Job, Limits, Mount, Network, Root, Seccomp,
    Stdin, Tmpfs,
};
use crate::Guarantee;

impl Job {
    /// The default working directory.
    pub const CWD: &'static str = "/workspace";
    /// The default host name.
    pub const HOSTNAME: &'static str = "sandbox";

    /// A job that runs a program with these arguments, the program first, and has every default:
    /// a clean environment, no input, no mounts, no network, and finite limits.
    #[must_use]
    pub fn new<I>(args: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self {
            args: args.into_iter().map(Into::into).collect(),
            env: Env::default(),
            cwd: Self::CWD.into(),
            stdin: Stdin::default(),
            tty: false,
            root: Root::default(),
            mounts: Vec::new(),
            tmpfs: Vec::new(),
            inputs: Vec::new(),
            input_limits: InputLimits::default(),
            collect: Collect::default(),
            network: Network::default(),
            hostname: Self::HOSTNAME.into(),
            limits: Limits::default(),
            require: BTreeSet::new(),
            waive: BTreeSet::new(),
            seccomp: Seccomp::default(),
            backend: BackendName::default(),
        }
    }

    /// Sets a variable of the program's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.set.insert(name.into(), value.into());
        self
    }

    /// Takes a variable from the caller's environment if it is set there.
    #[must_use]
    pub fn inherit_env(mut self, name: impl Into<String>) -> Self {
        self.env.inherit.insert(name.into());
        self
    }

    /// Takes a variable from the caller's environment although its name looks like a secret: the
    /// program can read it and, with a network, send it away.
    #[must_use]
    pub fn inherit_secret(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.env.inherit.insert(name.clone());
        self.env.allow_secret.insert(name);
        self
    }

    /// Sets the working directory inside.
    #[must_use]
    pub fn cwd(mut self, path: impl Into<PathBuf>) -> Self {
        self.cwd = path.into();
        self
    }

    /// Sets where standard input comes from; bytes and text can be given as they are.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Stdin>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Gives the program a terminal of its own, or not.
    #[must_use]
    pub fn tty(mut self, tty: bool) -> Self {
        self.tty = tty;
        self
    }

    /// Sets the file system that the program sees at `/`.
    #[must_use]
    pub fn root(mut self, root: Root) -> Self {
        self.root = root;
        self
    }

    /// Makes a host file or directory visible inside, read-only.
    #[must_use]
    pub fn mount(self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        self.with_mount(Mount::new(source, target))
    }

    /// Makes a host file or directory visible inside, and lets the program write to it.
    #[must_use]
    pub fn mount_writable(self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        self.with_mount(Mount { access: Access::ReadWrite, ..Mount::new(source, target) })
    }

    /// Makes a host directory visible inside, and lets the program write to it without changing it:
    /// what it writes is in the report as a [diff](crate::Report::diff), and can be
    /// [applied](crate::Changes::apply).
    #[must_use]
    pub fn mount_cow(self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        self.with_mount(Mount { access: Access::CopyOnWrite, ..Mount::new(source, target) })
    }

    /// Adds a mount.
    #[must_use]
    pub fn with_mount(mut self, mount: Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    /// Adds an empty directory in memory, as large as `limits.tmp` says.
    #[must_use]
    pub fn tmpfs(mut self, target: impl Into<PathBuf>) -> Self {
        self.tmpfs.push(Tmpfs { target: target.into(), size: None });
        self
    }

    /// Sets which network the program sees.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Sets the host name that the program sees.
    #[must_use]
    pub fn hostname(mut self, hostname: impl Into<String>) -> Self {
        self.hostname = hostname.into();
        self
    }

    /// Changes what the program may use.
    ///
    /// ```
    /// use std::time::Duration;
    /// use fumehood::{Job, Limit};
    /// let job = Job::new(["make"]).limits(|limits| {
    ///     limits.wall_time = Some(Duration::from_secs(60).into());
    ///     limits.pids = Some(Limit::Unlimited);
    /// });
    /// assert_eq!(job.limits.pids(), Limit::Unlimited);
    /// ```
    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Adds a guarantee without which the job must not run.
    #[must_use]
    pub fn require(mut self, guarantee: Guarantee) -> Self {
        self.require.insert(guarantee);
        self
    }

    /// Adds a guarantee that may be missing.
    #[must_use]
    pub fn waive(mut self, guarantee: Guarantee) -> Self {
        self.waive.insert(guarantee);
        self
    }

    /// Sets the filter of system calls.
    #[must_use]
    pub fn seccomp(mut self, seccomp: Seccomp) -> Self {
        self.seccomp = seccomp;
        self
    }

    /// Sets the mechanism that confines.
    #[must_use]
    pub fn backend(mut self, backend: BackendName) -> Self {
        self.backend = backend;
        self
    }
}

impl Mount {
    /// A mount that must exist and that the program can read.
    #[must_use]
    pub fn new(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            target: target.into(),
            access: Access::default(),
            optional: false,
            as_owner: false,
            upper: None,
        }
    }
}
