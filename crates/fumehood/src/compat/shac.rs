//! The surface of shac's sandbox: mounts and a configuration, from which comes a command that is
//! confined by nsjail and not started yet.
//!
//! The command line is the same, argument for argument. What differs is on purpose: a configuration
//! is not changed by being used, what nsjail cannot express is an error before anything runs, and where
//! there is no nsjail there is no command, instead of one without a sandbox.
//!
//! ```no_run
//! use fumehood::compat::shac::{Config, Mount, Sandbox};
//! let config = Config::new(["/usr/bin/ls"], "/src").mount(Mount::new("/src"));
//! let status = Sandbox::find()?.command(&config)?.status();
//! # Ok::<(), fumehood::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::{Error, Result, backend};

/// A file or directory of the host that the program sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// Absolute path inside; the same if there is none.
    pub dest: Option<PathBuf>,
    /// Whether the program can write to it.
    pub writable: bool,
}

impl Mount {
    /// The same path inside, read-only.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), dest: None, writable: false }
    }

    /// The same, writable.
    #[must_use]
    pub fn writable(self) -> Self {
        Self { writable: true, ..self }
    }

    /// At another path inside.
    #[must_use]
    pub fn at(self, dest: impl Into<PathBuf>) -> Self {
        Self { dest: Some(dest.into()), ..self }
    }

    fn inside(&self) -> &Path {
        self.dest.as_deref().unwrap_or(&self.path)
    }
}

/// What is run, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The program by its absolute path, and its arguments.
    pub cmd: Vec<OsString>,
    /// Working directory inside, and the root below which links are resolved.
    pub cwd: PathBuf,
    /// Whether the program has the host's network.
    pub allow_network: bool,
    /// All of the program's environment.
    pub env: BTreeMap<OsString, OsString>,
    /// What it sees of the host, besides itself.
    pub mounts: Vec<Mount>,
}

impl Config {
    /// A program in a directory, that sees itself and nothing else.
    #[must_use]
    pub fn new<A: Into<OsString>>(
        cmd: impl IntoIterator<Item = A>,
        cwd: impl Into<PathBuf>,
    ) -> Self {
        let cmd = cmd.into_iter().map(Into::into).collect();
        Self { cmd, cwd: cwd.into(), ..Self::default() }
    }

    /// Adds a mount.
    #[must_use]
    pub fn mount(mut self, mount: Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Lets the program have the host's network, or not.
    #[must_use]
    pub const fn allow_network(mut self, allow: bool) -> Self {
        self.allow_network = allow;
        self
    }
}

/// The nsjail that commands are made for.
#[derive(Clone, Debug)]
pub struct Sandbox {
    nsjail: PathBuf,
}

impl Sandbox {
    /// The nsjail in the `PATH`, or that which `FUMEHOOD_NSJAIL` names.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`](crate::ErrorKind::NoBackend) if there is none.
    pub fn find() -> Result<Self> {
        Ok(Self { nsjail: backend::nsjail_program()? })
    }

    /// One by its path, which is not looked at.
    #[must_use]
    pub fn at(nsjail: impl Into<PathBuf>) -> Self {
        Self { nsjail: nsjail.into() }
    }

    /// The command, for the caller to connect and start. It ends with the program's exit status, 128
    /// and the number of the signal that ended it, or 255 if nsjail failed: whoever has to tell that
    /// from a program's own 255 runs a [`Job`](crate::Job) on backend `nsjail`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidJob`](crate::ErrorKind::InvalidJob) if the program or a mount is not an
    /// absolute path, or has a colon in it, by which nsjail separates paths.
    pub fn command(&self, config: &Config) -> Result<Command> {
        let mut command = Command::new(&self.nsjail);
        command.args(arguments(config)?);
        Ok(command)
    }
}

/// nsjail's arguments.
fn arguments(config: &Config) -> Result<Vec<OsString>> {
    let program = config.cmd.first().map_or_else(|| Path::new(""), Path::new);
    absolute("cmd[0]", program)?;
    absolute("cwd", &config.cwd)?;
    let mut args: Vec<OsString> = [
        "--quiet",
        "--forward_signals",
        "--disable_rlimits",
        "--disable_clone_newcgroup",
        "--time_limit",
        "0",
        "--cwd",
    ]
    .map(OsString::from)
    .into();
    args.push(config.cwd.clone().into());
    if config.allow_network {
        args.push("--disable_clone_newnet".into());
    }
    for (name, value) in &config.env {
        let pair = [name.as_os_str(), OsStr::new("="), value].concat_os();
        args.extend(["--env".into(), pair]);
    }
    let mut mounts = resolve(&config.cwd, program, &config.mounts);
    // nsjail mounts in the order given, and a parent would hide what is mounted in it.
    mounts.sort_by(|one, other| one.inside().cmp(other.inside()));
    for mount in &mounts {
        for path in [mount.path.as_path(), mount.inside()] {
            absolute("mounts", path)?;
            if path.as_os_str().as_bytes().contains(&b':') {
                let problem = "has a colon, by which nsjail separates paths";
                return Err(Error::invalid("mounts", path.display(), problem));
            }
        }
        let flag = if mount.writable { "--bindmount" } else { "--bindmount_ro" };
        let pair = [mount.path.as_os_str(), OsStr::new(":"), mount.inside().as_os_str()];
        args.extend([flag.into(), pair.concat_os()]);
    }
    args.push("--".into());
    args.extend(config.cmd.iter().cloned());
    Ok(args)
}

fn absolute(field: &str, path: &Path) -> Result<()> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Error::invalid(field, path.display(), "must be an absolute path"))
}

/// Text that may not be text, put together.
trait ConcatOs {
    fn concat_os(&self) -> OsString;
}

impl ConcatOs for [&OsStr; 3] {
    fn concat_os(&self) -> OsString {
        let mut all = OsString::new();
        self.iter().for_each(|part| all.push(part));
        all
    }
}

/// The mounts with the program's own added, and with links below `root` made to work: what each leads to
/// is mounted where it is, and where the link is. Of two for one place the first counts.
#[must_use]
pub fn resolve(root: &Path, program: &Path, mounts: &[Mount]) -> Vec<Mount> {
    let mut all = Vec::new();
    let program = Mount::new(program);
    for mount in mounts.iter().chain([&program]) {
        below(root, mount, &mut all);
    }
    let mut seen = BTreeSet::new();
    all.retain(|mount| seen.insert(mount.inside().to_owned()));
    all
}

fn below(root: &Path, mount: &Mount, all: &mut Vec<Mount>) {
    let like = |path: &Path, dest: &Path| Mount {
        path: path.to_owned(),
        dest: Some(clean(dest)),
        writable: mount.writable,
    };
    if !mount.path.starts_with(root) {
        return all.push(like(&mount.path, mount.inside()));
    }
    for link in mount.path.ancestors().take_while(|path| *path != root) {
        if !link.is_symlink() {
            continue;
        }
        if let Ok(target) = link.canonicalize() {
            all.extend([like(&target, &target), like(&target, link)]);
        }
    }
    match mount.path.canonicalize() {
        Ok(real) => all.extend([like(&real, &real), like(&real, mount.inside())]),
        // nsjail says what is wrong with it.
        Err(_) => all.push(like(&mount.path, mount.inside())),
    }
}

/// A path without `.`, `..` and doubled slashes, by its text alone.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
#[path = "shac_tests.rs"]
mod tests;
