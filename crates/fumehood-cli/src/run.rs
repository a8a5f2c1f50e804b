//! `fumehood run`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::time::Duration;

use fumehood::{
    BackendName, Changes, CollectTo, Error, Job, Report, Result, Running, Sandbox, Streams,
};
use tokio::signal::unix::SignalKind;
use tokio::time::timeout;

use crate::args::RunArgs;
use crate::error::internal;
use crate::report::ReportFile;
use crate::signals::{Signals, Stopped, unless_stopped};
use crate::terminal::{self, Raw};
use crate::{changes, exit, lower, output};

/// Runs what the arguments say, and returns the exit status.
pub(crate) fn run(args: &RunArgs, sandbox: &Sandbox) -> u8 {
    let file = match args.report.as_deref().map(ReportFile::at).transpose() {
        Ok(file) => file,
        Err(error) => return output::failed(&error),
    };
    let ran = lower::job(&args.job)
        .and_then(|job| has_somewhere_to_go(job, args))
        .and_then(|job| supervise(&job, sandbox, args.json));
    let (mut result, changes) = match ran {
        Ok((report, changes)) => (Ok(report), changes),
        Err(error) => (Err(error), None),
    };
    let mut notices = output::ended(&result);
    let handled = changes::handle(&args.changes, args.json, &mut result, changes, &mut notices);
    // Whoever reads no notices must get the report all the same.
    let delivered = handled.and_then(|status| deliver(&result, args.json, file).map(|()| status));
    notices.iter().for_each(|line| output::say(line));
    match delivered {
        Ok(status) => status.unwrap_or_else(|| exit::of(&result)),
        Err(error) => output::failed(&error),
    }
}

/// What runs without confinement never does so in silence.
fn warn(job: &Job) {
    if job.backend == BackendName::Unconfined {
        output::say("not confined: the program has all rights of who runs it");
    }
}

/// Collected files that go into the report are lost where there is none.
fn has_somewhere_to_go(job: Job, args: &RunArgs) -> Result<Job> {
    let reported = args.json || args.report.is_some();
    if let Some(path) = job.collect.paths.first()
        && job.collect.to == CollectTo::Report
        && !reported
    {
        let problem = "would go nowhere; add --collect-to DIR or FILE.tar, or --report FILE";
        return Err(Error::invalid("--collect", path, problem));
    }
    Ok(job)
}

fn deliver(result: &Result<Report>, json: bool, file: Option<ReportFile>) -> Result<()> {
    if let Some(file) = file {
        let text = output::document(result)?;
        let waits = file.may_wait();
        let write = move || file.write(&text);
        if waits { unless_stopped(write) } else { write() }?;
    }
    if json {
        let text = output::document(result)?;
        return unless_stopped(move || output::print(&text));
    }
    Ok(())
}

fn supervise(job: &Job, sandbox: &Sandbox, captured: bool) -> Result<(Report, Option<Changes>)> {
    let streams = streams(job, captured).map_err(internal("pass output on"))?;
    // A pull may take minutes before anything else is to be seen.
    fumehood::on_pull(output::say);
    // An init waits for it, and for nothing that a runtime could do.
    sandbox.plan_ahead(job);
    fumehood::blocking::block_on(async {
        let mut signals = Signals::watch(job.tty).map_err(internal("watch for signals"))?;
        // Otherwise it would be copied into each future around it.
        let spawned = Box::pin(sandbox.spawn(job, streams));
        let (running, early) = start(spawned, &mut signals).await?;
        warn(job);
        let _raw = if job.tty { Raw::enter() } else { None };
        Box::pin(attend(running, early, &mut signals)).await
    })?
}

/// Waits until the program runs, and says which signal came meanwhile. Inputs may keep us waiting, and then
/// there is no program to pass a signal on to: so the start is given up, but not before a program that is
/// there already could have been heard of.
async fn start(
    mut spawned: Pin<Box<impl Future<Output = Result<Running>>>>,
    signals: &mut Signals,
) -> Result<(Running, Option<SignalKind>)> {
    const SOON: Duration = Duration::from_secs(1);
    let early = tokio::select! {
        running = &mut spawned => return Ok((running?, None)),
        early = signals.stop() => early,
    };
    tokio::select! {
        running = timeout(SOON, spawned) => {
            if let Ok(running) = running {
                return Ok((running?, Some(early)));
            }
        }
        _ = signals.stop() => {}
    }
    Err(internal("start the program")(Stopped(early).into()))
}

async fn attend(
    mut running: Running,
    early: Option<SignalKind>,
    signals: &mut Signals,
) -> Result<(Report, Option<Changes>)> {
    let handle = running.handle();
    if let Some(early) = early {
        signals.pass(early, &handle).await;
    }
    let report = tokio::select! {
        report = running.wait() => report,
        never = signals.pass_on(&handle) => match never {},
    };
    Ok((report?, running.take_changes()))
}

fn streams(job: &Job, captured: bool) -> io::Result<Streams> {
    let mut streams = Streams::captured();
    if !captured {
        streams = streams.stdout_to(own(io::stdout())?).stderr_to(own(io::stderr())?);
    }
    if job.tty
        && let Some((rows, columns)) = terminal::size()
    {
        streams = streams.terminal_size(rows, columns);
    }
    Ok(streams)
}

fn own(stream: impl AsFd) -> io::Result<OwnedFd> {
    stream.as_fd().try_clone_to_owned()
}
