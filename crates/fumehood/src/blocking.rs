//! A front for callers without an asynchronous runtime: each call brings a small one of its own.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::process::{Resource, getrlimit};

use crate::{Changes, Error, Job, Report, Result, Sandbox, Support};

/// Runs a job to its end and captures its output.
///
/// ```no_run
/// let job = fumehood::Job::new(["echo", "hello"]);
/// let report = fumehood::blocking::run(&job)?;
/// assert_eq!(report.stdout.data, b"hello\n");
/// # Ok::<(), fumehood::Error>(())
/// ```
///
/// # Errors
/// Only if the program could not be run: see [`ErrorKind`](crate::ErrorKind).
pub fn run(job: &Job) -> Result<Report> {
    run_in(&Sandbox::new(), job)
}

/// [`run`] in a given sandbox.
///
/// # Errors
/// Only if the program could not be run: see [`ErrorKind`](crate::ErrorKind).
pub fn run_in(sandbox: &Sandbox, job: &Job) -> Result<Report> {
    block_on(sandbox.run(job))?
}

/// Runs a job, captures its output, and keeps what it changed in copy-on-write mounts.
///
/// ```no_run
/// let job = fumehood::Job::new(["make"]).mount_cow("/home/me/project", "/workspace");
/// let (report, changes) = fumehood::blocking::run_with_changes(&job)?;
/// for change in report.diff.iter().flat_map(|diff| &diff.changes) {
///     println!("{change}");
/// }
/// // So far nothing has reached the host.
/// if let Some(changes) = changes.filter(|_| report.outcome.exit_code() == 0) {
///     for applied in changes.apply()? {
///         for left in applied.refused {
///             println!("{}: {}", left.path.display(), left.reason);
///         }
///     }
/// }
/// # Ok::<(), fumehood::Error>(())
/// ```
///
/// # Errors
/// Those of [`run`].
pub fn run_with_changes(job: &Job) -> Result<(Report, Option<Changes>)> {
    block_on(Sandbox::new().run_with_changes(job))?
}

/// Runs a future of this library to its end on the current thread.
///
/// # Errors
/// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if no runtime can be made.
pub fn block_on<F: Future>(future: F) -> Result<F::Output> {
    let build =
        |()| tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = has_room().and_then(build);
    let runtime = runtime.map_err(|error| Error::internal("start a runtime", error))?;
    Ok(runtime.block_on(future))
}

/// A runtime panics where it gets some of its descriptors and not the others. Only who may have few of
/// them is looked at.
fn has_room() -> io::Result<()> {
    const FEW: u64 = 64;
    /// More than a runtime takes.
    const PAIRS: usize = 4;
    if getrlimit(Resource::Nofile).current.is_none_or(|limit| limit >= FEW) {
        return Ok(());
    }
    let tried: io::Result<Vec<_>> = (0..PAIRS).map(|_| UnixStream::pair()).collect();
    tried.map(drop)
}

/// Tries what this host can hold. See [`support`](crate::support()).
///
/// # Errors
/// As [`Sandbox::support`].
pub fn support() -> Result<Support> {
    support_of(&Sandbox::new())
}

/// [`support`] with a given sandbox.
///
/// # Errors
/// As [`Sandbox::support`].
pub fn support_of(sandbox: &Sandbox) -> Result<Support> {
    block_on(sandbox.support())?
}
