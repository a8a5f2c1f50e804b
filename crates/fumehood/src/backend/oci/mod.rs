//! OCI runtimes: gVisor's runsc, crun, and runc, which all take the same bundle.
//!
//! A runtime is the [tool](crate::backend::native::script::Tool) of a home: a cell with processes and
//! mounts of its own, in the control group that holds the limits. The bundle, the runtime's state and
//! the program's own files are on memory file systems that nobody outside of the cell sees. So there
//! is no state that could go stale: when the init of the home ends, and it ends with its supervisor,
//! the kernel takes processes, mounts and state along.

mod as_is;
mod config;
mod container;
mod devices;
mod failure;
mod guarantees;
pub(super) mod home;
pub(super) mod place;
mod rules;
mod sign;
mod sources;
pub(super) mod tenant;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::native::ahead::Ahead;
use super::native::launch::Launcher;
use super::native::script::TerminalSize;
use super::{Backend, Lack, Soon, Started};
use crate::host::{Host, NOBODY};
use crate::plan::Plan;
use crate::{
    Access, BackendName, ByteSize, Error, ErrorKind, Guarantee, Job, Limit, Network, Result, Root,
    Seccomp,
};

/// Which of the runtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Runsc,
    Crun,
    Runc,
}

impl Kind {
    fn of(name: BackendName) -> Option<Self> {
        match name {
            BackendName::Runsc => Some(Self::Runsc),
            BackendName::Crun => Some(Self::Crun),
            BackendName::Runc => Some(Self::Runc),
            _ => None,
        }
    }

    const fn name(self) -> BackendName {
        match self {
            Self::Runsc => BackendName::Runsc,
            Self::Crun => BackendName::Crun,
            Self::Runc => BackendName::Runc,
        }
    }

    /// The environment variable that names the program, for one that is not in the `PATH`.
    const fn variable(self) -> &'static str {
        match self {
            Self::Runsc => "FUMEHOOD_RUNSC",
            Self::Crun => "FUMEHOOD_CRUN",
            Self::Runc => "FUMEHOOD_RUNC",
        }
    }

    const fn fix(self) -> &'static str {
        match self {
            Self::Runsc => "install gVisor's runsc of 2023 or later, or name it in FUMEHOOD_RUNSC",
            Self::Crun => "apt-get install crun",
            Self::Runc => "apt-get install runc",
        }
    }
}

/// A runtime that was found.
#[derive(Clone, Debug)]
pub(super) struct Runtime {
    kind: Kind,
    program: PathBuf,
}

/// Where system packages put runtimes, some of them outside of an ordinary user's `PATH`.
const USUAL: [&str; 4] = ["/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin"];

impl Runtime {
    /// Looks for the runtime of that name; none if the name is no runtime's.
    pub(super) fn find(name: BackendName) -> Option<Result<Self>> {
        let kind = Kind::of(name)?;
        let Some(chosen) = std::env::var_os(kind.variable()) else {
            let found = search(name.name());
            let reason = || missing(kind, "is not installed".to_owned());
            return Some(found.map(|program| Self { kind, program }).ok_or_else(reason));
        };
        let program = PathBuf::from(chosen);
        Some(if program.is_absolute() && is_program(&program) {
            Ok(Self { kind, program })
        } else {
            let variable = kind.variable();
            let problem = format!(
                "cannot be used: {variable} is {}, which is not the absolute path of a program",
                program.display()
            );
            Err(missing(kind, problem))
        })
    }
}

fn missing(kind: Kind, reason: String) -> Error {
    let fix = Some(kind.fix().to_owned());
    ErrorKind::NoBackend { backend: kind.name(), reason, fix }.into()
}

pub(super) fn search(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    let dirs = listed.chain(USUAL.iter().map(PathBuf::from));
    dirs.map(|dir| dir.join(name)).find(|program| is_program(program))
}

pub(super) fn is_program(path: &Path) -> bool {
    use rustix::fs::{Access, access};
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

impl Backend for Runtime {
    fn name(&self) -> BackendName {
        self.kind.name()
    }

    fn version(&self) -> String {
        let mut command = Command::new(&self.program);
        let output = command.arg("--version").stdin(Stdio::null()).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let line = text.unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        format!("{}: {line}", self.program.display())
    }

    fn notes(&self) -> Vec<String> {
        vec!["memory and CPU time of the runtime itself count towards the limits".to_owned()]
    }

    fn lays_out_root(&self, job: &Job) -> bool {
        !matches!((self.kind, &job.root), (Kind::Runsc, Root::Bundle(_)))
    }

    fn fit(&self, plan: &mut Plan) -> Result<()> {
        if let Root::Bundle(dir) = &plan.job.root {
            let bundle = as_is::AsIs::read(dir)?;
            bundle.refuse(&plan.job)?;
            plan.job.args = bundle.args();
            return Ok(());
        }
        refuse(self.kind, plan)?;
        only_text(plan)?;
        home::check_cwd(plan)?;
        home::check_collect(plan)?;
        let host = Host::current();
        if self.kind != Kind::Runsc {
            let filter = crate::plan::filter(&plan.job, host)?;
            plan.filter = Some(std::sync::Arc::new(filter));
        }
        self.identify(plan, host);
        Ok(())
    }

    fn holds(&self, plan: &Plan, guarantee: Guarantee) -> Result<Vec<String>, Lack> {
        match &plan.job.root {
            Root::Bundle(dir) => as_is::holds(dir, plan, guarantee),
            _ => guarantees::holds(self.kind, plan, guarantee),
        }
    }

    fn start<'a>(
        &'a self,
        launcher: &'a Launcher,
        ahead: Option<Ahead>,
        plan: &'a Plan,
        stdio: Vec<OwnedFd>,
        _terminal: Option<TerminalSize>,
    ) -> Soon<'a, Result<Started>> {
        Box::pin(container::start(self, launcher, ahead, plan, stdio))
    }
}

impl Runtime {
    /// Who the program is. crun maps one id of the container to one of the host; runc maps none or
    /// needs root inside; gVisor's ids are its own, but files on their way to the host keep them.
    fn identify(&self, plan: &mut Plan, host: &Host) {
        let identity = &mut plan.identity;
        match self.kind {
            Kind::Crun => {}
            Kind::Runsc if host.uid == 0 => {
                (identity.host_uid, identity.host_gid) = (identity.uid, identity.gid);
            }
            Kind::Runc if host.can_be_nobody => {
                (identity.uid, identity.gid) = NOBODY;
                (identity.host_uid, identity.host_gid) = NOBODY;
            }
            Kind::Runsc | Kind::Runc => (identity.uid, identity.gid) = (0, 0),
        }
    }
}

/// Bundles are JSON, which has no other text than UTF-8.
fn only_text(plan: &Plan) -> Result<()> {
    let problem = || format!("is no UTF-8, and a bundle for {} holds nothing else", plan.backend());
    for (index, mount) in plan.job.mounts.iter().enumerate() {
        for (name, path) in [("source", &mount.source), ("target", &mount.target)] {
            if path.to_str().is_none() {
                let field = format!("mounts[{index}].{name}");
                return Err(Error::invalid(field, path.display(), problem()));
            }
        }
    }
    let paths = plan.root.iter().filter_map(|entry| match entry {
        crate::Entry::Bind { source, .. } => Some(source),
        crate::Entry::Tmpfs { target, .. } => Some(target),
        crate::Entry::Cover { path, .. } => Some(path),
        _ => None,
    });
    if let Some(path) = paths.chain([&plan.job.cwd]).find(|path| path.to_str().is_none()) {
        return Err(Error::invalid("root", path.display(), problem()));
    }
    match plan.env.iter().find(|(_, value)| value.to_str().is_none()) {
        Some((name, value)) => {
            Err(Error::invalid(format!("env.{name}"), value.display(), problem()))
        }
        None => Ok(()),
    }
}

/// Room for what is written within the program's limits: the last word of process 1, and crun's filter, of
/// which the kernel takes 32 KiB.
const SMALLEST_FILE: ByteSize = ByteSize(64 << 10);

/// Refuses what no plan for a runtime can do.
fn refuse(kind: Kind, plan: &Plan) -> Result<()> {
    let (job, name) = (&plan.job, kind.name());
    if job.tty {
        let problem = format!("backend {name} gives no terminal; leave it out");
        return Err(Error::invalid("tty", true, problem));
    }
    for (index, mount) in job.mounts.iter().enumerate() {
        if mount.access == Access::CopyOnWrite {
            let problem = format!("backend {name} has no copy-on-write mounts; use ro or rw");
            return Err(Error::invalid(format!("mounts[{index}].access"), "cow", problem));
        }
        if mount.as_owner {
            let problem = format!("backend {name} maps no owners; leave it out");
            return Err(Error::invalid(format!("mounts[{index}].as_owner"), true, problem));
        }
    }
    if let (Kind::Runsc, Seccomp::Profile(path)) = (kind, &job.seccomp) {
        let problem = "gVisor answers system calls itself; leave the profile out";
        return Err(Error::invalid("seccomp.profile", path.display(), problem));
    }
    if let Some(Limit::Finite(size)) = job.limits.file_size
        && size < SMALLEST_FILE
    {
        let problem = format!(
            "is too small; at least {SMALLEST_FILE}: it holds for what {name} itself writes down, too"
        );
        return Err(Error::invalid("limits.file_size", size, problem));
    }
    if kind == Kind::Runsc && job.network == Network::Host && !Host::current().is_real_root {
        let problem = "gVisor passes the host's network on only where root runs it";
        return Err(Error::invalid("network", "host", problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_too_small_for_the_runtime_s_own_is_refused() {
        let host = Host::current();
        for kind in [Kind::Runsc, Kind::Crun, Kind::Runc] {
            let refused = |size: ByteSize| {
                let job = Job::new(["true"]).limits(|limits| limits.file_size = Some(size.into()));
                let job = Guarantee::ALL.into_iter().fold(job, Job::waive);
                let plan = Plan::make(&job, host, Vec::new()).expect("it is valid");
                refuse(kind, &plan).err().map(|error| error.to_string())
            };
            assert_eq!(refused(SMALLEST_FILE), None);
            let said = refused(ByteSize(1)).expect("it is refused");
            assert!(said.starts_with("invalid job: limits.file_size: 1B: "), "{said}");
        }
    }
}
