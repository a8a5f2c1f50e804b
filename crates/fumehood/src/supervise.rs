//! The one loop that watches a running program: clocks, limits of output, orders, and the ladder
//! from a polite signal to the kill.

mod aftermath;
mod streams;
mod watch;

use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::backend::native::cell::Handle;
use crate::backend::native::cgroup::Group;
use crate::backend::native::script::TerminalSize;
use crate::backend::{Ending, Started, Tether};
use crate::plan::Plan;
use crate::report::{self, Senders, Stop};
use crate::sabotage::leaves_out;
use crate::stream::{Breakage, Cap, Carried, Descriptor, Over};
use crate::usage::Tally;
use crate::workspace::changes::Base;
use crate::workspace::collect::{Collected, Sink};
use crate::{
    Changes, Confinement, Excess, Figure, Limit, MountNote, Report, Result, Seccomp, Source,
    StandardStream, Stream, Timing, Undelivered, Usage,
};

use aftermath::{bring_back, let_go, look};
pub(crate) use streams::{Ends, Wiring, pipes};
use streams::{Joined, connect, deliver, supply};
use watch::Watch;

/// After a kill everything is over within milliseconds; an init that has not said so by then is
/// killed itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long undelivered output is waited for when the program has ended and no clock runs.
const FLUSH: Duration = Duration::from_secs(60);

/// What a caller can ask of a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Send it a signal.
    Signal(i32),
    /// Stop it: `SIGTERM`, grace, `SIGKILL`.
    Cancel,
    /// Kill it now.
    Kill,
    /// Its terminal has another size.
    Resize(TerminalSize),
}

/// A program that runs under supervision. Dropping it kills everything in its cell.
#[derive(Debug)]
pub(crate) struct Running {
    plan: Arc<Plan>,
    told: Told,
    // Dropped in this order: the group is removed when nothing runs in it any more.
    tether: Tether,
    group: Option<Group>,
    /// Where the changes to copy-on-write mounts go, and what was there before.
    changes: Option<(OwnedFd, Base)>,
    /// Where its files go.
    sink: Option<Sink>,
    ends: Ends,
    terminal: Option<OwnedFd>,
    wiring: Wiring,
    started: Instant,
    /// Who wants the cell back when it has been used.
    spent: Option<mpsc::UnboundedSender<Spent>>,
}

/// What is left of a cell when its program has ended: an init on its way out, and its group.
#[derive(Debug)]
pub(crate) struct Spent {
    // Dropped in this order: the group is removed when nothing runs in it any more.
    pub(crate) init: Handle,
    pub(crate) group: Option<Group>,
    /// Our ends of its outputs, to be closed when nobody waits.
    pub(crate) pipes: Vec<Descriptor>,
}

impl Running {
    pub(crate) fn new(
        plan: Arc<Plan>,
        mut told: Told,
        started: Started,
        ends: Ends,
        wiring: Wiring,
        sink: Option<Sink>,
        asked: Instant,
    ) -> Self {
        let since = started.since.unwrap_or_else(Instant::now);
        told.timing.setup_us = u64::try_from((since - asked).as_micros()).unwrap_or(u64::MAX);
        told.timing.steps = started.steps;
        told.mounts.extend(started.notes);
        Self {
            plan,
            told,
            tether: started.tether,
            group: started.group,
            changes: started.changes,
            sink,
            ends,
            terminal: started.terminal,
            wiring,
            started: since,
            spent: None,
        }
    }

    /// Gives what is left of the cell to somebody, rather than waiting until nothing is.
    pub(crate) fn hand_over(&mut self, spent: mpsc::UnboundedSender<Spent>) {
        self.spent = Some(spent);
    }

    /// The process id on the host of the ancestor of everything that runs.
    pub(crate) fn pid(&self) -> i32 {
        self.tether.pid()
    }

    /// Watches the program until it has ended and its output is delivered.
    pub(crate) async fn wait(
        self,
        orders: mpsc::Receiver<Order>,
    ) -> Result<(Report, Option<Changes>)> {
        let Self { plan, told, mut tether, group, changes, sink, ends, .. } = self;
        let size = self.terminal.as_ref().and_then(|end| end.try_clone().ok());
        let joined = connect(&plan, ends, self.terminal, self.wiring)?;
        let watch = Watch::new(&plan, self.started, group.as_ref());
        let seen = attend(&plan, &mut tether, watch, joined, orders, size).await?;
        let tally = Tally::read(group.as_ref(), &seen.ending, seen.wall);
        // What few runs need has a place of its own: a future is moved with all that it may need.
        let collected = match sink {
            Some(sink) => Box::pin(bring_back(&mut tether, &plan, sink, seen.lost)).await?,
            None => Collected::default(),
        };
        let pidfd = match &tether {
            Tether::Native { init, .. } if changes.is_some() => init.pidfd(),
            _ => None,
        };
        match (tether, self.spent) {
            (Tether::Native { init, .. }, Some(taker)) => {
                drop(taker.send(Spent { init, group, pipes: seen.pipes }));
            }
            (tether, _) => Box::pin(let_go(tether, group)).await,
        }
        let changes = match changes {
            Some(layers) => Some(Box::pin(look(layers, pidfd)).await?),
            None => None,
        };
        let stop = seen.stop.or_else(|| excess(cap(&plan), &seen.outputs));
        let mut report = assemble(&plan, &seen.ending, stop, told, tally, seen.outputs);
        report.undelivered = seen.undelivered;
        report.artifacts = collected.artifacts;
        report.skipped = collected.skipped;
        report.diff = changes.as_ref().map_or_else(Vec::new, Changes::diff);
        Ok((report, changes))
    }
}

/// What was seen of a program until it had ended and its output was delivered.
struct Seen {
    ending: Ending,
    /// How long it ran.
    wall: Duration,
    /// Why it was stopped, if it was.
    stop: Option<Stop>,
    /// Whether the init died, and with it the mounts of the cell.
    lost: bool,
    outputs: [crate::Output; 2],
    undelivered: Vec<Undelivered>,
    /// Our ends of the pipes that were read to their end.
    pipes: Vec<Descriptor>,
}

/// Watches a program and delivers its output.
async fn attend(
    plan: &Plan,
    tether: &mut Tether,
    mut watch: Watch<'_>,
    Joined { pipes, outlets, feeder, inlet, peer }: Joined,
    mut orders: mpsc::Receiver<Order>,
    size: Option<OwnedFd>,
) -> Result<Seen> {
    let (unfed, stdout, stderr) = (Breakage::default(), Carried::default(), Carried::default());
    let carried = [&stdout, &stderr];
    let (exceeded, over) = ([Notify::new(), Notify::new()], Over::default());
    let ended = Mutex::new(Vec::new());
    let (ending, wall) = {
        let cap = cap(plan);
        let mut output = pin!(deliver(pipes, outlets, cap, carried, &exceeded, &over, &ended));
        let mut input = pin!(supply(inlet, feeder, plan.job.tty, &unfed));
        let (delivery, feeding) = (output.as_mut(), input.as_mut());
        let ending = watch.run(tether, &mut orders, &exceeded, delivery, feeding, size).await?;
        let wall = watch.started.elapsed();
        drop(peer);
        if ends_writing(tether, plan, watch.lost) {
            over.declare();
        }
        if !watch.delivered && timeout_at(watch.flush_deadline(), output).await.is_err() {
            carried.into_iter().for_each(Carried::mark_truncated);
        }
        (ending, wall)
    };
    let Watch { stop, lost, .. } = watch;
    let pipes = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    let breakages = [
        (StandardStream::Stdin, &unfed),
        (StandardStream::Stdout, &stdout.breakage),
        (StandardStream::Stderr, &stderr.breakage),
    ];
    let undelivered = breakages
        .into_iter()
        .filter_map(|(stream, breakage)| Some(Undelivered { stream, reason: breakage.take()? }))
        .collect();
    let outputs = [stdout.take(), stderr.take()];
    Ok(Seen { ending, wall, stop, lost, outputs, undelivered, pipes })
}

/// Whether nobody is left to write when an init has said that its program ended: everybody in its process
/// namespace is dead by then. What they wrote to a terminal is read before it has nothing more, also where
/// somebody outside was handed their end of it: a read that would wait has the kernel deliver first
/// (`tty_buffer_flush_work` in drivers/tty/n_tty.c).
fn ends_writing(tether: &Tether, plan: &Plan, lost: bool) -> bool {
    let all = match tether {
        Tether::Native { .. } => plan.namespaces.pid,
        Tether::Foreign(program) => program.ends_writing(),
    };
    all && !lost
}

/// A program that ends before its excess is seen has exceeded its limit all the same.
fn excess(cap: Cap, [stdout, stderr]: &[crate::Output; 2]) -> Option<Stop> {
    let limit = cap.limit.finite().filter(|_| cap.excess == Excess::Kill)?;
    let exceeds = |output: &crate::Output| output.total > limit.0;
    let first = exceeds(stdout).then_some(Stream::Stdout);
    first.or_else(|| exceeds(stderr).then_some(Stream::Stderr)).map(Stop::Output)
}

fn cap(plan: &Plan) -> Cap {
    let limits = &plan.job.limits;
    let limit = if leaves_out("output-cap") { Limit::Unlimited } else { limits.output() };
    Cap { limit, excess: limits.output_excess }
}

/// What a report says that is known before its program has ended.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    confinement: Confinement,
    mounts: Vec<MountNote>,
    timing: Timing,
}

impl Told {
    /// Takes out of a plan what nobody asks of it any more.
    pub(crate) fn take(plan: &mut Plan) -> Self {
        let confinement = Confinement {
            backend: plan.backend().name().to_owned(),
            guarantees: std::mem::take(&mut plan.guarantees),
            waived: plan.job.waive.iter().copied().collect(),
        };
        let mounts = std::mem::take(&mut plan.notes);
        Self { confinement, mounts, timing: Timing::default() }
    }
}

fn assemble(
    plan: &Plan,
    ending: &Ending,
    stop: Option<Stop>,
    told: Told,
    mut tally: Tally,
    [stdout, stderr]: [crate::Output; 2],
) -> Report {
    tally.usage.output = Some(Figure { value: stdout.total + stderr.total, source: Source::Count });
    let senders = senders(plan, &tally.usage);
    let outcome = report::verdict(ending.status, stop, senders, tally.counted, ending.denial);
    Report {
        outcome,
        stdout,
        stderr,
        undelivered: Vec::new(),
        artifacts: Vec::new(),
        skipped: Vec::new(),
        usage: tally.usage,
        confinement: told.confinement,
        mounts: told.mounts,
        diff: Vec::new(),
        applied: Vec::new(),
        timing: told.timing,
    }
}

/// Which signals the kernel can have sent to a program that used so much.
fn senders(plan: &Plan, usage: &Usage) -> Senders {
    let limits = &plan.job.limits;
    let used = [&usage.user_us, &usage.system_us].map(|time| time.as_ref().map(|it| it.value));
    let is_used_up = |limit: Duration| match used {
        // The kernel holds the limit by the ticks of its timer, which may be more or less than was used.
        [Some(user), Some(system)] => Duration::from_micros(user + system) >= limit / 2,
        _ => true,
    };
    let own = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    Senders {
        cpu_limit: limits.cpu_time().finite().is_some_and(is_used_up),
        file_limit: limits.file_size().finite().is_some() || own.is_some(),
        filter: match &plan.filter {
            Some(filter) => filter.program.signals(),
            // Who compiles it is another's business.
            None => matches!(plan.job.seccomp, Seccomp::Profile(_)),
        },
    }
}
