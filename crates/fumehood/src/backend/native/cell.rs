//! A parked cell: confined, empty, used once.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use fumehood_child::launch::LaunchStep;
use fumehood_child::wire::{self, Kind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::ahead::Ahead;
use super::cgroup::Group;
use super::control::{Control, Message};
use super::diagnose::{self, Namespace, Refusal};
use super::launch::{Init, Launcher, NotLaunched};
use super::part::{Part, Steps};
use super::script::{self, Script, Split, TerminalSize};
use super::{overlay, tree, watch};
use crate::plan::Plan;
use crate::plan::without::Blocked;
use crate::supervise::{self, Ends};
use crate::support::Facts;
use crate::workspace::changes::Base;
use crate::{Error, ErrorKind, MountNote, Result, StepTime};

#[path = "hosting.rs"]
mod hosting;

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
    /// What its steps are called.
    script: Arc<Script>,
    /// How long its steps took, once they are known to be done.
    parked: Option<Vec<StepTime>>,
    /// Our ends of its program's streams, where the init has the others already.
    ends: Option<Ends>,
}

/// The line to an init, and the certainty that it ends.
#[derive(Debug)]
pub(crate) struct Handle {
    control: Control,
    pidfd: OwnedFd,
    pub(crate) pid: i32,
}

impl Handle {
    /// The next message; `None` when the init is gone.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Message>> {
        self.control.receive().await
    }

    /// Has the init send a signal to the program, or to every process of the cell.
    pub(crate) async fn signal(&self, signal: i32, all: bool) -> io::Result<()> {
        let mut body = wire::Buffer::<8>::new();
        wire::Signal { signal, all }.encode(&mut body);
        self.control.send(Kind::Signal, body.bytes(), &[]).await
    }

    /// Lets the init go.
    pub(crate) fn hang_up(&self) {
        let _ = rustix::net::shutdown(self.control.as_fd(), rustix::net::Shutdown::Both);
    }

    /// Lets the init go, and waits until it is no more.
    pub(crate) async fn ended(&mut self) {
        self.hang_up();
        let Ok(pidfd) = self.pidfd.try_clone() else { return };
        if let Ok(watched) = watch::owned(pidfd) {
            let _ = watched.readable().await;
        }
    }

    /// A second descriptor of the init, which tells when it is gone.
    pub(crate) fn pidfd(&self) -> Option<OwnedFd> {
        self.pidfd.try_clone().ok()
    }

    /// Sends a message.
    pub(super) async fn send_with(
        &self,
        kind: Kind,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.control.send(kind, body, fds).await
    }

    /// Whether the init still lives.
    pub(crate) fn is_alive(&self) -> bool {
        // The pidfd of a process that has ended is readable (pidfd_open(2)).
        let mut watched = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut watched, Some(&now)) == Ok(0)
    }

    /// Kills the init, and with it everything in its process namespace.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // An init without a process namespace must stay to kill what it watches over; it does so
        // when the line closes, which happens now.
        self.hang_up();
    }
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
        Self::build_part(ahead, launcher, plan, group, Part::by(launcher)).await
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
        let tree::Way { born, join } = tree::way(group.as_ref())?;
        let base = Base::open(&plan.root, plan.identity)?;
        let shape = part.shape(plan);
        let ahead = ahead.filter(|_| born.is_none()).and_then(|ahead| ahead.of_shape(&shape));
        let pending = match ahead.unwrap_or_else(|| launcher.begin(&shape, born)) {
            Ok(pending) => pending,
            Err(refused) => return Err(Box::pin(not_launched(launcher, refused)).await),
        };
        // While the kernel makes the namespaces the steps are written down.
        let Steps { script, fds, notes } = part.script(launcher, plan, join, base.as_ref()).await?;
        let Init { control, pid, pidfd } = match pending.init().await {
            Ok(init) => init,
            Err(refused) => return Err(Box::pin(not_launched(launcher, refused)).await),
        };
        let init = Handle { control, pidfd, pid };
        send(&init, Kind::Cell, &script, &fds).await?;
        let (changes, root, mounts) = (None, None, None);
        Ok(Self {
            init,
            group,
            changes,
            root,
            mounts,
            base,
            notes,
            script,
            parked: None,
            ends: None,
        })
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

        self.start_by(program, stdio, |script, body| program_failed(plan, script, body)).await
    }

    /// Starts a program by its steps, with those of its streams that its init does not have yet.
    pub(crate) async fn start_by(
        mut self,
        program: Script,
        stdio: Vec<OwnedFd>,
        failed: impl Fn(&Script, &[u8]) -> NotBuilt,
    ) -> Result<Started, NotBuilt> {
        let mut steps = match self.parked.take() {
            Some(steps) => steps,
            None => self.assert_member().await?.unwrap_or_default(),
        };
        if let Some(base) = &mut self.base {
            base.settle().await?;
        }
        let sent = send(&self.init, Kind::Program, &program, &stdio).await?;
        // The program's ends of its pipes are its own now.
        drop(stdio);
        loop {
            let Some(Message { kind, body, fd }) = self.next_unless_dead().await? else {
                // Who did not read to its end what is to be started has started nothing. Of any other
                // init nobody knows: no program is ever started twice.
                let unheard = !sent || self.init.control.left_unread();
                return Err(if unheard { NotBuilt::Lost(died()) } else { died().into() });
            };
            match kind {
                Kind::Ready => steps.extend(times(&self.script.labels, &body)),
                Kind::CellFailed => return Err(cell_failed(&self.script.labels, &body)),
                Kind::ProgramFailed => return Err(failed(&program, &body)),
                Kind::Started => {
                    steps.extend(times(&program.labels, body.get(4..).unwrap_or(&[])));
                    let Self { init, group, changes, root, mounts, base, notes, .. } = self;
                    let changes = match (changes, base) {
                        (None, Some(_)) => return Err(no_layers().into()),
                        (changes, base) => changes.zip(base),
                    };
                    let terminal = fd;
                    return Ok(Started {
                        init,
                        group,
                        changes,
                        root,
                        mounts,
                        notes,
                        steps,
                        terminal,
                    });
                }
                _ => return Err(died().into()),
            }
        }
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
            if let Some(group) = &self.group
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
        self.init.control.send(Kind::Stdio, &[], &fds).await.map_err(sending)?;
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
    pub(super) async fn send_stage(&self, stream: BorrowedFd<'_>) -> Result<(), NotBuilt> {
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

    /// The next message that is about a step; a root that comes in between is kept.
    async fn next(&mut self) -> Result<Message> {
        self.next_unless_dead().await?.ok_or_else(died)
    }

    pub(super) async fn next_unless_dead(&mut self) -> Result<Option<Message>> {
        loop {
            match self.init.receive().await.map_err(listening)? {
                Some(Message { kind: Kind::Root, fd, .. }) => self.root = fd,
                Some(Message { kind: Kind::Mounts, fd, .. }) => self.mounts = fd,
                Some(Message { kind: Kind::Changes, fd, .. }) => self.changes = fd,
                other => return Ok(other),
            }
        }
    }

    /// What the steps of the cell took, when they are done.
    async fn ready(&mut self) -> Result<Vec<StepTime>, NotBuilt> {
        match self.next().await? {
            Message { kind: Kind::Ready, body, .. } => Ok(times(&self.script.labels, &body)),
            Message { body, .. } => Err(cell_failed(&self.script.labels, &body)),
        }
    }

    /// Makes sure, before there is a program, that the init is in the cell's group. It has mostly
    /// got there while the program's steps were written down; if not, the cell is waited for.
    async fn assert_member(&mut self) -> Result<Option<Vec<StepTime>>, NotBuilt> {
        let Some(group) = &self.group else { return Ok(None) };
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
}

/// Why there is no cell or no program in it.
#[derive(Debug)]
pub(crate) enum NotBuilt {
    /// The host refuses; a weaker plan may do.
    Blocked(Blocked),
    /// The init ended, and no program was started.
    Lost(Error),
    /// Something else.
    Failed(Error),
}

impl From<Error> for NotBuilt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Where a clone is refused, each kind of namespace is tried alone: no errno says which it was.
async fn not_launched(launcher: &Launcher, error: NotLaunched) -> NotBuilt {
    match error {
        NotLaunched::Other(error) => NotBuilt::Failed(error),
        NotLaunched::Refused { step, errno } => {
            let kind = match step {
                LaunchStep::Clone => refused_kind(launcher).await,
                _ => None,
            };
            refused(&Refusal { step: step.name(), errno: errno.0, kind }, step.name())
        }
    }
}

async fn refused_kind(launcher: &Launcher) -> Option<Namespace> {
    for kind in Namespace::ALL {
        if let Err(NotLaunched::Refused { step: LaunchStep::Clone, .. }) =
            launcher.try_kind(kind).await
        {
            return Some(kind);
        }
    }
    None
}

fn refused(refusal: &Refusal<'_>, label: &str) -> NotBuilt {
    match diagnose::diagnose(refusal, &Facts::gather()) {
        Some(blocked) => NotBuilt::Blocked(blocked),
        None => NotBuilt::Failed(start_error(label.to_owned(), refusal.errno)),
    }
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

fn hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn sending(error: io::Error) -> Error {
    Error::internal("send to the init", error)
}

fn listening(error: io::Error) -> Error {
    Error::internal("listen to the init", error)
}

fn no_layers() -> Error {
    Error::internal("start the program", io::Error::other("its changes cannot be looked at"))
}

fn died() -> Error {
    Error::internal("start the program", io::Error::other("the init died"))
}

fn start_error(step: String, errno: i32) -> Error {
    ErrorKind::Start { step, source: io::Error::from_raw_os_error(errno) }.into()
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

fn failure(body: &[u8]) -> wire::Failure {
    wire::Failure::decode(body).unwrap_or_default()
}

fn label(labels: &[Cow<'static, str>], index: u32) -> String {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    labels.get(index).map_or_else(|| "an unknown step".to_owned(), ToString::to_string)
}

fn cell_failed(labels: &[Cow<'static, str>], body: &[u8]) -> NotBuilt {
    let failure = failure(body);
    step_failed(&label(labels, failure.index), failure.errno)
}

fn step_failed(label: &str, errno: i32) -> NotBuilt {
    let (step, object) = label.split_once(' ').unwrap_or((label, ""));
    if step == "overlay" {
        return NotBuilt::Failed(overlay::refused(object, errno));
    }
    refused(&Refusal { step, errno, kind: None }, label)
}

pub(crate) fn program_failed(plan: &Plan, script: &Script, body: &[u8]) -> NotBuilt {
    let failure = failure(body);
    let label = label(&script.labels, failure.index);
    if !label.starts_with("exec") {
        return step_failed(&label, failure.errno);
    }
    NotBuilt::Failed(not_executed(plan, &failure))
}

fn not_executed(plan: &Plan, failure: &wire::Failure) -> Error {
    exec_error(plan, failure.errno, failure.interpreter)
}

/// The error for a program that `execve(2)` refused.
pub(crate) fn exec_error(plan: &Plan, errno: i32, interpreter: bool) -> Error {
    let program = plan.job.args.first().cloned().unwrap_or_default();
    let source = io::Error::from_raw_os_error(errno);
    match source.kind() {
        io::ErrorKind::NotFound if interpreter => {
            let detail = "its interpreter (the #! line or the ELF loader) is not in the sandbox";
            ErrorKind::ProgramNotFound { program, detail: detail.to_owned() }.into()
        }
        io::ErrorKind::NotFound => {
            let detail = looked_in(plan);
            ErrorKind::ProgramNotFound { program, detail }.into()
        }
        _ => ErrorKind::ProgramNotExecutable { program, detail: reason(errno) }.into(),
    }
}

fn reason(errno: i32) -> String {
    match rustix::io::Errno::from_raw_os_error(errno) {
        rustix::io::Errno::ACCESS => "permission denied, or not a file".to_owned(),
        rustix::io::Errno::NOEXEC => "neither an ELF file nor a script with a #! line".to_owned(),
        rustix::io::Errno::TOOBIG => "arguments and environment are too long".to_owned(),
        _ => io::Error::from_raw_os_error(errno).to_string(),
    }
}

fn looked_in(plan: &Plan) -> String {
    if plan.candidates.len() == 1 {
        return "no such file in the sandbox".to_owned();
    }
    let path = plan.env.get("PATH").unwrap_or_default().to_string_lossy();
    format!("not in the sandbox's PATH ({path})")
}

#[cfg(test)]
#[path = "cell_tests.rs"]
mod tests;
