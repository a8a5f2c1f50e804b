//! The one loop that watches a running program: clocks, limits of output, orders, and the ladder
//! from a polite signal to the kill.

mod watch;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::backend::native::cell::Handle;
use crate::backend::native::cgroup::Group;
use crate::backend::native::script::TerminalSize;
use crate::backend::{Ending, Started, Tether};
use crate::plan::Plan;
use crate::report::{self, Stop};
use crate::sabotage::leaves_out;
use crate::stream::{Cap, Carried, Descriptor, Drain, Feed, Inlet, Outlet, Over, drain, feed};
use crate::usage::Tally;
use crate::workspace::changes::Base;
use crate::workspace::collect::{self, Collected, Sink};
use crate::{
    Changes, Confinement, Error, Excess, Figure, Limit, MountNote, Report, Result, Source, Stream,
    Timing,
};

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

/// Where the program's streams lead.
#[derive(Debug)]
pub(crate) struct Wiring {
    stdin: Inlet,
    stdout: Outlet,
    stderr: Outlet,
}

impl Wiring {
    /// Has the runtime watch where they lead.
    pub(crate) fn watch(stdin: Feed, [stdout, stderr]: [Drain; 2]) -> Self {
        let [stdout, stderr] = [stdout, stderr].map(Outlet::watch);
        Self { stdin: Inlet::watch(stdin), stdout, stderr }
    }
}

/// Our ends of a program's streams, watched before there is a program: while it starts there is
/// better to do.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    stdin: Option<Descriptor>,
    stdout: Option<Descriptor>,
    stderr: Option<Descriptor>,
}

/// Makes the pipes of a program: our ends, and its own in the order 0, 1, 2.
pub(crate) fn pipes(plan: &Plan, feeds: bool) -> io::Result<(Ends, Vec<OwnedFd>)> {
    let (stdin, feeder) = if feeds {
        let (theirs, ours) = feeder(plan)?;
        (theirs, Some(ours))
    } else {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        (rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?, None)
    };
    let (stdout, stdout_theirs) = output(plan)?;
    let (stderr, stderr_theirs) = output(plan)?;
    let ends = Ends { stdin: feeder, stdout: Some(stdout), stderr: Some(stderr) };
    Ok((ends, vec![stdin, stdout_theirs, stderr_theirs]))
}

impl Ends {
    /// Has somebody feed a program whose outputs are there already: its end of the new pipe.
    pub(crate) fn add_feeder(&mut self, plan: &Plan) -> io::Result<OwnedFd> {
        let (theirs, ours) = feeder(plan)?;
        self.stdin = Some(ours);
        Ok(theirs)
    }
}

/// A program's end of its standard input, and ours.
fn feeder(plan: &Plan) -> io::Result<(OwnedFd, Descriptor)> {
    let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
    give(plan, &theirs);
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((theirs, Descriptor::new(ours)?))
}

/// Our end of an output, and the program's.
fn output(plan: &Plan) -> io::Result<(Descriptor, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    give(plan, &theirs);
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((Descriptor::new(ours)?, theirs))
}

/// A program opens `/dev/stdout` as the owner of the pipe behind it, or not at all. It has the
/// descriptor in any case, so root that may not give files away, as in some containers, goes on.
fn give(plan: &Plan, pipe: &OwnedFd) {
    if plan.identity.by_root {
        let uid = rustix::fs::Uid::from_raw(plan.identity.host_uid);
        let gid = rustix::fs::Gid::from_raw(plan.identity.host_gid);
        let _ = rustix::fs::fchown(pipe, Some(uid), Some(gid));
    }
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
        mut orders: mpsc::Receiver<Order>,
    ) -> Result<(Report, Option<Changes>)> {
        let layers = self.changes;
        let Self {
            plan,
            told,
            mut tether,
            group,
            sink,
            ends,
            terminal,
            wiring,
            started,
            spent,
            ..
        } = self;

        let (stdout, stderr) = (Carried::default(), Carried::default());
        let size = terminal.as_ref().and_then(|end| end.try_clone().ok());
        let exceeded = [Notify::new(), Notify::new()];
        let over = Over::default();
        let Pumps { pipes, outlets, input } = connect(&plan, ends, terminal, wiring)?;
        let cap = cap(&plan);
        let mut watch = Watch::new(&plan, started, group.as_ref());
        let ended = Mutex::new(Vec::new());
        let (ending, wall) = {
            let carried = [&stdout, &stderr];
            let mut output = pin!(deliver(pipes, outlets, cap, carried, &exceeded, &over, &ended));
            let mut input = pin!(input);
            let ending = watch
                .run(&mut tether, &mut orders, &exceeded, output.as_mut(), input.as_mut(), size)
                .await?;
            let wall = started.elapsed();
            if ends_writing(&tether, &plan, watch.lost) {
                over.declare();
            }
            if !watch.delivered && timeout_at(watch.flush_deadline(), output).await.is_err() {
                carried.into_iter().for_each(Carried::mark_truncated);
            }
            (ending, wall)
        };
        let Watch { stop, lost, .. } = watch;
        let pipes = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
        let tally = Tally::read(group.as_ref(), &ending, wall);
        // What few runs need has a place of its own: a future is moved with all that it may need.
        let collected = match sink {
            Some(sink) => Box::pin(bring_back(&mut tether, &plan, sink, lost)).await?,
            None => Collected::default(),
        };
        let pidfd = match &tether {
            Tether::Native { init, .. } if layers.is_some() => init.pidfd(),
            _ => None,
        };
        match (tether, spent) {
            (Tether::Native { init, .. }, Some(taker)) => {
                drop(taker.send(Spent { init, group, pipes }));
            }
            (tether, _) => Box::pin(let_go(tether, group)).await,
        }
        let changes = match layers {
            Some(layers) => Some(Box::pin(look(layers, pidfd)).await?),
            None => None,
        };
        let outputs = [stdout.take(), stderr.take()];
        let stop = stop.or_else(|| excess(cap, &outputs));
        let mut report = assemble(&plan, &ending, stop, told, tally, outputs);
        report.artifacts = collected.artifacts;
        report.skipped = collected.skipped;
        report.diff = changes.as_ref().map_or_else(Vec::new, Changes::diff);
        Ok((report, changes))
    }
}

/// Whether nobody is left to write when an init has said that its program ended: everybody in its process
/// namespace is dead by then. What a terminal still holds comes before its end.
fn ends_writing(tether: &Tether, plan: &Plan, lost: bool) -> bool {
    matches!(tether, Tether::Native { .. }) && plan.namespaces.pid && !plan.job.tty && !lost
}

/// Collects files while they are there: nothing runs in the cell any more, but it is not let go yet.
/// One that was killed with everything else in its group leaves them to who has its mounts.
async fn bring_back(tether: &mut Tether, plan: &Plan, sink: Sink, lost: bool) -> Result<Collected> {
    let there = !lost || is_empty(tether, plan).await;
    let root = if there { tether.files().await? } else { None };
    Ok(match tether.collected() {
        Some(passed_on) => deliver_from(passed_on, plan, sink).await,
        None => collect_from(root, plan, sink).await,
    })
}

/// How long it may take on a machine with far too much to do until the kernel has freed what the
/// processes of a cell had.
const LONG: Duration = Duration::from_secs(10);

/// Waits until nothing is left of a cell.
async fn let_go(tether: Tether, mut group: Option<Group>) {
    match tether {
        Tether::Native { mut init, .. } => {
            if let Some(group) = &mut group {
                init.hang_up();
                // Meanwhile, since there is something to wait for.
                group.retire();
                // A group is removed when the last of its processes is dead, not while it dies.
                let _ = timeout(LONG, init.ended()).await;
            }
        }
        Tether::Foreign(program) => program.remove().await,
    }
    if let Some(mut group) = group {
        remove(&mut group).await;
    }
}

/// Looks at what was changed when the init, and with it every process of its namespace, is gone:
/// nobody exchanges anything then.
async fn look((place, base): (OwnedFd, Base), pidfd: Option<OwnedFd>) -> Result<Changes> {
    let looked = tokio::task::spawn_blocking(move || {
        if !pidfd.is_some_and(|pidfd| has_ended(&pidfd)) {
            let source = io::Error::other("the cell does not end");
            return Err(Error::internal("look at the changes", source));
        }
        Changes::scan(&place, base)
    });
    looked.await.map_err(|error| Error::internal("look at the changes", io::Error::other(error)))?
}

/// Whether a cell whose init has died is still there, and every process of its namespace gone.
async fn is_empty(tether: &Tether, plan: &Plan) -> bool {
    let Tether::Native { init, mounts: Some(_), .. } = tether else { return false };
    let Some(pidfd) = init.pidfd().filter(|_| plan.namespaces.pid) else { return false };
    tokio::task::spawn_blocking(move || has_ended(&pidfd)).await.is_ok_and(|ended| ended)
}

/// Waits for a process; false if it does not end in time.
fn has_ended(pidfd: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec { tv_sec: 2, tv_nsec: 0 };
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut fds, Some(&patience)).is_ok_and(|ready| ready > 0)
}

/// Delivers files that somebody inside has brought, on a thread of its own as well.
async fn deliver_from(passed_on: File, plan: &Plan, sink: Sink) -> Collected {
    let collect = plan.job.collect.clone();
    let delivered =
        tokio::task::spawn_blocking(move || collect::deliver(passed_on, &collect, sink));
    delivered.await.unwrap_or_else(|_| Collected::gone(&plan.job.collect))
}

/// Brings files back, on a thread of its own: a disk may be slow.
async fn collect_from(root: Option<OwnedFd>, plan: &Plan, sink: Sink) -> Collected {
    let collect = plan.job.collect.clone();
    let Some(root) = root else { return Collected::gone(&collect) };
    let cwd = plan.job.cwd.clone();
    let (done, receiver) = oneshot::channel();
    let named = std::thread::Builder::new().name("collect".to_owned());
    let spawned = named.spawn(move || {
        // Nobody is interested any more if the run was given up.
        let _ = done.send(collect::collect(&root, &collect, &cwd, sink));
    });
    let collected = if spawned.is_ok() { receiver.await.ok() } else { None };
    collected.unwrap_or_else(|| Collected::gone(&plan.job.collect))
}

/// Removes a group whose processes are ending. That takes well below a millisecond, and others of
/// this runtime are not kept waiting for longer than that at a time.
async fn remove(group: &mut Group) {
    const BRIEF: Duration = Duration::from_millis(1);
    let deadline = Instant::now() + LONG;
    // What cannot be removed by then is kept in mind and tried again; see `Group::drop`.
    while group.destroy(BRIEF).is_err() && Instant::now() < deadline {
        tokio::time::sleep(BRIEF * 4).await;
    }
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

struct Pumps<I> {
    /// What is read.
    pipes: [Option<Descriptor>; 2],
    /// Where it goes.
    outlets: [Outlet; 2],
    input: I,
}

/// Joins our ends with what they lead to. A terminal carries input and both outputs at once.
fn connect(
    plan: &Plan,
    ends: Ends,
    terminal: Option<OwnedFd>,
    wiring: Wiring,
) -> Result<Pumps<impl Future<Output = ()>>> {
    let failed = |error: io::Error| Error::internal("connect the program's streams", error);
    let Wiring { stdin, stdout, stderr } = wiring;
    let tty = terminal.is_some();
    let (pipes, feeder) = if let Some(terminal) = terminal {
        rustix::io::ioctl_fionbio(&terminal, true).map_err(|errno| failed(errno.into()))?;
        let feeder = terminal.try_clone().and_then(Descriptor::new).map_err(failed)?;
        let terminal = Descriptor::new(terminal).map_err(failed)?;
        ([Some(terminal), None], Some(feeder))
    } else {
        ([ends.stdout, ends.stderr], ends.stdin)
    };
    debug_assert_eq!(tty, plan.job.tty);
    let input = async move {
        if let Some(feeder) = feeder {
            // A program that stops reading, or a source that breaks, is no reason to end the run.
            let _ = feed(stdin, feeder, tty).await;
        }
    };
    Ok(Pumps { pipes, outlets: [stdout, stderr], input })
}

/// Delivers both outputs. Pipes that were read to their end are kept in `ended`.
async fn deliver(
    [first, second]: [Option<Descriptor>; 2],
    outlets: [Outlet; 2],
    cap: Cap,
    carried: [&Carried; 2],
    exceeded: &[Notify; 2],
    over: &Over,
    ended: &Mutex<Vec<Descriptor>>,
) {
    let one = async |pipe: Option<Descriptor>, to: Outlet, carried: &Carried, exceeded: &Notify| {
        let Some(pipe) = pipe else { return };
        match drain(pipe, to, cap, carried, exceeded, over).await {
            Ok(pipe) => ended.lock().unwrap_or_else(PoisonError::into_inner).extend(pipe),
            Err(_) => carried.mark_truncated(),
        }
    };
    let [stdout, stderr] = carried;
    let [to_stdout, to_stderr] = outlets;
    tokio::join!(
        one(first, to_stdout, stdout, &exceeded[0]),
        one(second, to_stderr, stderr, &exceeded[1])
    );
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
    let cpu_limited = plan.job.limits.cpu_time().finite().is_some();
    let outcome = report::verdict(ending.status, stop, cpu_limited, tally.counted, ending.denial);
    Report {
        outcome,
        stdout,
        stderr,
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
