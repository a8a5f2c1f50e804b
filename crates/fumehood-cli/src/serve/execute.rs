//! Runs of jobs, whoever asked for them and in whatever form.

use std::pin::pin;

use fumehood::{Error, ErrorKind, Job, Report, Running, Streams};

use super::line::Place;
use super::problem::{Problem, is_of_the_job};
use super::service::{Shared, Stage};
use crate::output;

/// Runs a job to its end and captures its output. Dropping the future kills the program and
/// everything it started. `surface` names the interface in the metrics. The place is given back, for
/// as long as the report is in memory.
///
/// # Errors
/// What kept the program from running; how it ended is in the report.
pub(crate) async fn run(
    service: &Shared,
    surface: &'static str,
    job: &Job,
    place: Place,
) -> Result<(Report, Place), Problem> {
    start(service, surface, job, Streams::captured(), place).await?.finish_in_place().await
}

/// A program that runs, and the place that it takes. Dropping it kills the program and everything
/// it started, and counts as abandoned.
#[derive(Debug)]
pub(crate) struct Run {
    running: Running,
    watch: Watch,
    place: Place,
}

/// Starts a job.
///
/// # Errors
/// What kept the program from running.
pub(crate) async fn start(
    service: &Shared,
    surface: &'static str,
    job: &Job,
    streams: Streams,
    place: Place,
) -> Result<Run, Problem> {
    spawn(service, surface, job, streams, place).await.map_err(|refused| match refused {
        NotStarted::Stopping => Problem::stopping(),
        NotStarted::Failed(error) => Problem::from(&error),
    })
}

/// Why a program was not started.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// The service stops.
    Stopping,
    /// Noted already.
    Failed(Error),
}

/// As [`start`], for interfaces that have their own words for what went wrong.
///
/// # Errors
/// What kept the program from running.
pub(crate) async fn spawn(
    service: &Shared,
    surface: &'static str,
    job: &Job,
    streams: Streams,
    place: Place,
) -> Result<Run, NotStarted> {
    let mut watch = Watch { service: service.clone(), surface, is_over: false };
    let started = tokio::select! {
        started = service.pool.spawn(job, streams) => started,
        () = service.reached(Stage::Cancelling) => {
            watch.is_over = true;
            return Err(NotStarted::Stopping);
        }
    };
    match started {
        Ok(running) => Ok(Run { running, watch, place }),
        Err(error) => {
            watch.failed(&error);
            Err(NotStarted::Failed(error))
        }
    }
}

impl Run {
    /// Steers the program while it is waited for.
    pub(crate) fn handle(&self) -> fumehood::Handle {
        self.running.handle()
    }

    /// Waits for the end. When the service stops and time is up, the program is told to end, and
    /// killed if it does not.
    ///
    /// # Errors
    /// If watching it failed.
    pub(crate) async fn finish(self) -> Result<Report, Problem> {
        self.finish_in_place().await.map(|(report, _)| report)
    }

    /// As [`Run::finish`], with the place for whoever is not done yet.
    ///
    /// # Errors
    /// If watching it failed.
    pub(crate) async fn finish_in_place(mut self) -> Result<(Report, Place), Problem> {
        let handle = self.running.handle();
        let mut wait = pin!(self.running.wait());
        let ended = tokio::select! {
            ended = wait.as_mut() => ended,
            () = self.watch.service.reached(Stage::Cancelling) => {
                handle.cancel().await;
                wait.await
            }
        };
        match ended {
            Ok(report) => {
                self.watch.is_over = true;
                self.watch.service.metrics.ran(self.watch.surface, &report);
                Ok((report, self.place))
            }
            Err(error) => Err(self.watch.failed(&error)),
        }
    }
}

/// Counts how a run ends, or that its client went away before it did.
#[derive(Debug)]
struct Watch {
    service: Shared,
    surface: &'static str,
    is_over: bool,
}

impl Watch {
    /// Notes a failure; what is not the caller's business goes to the operator.
    fn failed(&mut self, error: &Error) -> Problem {
        self.is_over = true;
        let kind = match error.kind() {
            ErrorKind::InvalidJob { .. } | ErrorKind::Image { .. } => "invalid",
            ErrorKind::ProgramNotFound { .. } => "not-found",
            ErrorKind::ProgramNotExecutable { .. } => "not-executable",
            ErrorKind::Unsupported { .. } => "unsupported",
            ErrorKind::Start { step, .. } if is_of_the_job(step) => "not-started",
            _ => {
                self.service.suspect();
                output::failed(error);
                "failed"
            }
        };
        self.service.metrics.failed(self.surface, kind);
        Problem::from(error)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Nobody goes away from a job that outlives its connection: it is cancelled, and its record says so.
        if !self.is_over && self.surface != super::v1::JOBS {
            self.service.metrics.abandoned();
        }
    }
}
