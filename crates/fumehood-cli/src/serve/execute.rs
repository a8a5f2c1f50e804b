//! Runs of jobs, whoever asked for them and in whatever form.

use std::pin::pin;

use fumehood::{Error, ErrorKind, Job, Report, Running, Streams};

use super::line::Place;
use super::metrics::Metrics;
use super::problem::Problem;
use super::service::{Service, Stage};
use crate::output;

/// Runs a job to its end and captures its output. Dropping the future kills the program and
/// everything it started. `surface` names the interface in the metrics.
///
/// # Errors
/// What kept the program from running; how it ended is in the report.
pub(crate) async fn run(
    service: &Service,
    surface: &'static str,
    job: &Job,
    place: Place,
) -> Result<Report, Problem> {
    let run = start(service, surface, job, Streams::captured()).await?;
    let report = run.finish(service, surface).await;
    drop(place);
    report
}

/// A program that runs; to be finished, or it counts as abandoned and is killed.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    running: Running,
    abandoned: Abandoned<'a>,
}

/// Starts a job.
///
/// # Errors
/// What kept the program from running.
pub(crate) async fn start<'a>(
    service: &'a Service,
    surface: &'static str,
    job: &Job,
    streams: Streams,
) -> Result<Run<'a>, Problem> {
    let abandoned = Abandoned(Some(&service.metrics));
    let started = tokio::select! {
        started = service.pool.spawn(job, streams) => started,
        () = service.reached(Stage::Cancelling) => {
            abandoned.disarm();
            return Err(Problem::stopping());
        }
    };
    match started {
        Ok(running) => {
            service.note_health(true);
            Ok(Run { running, abandoned })
        }
        Err(error) => {
            abandoned.disarm();
            Err(failed(service, surface, &error))
        }
    }
}

impl Run<'_> {
    /// Waits for the end. When the service stops and time is up, the program is told to end, and
    /// killed if it does not.
    ///
    /// # Errors
    /// If watching it failed.
    pub(crate) async fn finish(
        mut self,
        service: &Service,
        surface: &'static str,
    ) -> Result<Report, Problem> {
        let handle = self.running.handle();
        let mut wait = pin!(self.running.wait());
        let ended = tokio::select! {
            ended = wait.as_mut() => ended,
            () = service.reached(Stage::Cancelling) => {
                handle.cancel().await;
                wait.await
            }
        };
        self.abandoned.disarm();
        match ended {
            Ok(report) => {
                service.metrics.ran(surface, &report);
                Ok(report)
            }
            Err(error) => Err(failed(service, surface, &error)),
        }
    }
}

/// Notes a failure; what is not the caller's business goes to the operator.
fn failed(service: &Service, surface: &'static str, error: &Error) -> Problem {
    let kind = match error.kind() {
        ErrorKind::InvalidJob { .. } | ErrorKind::Image { .. } => "invalid",
        ErrorKind::ProgramNotFound { .. } => "not-found",
        ErrorKind::ProgramNotExecutable { .. } => "not-executable",
        ErrorKind::Unsupported { .. } => "unsupported",
        _ => {
            service.note_health(false);
            output::failed(error);
            "failed"
        }
    };
    service.metrics.failed(surface, kind);
    Problem::from(error)
}

/// Counts a run as abandoned when it is dropped.
#[derive(Debug)]
struct Abandoned<'a>(Option<&'a Metrics>);

impl Abandoned<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.0 {
            metrics.abandoned();
        }
    }
}
