//! A parked cell: confined, empty, used once.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use fumehood_child::wire::Kind;
use tokio::time::{Instant, timeout, timeout_at};

use super::ahead::{Ahead, Told};
use super::cgroup::Group;
use super::control::Message;
use super::launch::{Init, Launcher, PATIENCE};
use super::part::{Part, Steps};
use super::script::{self, Script, Split, TerminalSize};
use super::tree;
use crate::plan::Plan;
use crate::supervise::{self, Ends};
use crate::workspace::changes::Base;
use crate::{Error, Limits, MountNote, Result, StepTime};

mod failed;
mod handle;
mod hosting;
mod primed;

pub(crate) use failed::{NotBuilt, exec_error, program_failed};
use failed::{
    cell_failed, died, failure, label, listening, no_layers, not_launched, sending, silent,
    start_error, unfinished,
};
pub(crate) use handle::Handle;
use primed::Primed;

/// A cell that is being built or is parked. Dropping it ends everything in it.
#[derive(Debug)]
pub(crate) struct Cell {
    // Dropped in this order: the group is removed when nothing runs in it any more.
    init: Handle,
    group: Option<Group>,
    changes: Option<OwnedFd>,
    base: Option<Base>,
    notes: Vec<MountNote>,
    root: Option<OwnedFd>,
    mounts: Option<OwnedFd>,
    /// Whether its init finds out itself that it is in its group.
    is_checked: bool,
    /// Whether its mounts may outlast it for as long as it takes to end them.
    leaves_mounts: bool,
    /// What its steps are called.
    script: Arc<Script>,
    /// How long its steps took, once they are known to be done.
    parked: Option<Vec<StepTime>>,
    /// Our ends of its program's streams, where the init has the others already.
    ends: Option<Ends>,
    /// Where its program, which has begun, waits for the rest of its steps.
    primed: Option<Primed>,
}

impl Cell {
    /// Clones an init and sends it the steps of the cell, without waiting for it to do them.
    pub(crate) async fn build(launcher: &Launcher, plan: &Plan) -> Result<Self, NotBuilt> {
        Self::build_on(None, launcher, plan).await
    }

    /// [`build`](Self::build) with an init that was asked for ahead, if it is what the plan needs.
    pub(crate) async fn build_on(
        ahead: Option<Ahead>,
        launcher: &Launcher,
        plan: &Plan,
    ) -> Result<Self, NotBuilt> {
        let group = tree::group(plan)?;
        let mut cell = Self::build_part(ahead, launcher, plan, group, Part::by(launcher)).await?;
        // Who removes a group waits for the end of its processes. What the caller has mounted it may want
        // to unmount afterwards.
        let shows_the_system = plan.job.mounts.is_empty() && plan.root_dir.is_none();
        let is_brief = matches!(launcher, Launcher::Direct);
        cell.leaves_mounts = is_brief && shows_the_system && cell.group.is_some();
        Ok(cell)
    }

    /// [`build`](Self::build) in this control group.
    pub(crate) async fn build_in(
        launcher: &Launcher,
        plan: &Plan,
        group: Option<Group>,
    ) -> Result<Self, NotBuilt> {
        Self::build_part(None, launcher, plan, group, Part::by(launcher)).await
    }

    /// Builds what cells of this kind have in common.
    pub(super) async fn build_template(
        launcher: &Launcher,
        plan: &Plan,
        split: &Split,
    ) -> Result<Self, NotBuilt> {
        Self::build_part(None, launcher, plan, None, Part::Shared(split)).await
    }

    async fn build_part(
        ahead: Option<Ahead>,
        launcher: &Launcher,
        plan: &Plan,
        group: Option<Group>,
        part: Part<'_>,
    ) -> Result<Self, NotBuilt> {
        let tree::Way { born, joins } = tree::way(group.as_ref())?;
        let is_checked = part.checks(&joins);
        let base = Base::open(&plan.root, plan.identity)?;
        let shape = part.shape(plan);
        let ahead = ahead.filter(|_| born.is_none());
        let ahead = ahead.and_then(|ahead| ahead.for_plan(&shape, plan));
        // Whoever was told all would never join a group.
        let ahead =
            ahead.filter(|(_, told)| joins.groups.is_empty() || !matches!(told, Told::Cell(_)));
        let (begun, told) = ahead.unwrap_or_else(|| (launcher.begin(&shape, born), Told::Nothing));
        let pending = match begun {
            Ok(pending) => pending,
            Err(refused) => return Err(Box::pin(not_launched(launcher, refused)).await),
        };
        // While the kernel makes the namespaces the steps are written down.
        let is_told = matches!(told, Told::Cell(_));
        let Steps { script, fds, notes } = match told {
            Told::Cell(script) => Steps::told(script),
            Told::Root(opening) => Steps::closing(opening, plan, joins, Vec::new())?,
            Told::Ground(ground) => Steps::after_ground(ground, launcher, plan, joins).await?,
            Told::Nothing => part.script(launcher, plan, joins, base.as_ref()).await?,
        };
        let init = if is_told {
            pending.init().await
        } else {
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            launcher.told(pending, &shape, born, (Kind::Cell, &script.bytes), &fds).await
        };
        let init = match init {
            Ok(Init { control, pid, pidfd }) => Handle::new(control, pidfd, pid),
            Err(refused) => return Err(Box::pin(not_launched(launcher, refused)).await),
        };
        Ok(Self { base, notes, is_checked, ..Self::new(init, group, script) })
    }

    /// A cell whose init has been told what to do, before it has said anything.
    const fn new(init: Handle, group: Option<Group>, script: Arc<Script>) -> Self {
        Self {
            init,
            group,
            changes: None,
            base: None,
            notes: Vec::new(),
            root: None,
            mounts: None,
            is_checked: false,
            leaves_mounts: false,
            script,
            parked: None,
            ends: None,
            primed: None,
        }
    }

    /// The process id of its init.
    #[cfg(test)]
    pub(super) const fn pid(&self) -> i32 {
        self.init.pid
    }

    /// Starts the program: the cell is used up.
    pub(crate) async fn start(
        self,
        plan: &Plan,
        stdio: Vec<OwnedFd>,
        terminal: Option<TerminalSize>,
    ) -> Result<Started, NotBuilt> {
        let program = script::program(plan, terminal)?;
        let patience = answers_within(&plan.job.limits);
        let failed = |script: &Script, body: &[u8]| program_failed(plan, script, body);
        self.start_by(program, stdio, patience, failed).await
    }

    /// Starts a program by its steps, with those of its streams that its init does not have yet. An init that
    /// does not answer for so long is killed, with all that it watches over.
    pub(crate) async fn start_by(
        mut self,
        program: Script,
        stdio: Vec<OwnedFd>,
        patience: Option<Duration>,
        failed: impl Fn(&Script, &[u8]) -> NotBuilt,
    ) -> Result<Started, NotBuilt> {
        let parked = match self.parked.take() {
            Some(steps) => Some(steps),
            None => self.assert_member().await?,
        };
        // Of any other it is heard when it stands.
        let stands = parked.is_some();
        let mut steps = parked.unwrap_or_default();
        if let Some(base) = &mut self.base {
            base.settle().await?;
        }
        self.init.take_seat();
        let began = Instant::now();
        let sent = self.send_rest(&program, &stdio)
            || send(&self.init, Kind::Program, &program, &stdio).await?;
        // The program's ends of its pipes are its own now.
        drop(stdio);
        let mut question = stands.then(soon);
        loop {
            let Some(Message { kind, body, fd }) =
                self.next_or_ask(&mut question, patience).await?
            else {
                // Who did not read to its end what is to be started has started nothing. Of any other
                // init nobody knows: no program is ever started twice.
                if !sent || self.left_unread().await {
                    return Err(NotBuilt::Lost(died()));
                }
                // A group that dies together may do so before its init is asked.
                let is_run = self.ran_out_of_memory();
                return if is_run { self.started(steps, None, began) } else { Err(died().into()) };
            };
            match kind {
                Kind::Ready => {
                    question = Some(soon());
                    steps.extend(times(&self.script.labels, &body));
                    // The init starts the program meanwhile.
                    if self.leaves_mounts {
                        self.init.leave_mounts();
                    }
                }
                Kind::CellFailed => return Err(cell_failed(&self.script.labels, &body)),
                Kind::ProgramFailed => return Err(failed(&program, &body)),
                Kind::Started => {
                    let (since, laps) = told_of(&body).ok_or_else(died)?;
                    steps.extend(times(&program.labels, laps));
                    return self.started(steps, fd, since);
                }
                _ => return Err(died().into()),
            }
        }
    }

    /// Whether the steps of its program were sent, and nobody read them.
    async fn left_unread(&mut self) -> bool {
        match self.primed.take() {
            Some(primed) => primed.left_unread().await,
            None => self.init.control.left_unread(),
        }
    }

    /// Whether the kernel killed in its group for memory.
    fn ran_out_of_memory(&self) -> bool {
        let oom = self.group.as_ref().and_then(|group| group.oom().ok());
        oom.is_some_and(|oom| oom.kills > 0)
    }

    /// What there is to hand on when the program runs, since then.
    fn started(
        self,
        steps: Vec<StepTime>,
        terminal: Option<OwnedFd>,
        since: Instant,
    ) -> Result<Started, NotBuilt> {
        let Self { init, group, changes, root, mounts, base, notes, .. } = self;
        let changes = match (changes, base) {
            (None, Some(_)) => return Err(no_layers().into()),
            (changes, base) => changes.zip(base),
        };
        Ok(Started { init, group, changes, root, mounts, notes, steps, terminal, since })
    }
}

impl Cell {
    /// Waits until the cell is confined.
    pub(crate) async fn park(mut self) -> Result<Self, NotBuilt> {
        self.stand().await?;
        Ok(self)
    }

    /// Waits until the cell is confined, unless it is known to be.
    pub(super) async fn stand(&mut self) -> Result<(), NotBuilt> {
        if self.parked.is_none() {
            let steps = self.ready().await?;
            if let Some(group) = self.unchecked()
                && !tree::is_member(group, self.init.pid)?
            {
                return Err(tree::elsewhere().into());
            }
            self.parked = Some(steps);
        }
        Ok(())
    }

    /// Gives the init of a cell the streams of whatever program it will get, while nobody waits for it.
    pub(crate) async fn furnish(&mut self, plan: &Plan) -> Result<()> {
        let pipes = supervise::pipes(plan, false);
        let (ends, theirs) = pipes.map_err(|error| Error::internal("make pipes", error))?;
        let fds: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        match self.init.control.send(Kind::Stdio, &[], &fds).await {
            // An init whose steps failed; it has said so.
            Err(error) if hung_up(&error) => {}
            sent => sent.map_err(sending)?,
        }
        self.ends = Some(ends);
        Ok(())
    }

    /// Our ends of the program's streams, where its init has the others.
    pub(crate) fn take_ends(&mut self) -> Option<Ends> {
        self.ends.take()
    }

    /// Adds a step to those that the report lists.
    pub(super) fn note(&mut self, step: StepTime) {
        self.parked.get_or_insert_default().push(step);
    }

    /// Has the init write what comes over a stream.
    pub(super) async fn send_stage(&mut self, stream: BorrowedFd<'_>) -> Result<(), NotBuilt> {
        // Where it slept, a program may keep it from waking up.
        self.init.take_seat();
        match self.init.control.send(Kind::Stage, &[], &[stream]).await {
            Err(error) if hung_up(&error) => Err(NotBuilt::Lost(sending(error))),
            other => Ok(other.map_err(sending)?),
        }
    }

    /// Whether the kernel killed something at the cell's limit of memory.
    pub(super) fn out_of_memory(&self) -> bool {
        let oom = self.group.as_ref().and_then(|group| group.oom().ok());
        oom.is_some_and(|oom| oom.at_limit)
    }

    /// Whether its init still lives.
    pub(crate) fn is_alive(&self) -> bool {
        self.init.is_alive()
    }

    /// What is left of a cell that gets no program.
    pub(super) fn into_init(self) -> Handle {
        self.init
    }

    /// The next message of an init that builds its cell, which no clock of a program's watches yet. One that
    /// hangs is killed.
    async fn next_in_time(&mut self) -> Result<Option<Message>> {
        timeout(PATIENCE, self.next_unless_dead()).await.unwrap_or_else(|_| {
            self.init.kill();
            Err(unfinished())
        })
    }

    /// The next message that is about a step; a root that comes in between is kept.
    pub(super) async fn next_unless_dead(&mut self) -> Result<Option<Message>> {
        loop {
            match self.init.receive().await.map_err(listening)? {
                Some(Message { kind: Kind::Root, fd: Some(fd), .. }) if self.root.is_none() => {
                    self.root = Some(fd);
                }
                Some(Message { kind: Kind::Mounts, fd: Some(fd), .. }) if self.mounts.is_none() => {
                    self.mounts = Some(fd);
                }
                Some(Message { kind: Kind::Changes, fd: Some(fd), .. })
                    if self.changes.is_none() =>
                {
                    self.changes = Some(fd);
                }
                other => return Ok(other),
            }
        }
    }

    /// The next message. An init that has not said that its program runs, or has ended, when that is due is
    /// asked once.
    async fn next_or_ask(
        &mut self,
        due: &mut Option<Instant>,
        patience: Option<Duration>,
    ) -> Result<Option<Message>> {
        let Some(moment) = *due else { return self.next_in_time().await };
        if let Ok(next) = timeout_at(moment, self.next_unless_dead()).await {
            return next;
        }
        *due = None;
        match self.init.control.send(Kind::Ask, &[], &[]).await {
            // What it said before it hung up is still to be read.
            Err(error) if hung_up(&error) => {}
            sent => sent.map_err(sending)?,
        }
        let Some(patience) = patience else { return self.next_unless_dead().await };
        // Its program may run by now, which no clock of its own watches yet.
        timeout(patience, self.next_unless_dead()).await.unwrap_or_else(|_| {
            self.init.kill();
            Err(silent())
        })
    }

    /// What the steps of the cell took, when they are done.
    async fn ready(&mut self) -> Result<Vec<StepTime>, NotBuilt> {
        match self.next_in_time().await?.ok_or_else(died)? {
            Message { kind: Kind::Ready, body, .. } => Ok(times(&self.script.labels, &body)),
            Message { body, .. } => Err(cell_failed(&self.script.labels, &body)),
        }
    }

    /// The group that it is for us to find the init in.
    fn unchecked(&self) -> Option<&Group> {
        self.group.as_ref().filter(|_| !self.is_checked)
    }

    /// Makes sure, before there is a program, that the init is in the cell's group, unless it does so
    /// itself. One that was born there is; any other is waited for.
    async fn assert_member(&mut self) -> Result<Option<Vec<StepTime>>, NotBuilt> {
        let Some(group) = self.unchecked() else { return Ok(None) };
        if tree::is_member(group, self.init.pid)? {
            return Ok(None);
        }
        let steps = self.ready().await?;
        let group = self.group.as_ref();
        match group.map_or(Ok(true), |group| tree::is_member(group, self.init.pid))? {
            true => Ok(Some(steps)),
            false => Err(tree::elsewhere().into()),
        }
    }
}

/// How long an init may take to say that the program of these limits runs, once it is asked: a program that
/// runs unheard is under no clock. None for one that has none.
pub(crate) fn answers_within(limits: &Limits) -> Option<Duration> {
    const MORE: Duration = Duration::from_secs(2);
    limits.wall_time().finite()?.checked_add(limits.grace() + MORE)
}

/// When an init whose program is about to start is asked whether it runs. Of most that end before it is heard
/// with their end: its init need not take the processor from a program to say that it runs.
fn soon() -> Instant {
    const SOON: Duration = Duration::from_millis(1);
    Instant::now() + SOON
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) init: Handle,
    pub(crate) group: Option<Group>,
    /// Where the changes to copy-on-write mounts go, if it has any; as long as this is open, they
    /// outlive the cell. With it, what was there before.
    pub(crate) changes: Option<(OwnedFd, Base)>,
    /// What was found out about mounts when they were made.
    pub(crate) notes: Vec<MountNote>,
    /// The root of the cell, if the plan shares it: a place from which its files can be looked up,
    /// for as long as the init lives, or `mounts` are kept.
    pub(crate) root: Option<OwnedFd>,
    /// The mount namespace of the cell: its mounts are there as long as this is open.
    pub(crate) mounts: Option<OwnedFd>,
    pub(crate) steps: Vec<StepTime>,
    /// The controlling end of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
    /// Since when it runs.
    pub(crate) since: Instant,
}

/// Since when a program runs, of which its init says so, and how long its steps took.
fn told_of(body: &[u8]) -> Option<(Instant, &[u8])> {
    let (age, laps) = body.get(4..)?.split_first_chunk()?;
    let age = Duration::from_micros(u32::from_le_bytes(*age).into());
    let now = Instant::now();
    Some((now.checked_sub(age).unwrap_or(now), laps))
}

/// Whether all of it was sent. An init that failed an earlier step has hung up; what it said is still to
/// be read.
async fn send(init: &Handle, kind: Kind, script: &Script, fds: &[OwnedFd]) -> Result<bool> {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    match init.control.send(kind, &script.bytes, &fds).await {
        Err(error) if hung_up(&error) => Ok(false),
        other => other.map(|()| true).map_err(sending),
    }
}

pub(super) fn hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Pairs labels with nanoseconds, 4 bytes each.
fn times(labels: &[Cow<'static, str>], body: &[u8]) -> Vec<StepTime> {
    let laps = body.chunks_exact(4).filter_map(|lap| lap.try_into().ok());
    let microseconds = laps.map(|lap| u32::from_le_bytes(lap).div_ceil(1000));
    labels
        .iter()
        .zip(microseconds)
        .map(|(step, us)| StepTime { step: step.to_string(), us })
        .collect()
}

#[cfg(test)]
#[path = "cell_tests.rs"]
mod tests;
