//! A bundle that somebody else wrote, run as it is.

use std::path::{Path, PathBuf};

use super::guarantees;
use crate::backend::Lack;
use crate::bundle::{self, Config};
use crate::plan::{Plan, standing};
use crate::{Error, Guarantee, Job, Result, Root};

/// What is looked at of it.
pub(super) struct AsIs {
    dir: PathBuf,
    config: Config,
}

impl AsIs {
    /// Reads and validates it, so that what a runtime would say in riddles is said here.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let found = bundle::look(dir);
        match (found.problems.first(), found.config) {
            (None, Some(config)) => Ok(Self { dir: dir.into(), config }),
            (problem, _) => {
                let problem = problem.map_or("cannot be read", String::as_str);
                Err(Error::invalid("root.bundle", dir.display(), problem))
            }
        }
    }

    /// The program and its arguments.
    pub(super) fn args(&self) -> Vec<String> {
        self.config.process.args.clone()
    }

    /// Refuses what the bundle alone decides. Whatever is left to a job is watched by its supervisor.
    pub(super) fn refuse(&self, job: &Job) -> Result<()> {
        let plain = Job::new(Vec::<String>::new());
        let set = [
            ("args", !job.args.is_empty() && job.args != self.args()),
            ("env", job.env != plain.env),
            ("cwd", job.cwd != plain.cwd),
            ("tty", job.tty),
            ("mounts", !job.mounts.is_empty()),
            ("tmpfs", !job.tmpfs.is_empty()),
            ("inputs", !job.inputs.is_empty()),
            ("collect", !job.collect.paths.is_empty()),
            ("network", job.network != plain.network),
            ("hostname", job.hostname != plain.hostname),
            ("seccomp", job.seccomp != plain.seccomp),
        ];
        match set.into_iter().find(|(_, set)| *set) {
            None => Ok(()),
            Some((field, _)) => {
                let problem = "a bundle is run as it is; say it in its config.json";
                Err(Error::invalid(field, format!("with {}", self.dir.display()), problem))
            }
        }
    }

    fn gives_privileges(&self) -> bool {
        let process = &self.config.process;
        let capable = process.capabilities.as_ref().is_some_and(|sets| !sets.are_empty());
        capable || !process.no_new_privileges || process.user.uid == 0
    }
}

/// What holds of a run by a bundle.
pub(super) fn holds(
    dir: &Path,
    plan: &Plan,
    guarantee: Guarantee,
) -> std::result::Result<Vec<String>, Lack> {
    use Guarantee as G;
    let held = |by: &str| Ok(vec![by.to_owned()]);
    match guarantee {
        G::Memory | G::CpuTime => standing::by_cell(plan, guarantee),
        G::Filesystem => held("gVisor's own file system, of the bundle's root and mounts"),
        G::ReadOnlyRoot => held("gVisor's overlay in memory over the root and every mount"),
        G::Disk => Err(Lack::of_backend(
            "what the program writes is in memory, within the limit of memory and no other",
        )),
        G::NoPrivileges if AsIs::read(dir).is_ok_and(|bundle| !bundle.gives_privileges()) => {
            held("config.json: no_new_privs, no capability, not root in gVisor")
        }
        G::NoPrivileges => Err(Lack::of_backend(
            "config.json makes the program root or gives it capabilities, of gVisor's kernel only",
        )),
        _ => guarantees::holds(super::Kind::Runsc, plan, guarantee),
    }
}

/// The directory of a bundle that is run as it is.
pub(super) fn dir(plan: &Plan) -> Option<&Path> {
    match &plan.job.root {
        Root::Bundle(dir) => Some(dir),
        _ => None,
    }
}
