//! A front for callers without an asynchronous runtime: each call brings a small one of its own.

use crate::{Error, Job, Report, Result, Sandbox, Support};

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

/// Runs a future of this library to its end on the current thread.
///
/// # Errors
/// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if no runtime can be made.
pub fn block_on<F: Future>(future: F) -> Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| Error::internal("start a runtime", error))?;
    Ok(runtime.block_on(future))
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
