//! A host for runners: runs the runner of a bundle in gVisor, and asks it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Request;
use crate::{
    BackendName, Error, Guarantee, Job, Limits, Outcome, Report, Result, Root, Stdin, blocking,
};

/// A bundle whose program is a runner.
///
/// ```no_run
/// fumehood::init(); // first in main, before there are threads
/// let bundle = fumehood::runner::Bundle::new("/bundle");
/// let output = bundle.command("/usr/bin/printargs", ["a", "b"]).output()?;
/// # Ok::<(), fumehood::runner::Failure>(())
/// ```
#[derive(Clone, Debug)]
pub struct Bundle {
    dir: PathBuf,
    /// What every command may use. Finite by default, as for any job.
    pub limits: Limits,
}

impl Bundle {
    /// The bundle in a directory. Nothing is looked at yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), limits: Limits::default() }
    }

    /// A command for the runner: the program, and its arguments without its name.
    pub fn command<A: Into<String>>(
        &self,
        path: impl Into<String>,
        args: impl IntoIterator<Item = A>,
    ) -> Cmd {
        let path = path.into();
        let args = std::iter::once(path.clone()).chain(args.into_iter().map(Into::into)).collect();
        Cmd { bundle: self.clone(), request: Request { path, args, ..Request::default() } }
    }

    /// Looks at the bundle: see [`crate::bundle::validate`].
    ///
    /// # Errors
    /// For the first problem that it has.
    pub fn validate(&self) -> Result<()> {
        crate::bundle::validate(&self.dir)
    }

    /// The job that runs the runner with this input.
    ///
    /// What such bundles do is waived, and said so in the report: their programs are root, of gVisor's
    /// kernel, and what they write is bounded by the limit of memory alone.
    #[must_use]
    pub fn job(&self, request: &Request) -> Job {
        let mut job = Job::new(Vec::<String>::new()).backend(BackendName::Runsc);
        job.root = Root::Bundle(absolute(&self.dir));
        job.limits = self.limits.clone();
        job.waive = [Guarantee::NoPrivileges, Guarantee::Disk].into();
        let text = serde_json::to_vec(request).unwrap_or_default();
        job.stdin = Stdin::Bytes(text);
        job
    }
}

fn absolute(dir: &Path) -> PathBuf {
    std::path::absolute(dir).unwrap_or_else(|_| dir.into())
}

/// A command that a runner is to run.
#[derive(Clone, Debug)]
pub struct Cmd {
    bundle: Bundle,
    /// What the runner is asked.
    pub request: Request,
}

impl Cmd {
    /// Runs it, and gives what it printed, without white space around it.
    ///
    /// # Errors
    /// The bundle is not in order, the run was refused, or the program failed, which the runner says
    /// on its standard error.
    pub fn output(&self) -> Result<Vec<u8>, Failure> {
        let failed = |why| Failure { command: self.request.args.clone(), why };
        self.bundle.validate().map_err(|error| failed(Why::NotRun(error)))?;
        let report = self.report().map_err(|error| failed(Why::NotRun(error)))?;
        match report.outcome {
            Outcome::Exited { code: 0 } => Ok(report.stdout.data.trim_ascii().to_vec()),
            _ => Err(failed(Why::Ended(Box::new(report)))),
        }
    }

    /// Runs it, and gives the whole report.
    ///
    /// # Errors
    /// As for any job.
    pub fn report(&self) -> Result<Report> {
        blocking::run(&self.bundle.job(&self.request))
    }
}

/// Why a command gave no output.
#[derive(Debug)]
pub struct Failure {
    command: Vec<String>,
    why: Why,
}

#[derive(Debug)]
enum Why {
    NotRun(Error),
    Ended(Box<Report>),
}

impl Failure {
    /// The exit status of the runner: 1 where its program failed.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        match &self.why {
            Why::NotRun(_) => None,
            Why::Ended(report) => Some(report.outcome.exit_code()),
        }
    }

    /// What the runner said.
    #[must_use]
    pub fn stderr(&self) -> &[u8] {
        match &self.why {
            Why::NotRun(_) => &[],
            Why::Ended(report) => &report.stderr.data,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "running {:?}: ", self.command)?;
        match &self.why {
            Why::NotRun(error) => error.fmt(f),
            Why::Ended(report) => {
                let said = String::from_utf8_lossy(&report.stderr.data);
                let how = report.outcome.describe();
                let how =
                    how.unwrap_or_else(|| format!("exit status {}", report.outcome.exit_code()));
                write!(f, "{how}: {}", said.trim())
            }
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.why {
            Why::NotRun(error) => Some(error),
            Why::Ended(_) => None,
        }
    }
}
