//! A tool in its home: what all of them do there, whichever it is.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::home::{self, Lodging};
use super::place::Place;
use crate::backend::inner;
use crate::backend::native::ahead::Ahead;
use crate::backend::native::cell::{Cell, Handle, NotBuilt};
use crate::backend::native::cgroup::Group;
use crate::backend::native::launch::Launcher;
use crate::backend::{Ending, Foreign, Soon, Started, Tether, init_says};
use crate::job::Limit;
use crate::plan::Plan;
use crate::sabotage::leaves_out;
use crate::{Error, ErrorKind, Guarantee, MountNote, Result, StepTime};

/// Builds a home: with the inputs, which are written where the program's files are, and with the root of
/// the bundle, whose files are the `owner`'s where that is not who makes them.
pub(in crate::backend) async fn move_in(
    launcher: &Launcher,
    ahead: Option<Ahead>,
    plan: &Plan,
    lodging: &Lodging,
    owner: Option<(u32, u32)>,
) -> Result<(Cell, Place)> {
    let mut own = plan.clone();
    // The program's processes are limited by the tool, or not at all: its own would be among them.
    own.job.limits.pids = Some(Limit::Unlimited);
    for input in &mut own.job.inputs {
        input.to = lodging.source(&input.to);
    }
    let mut cell = Cell::home(ahead, launcher, &own, &lodging.home).await.map_err(not_built)?;
    cell.stage(&own).await.map_err(not_built)?;
    let place = Place::open(cell.shared_root()?, &lodging.place)?;
    let init = lodging.token.as_ref().map(|_| inner::PROGRAM);
    home::furnish(&place, plan, init, owner)?;
    Ok((cell, place))
}

/// What the host refuses to a home it refuses to the tool.
pub(in crate::backend) fn not_built(error: NotBuilt) -> Error {
    match error {
        NotBuilt::Failed(error) | NotBuilt::Lost(error) => error,
        NotBuilt::Blocked(blocked) => {
            let broken = [Guarantee::Processes, Guarantee::Filesystem];
            let missing = broken.map(|guarantee| blocked.missing(guarantee)).into();
            ErrorKind::Unsupported { missing }.into()
        }
    }
}

/// The signals that a tool was sent because the caller said so.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::backend) struct Sent(u64);

impl Sent {
    fn note(&mut self, signal: i32) {
        self.0 |= Self::bit(signal);
    }

    /// Whether this was one of them.
    pub(in crate::backend) fn has(self, signal: i32) -> bool {
        self.0 & Self::bit(signal) != 0
    }

    fn bit(signal: i32) -> u64 {
        u32::try_from(signal).ok().and_then(|signal| 1_u64.checked_shl(signal)).unwrap_or(0)
    }
}

/// Understands how a tool ended.
pub(in crate::backend) trait Judge: Debug + Send + Sync + 'static {
    /// What the end of the tool, and what it left in its place, say about the program's.
    ///
    /// # Errors
    /// The program never ran; or it did, and the tool failed it.
    fn judged(&self, place: &Place, ending: Ending, sent: Sent) -> Result<Ending>;
}

/// What ends by a signal that nobody of ours sent was killed from outside, which says nothing about the
/// program.
///
/// # Errors
/// [`ErrorKind::Internal`] that names the tool.
pub(in crate::backend) fn not_killed(tool: &str, ending: &Ending, sent: Sent) -> Result<()> {
    match ending.status & 0x7f {
        0 => Ok(()),
        _ if leaves_out("tool-killed") => Ok(()),
        signal if sent.has(signal) => Ok(()),
        signal => Err(failed(format!("{tool} itself was killed, by signal {signal}"))),
    }
}

/// The error for a program that ran, and whose tool failed it.
pub(in crate::backend) fn failed(said: String) -> Error {
    Error::internal("run the program to its end", std::io::Error::other(said))
}

/// A tool that runs in its home, which ends with this.
#[derive(Debug)]
pub(in crate::backend) struct Tenant<J> {
    pub(in crate::backend) init: Handle,
    pub(in crate::backend) place: Place,
    pub(in crate::backend) judge: J,
    pub(in crate::backend) sent: Sent,
    /// How the program ended, if it did while it was still waited for to begin.
    pub(in crate::backend) early: Option<Result<Option<Ending>>>,
}

impl<J: Judge> Tenant<J> {
    pub(in crate::backend) fn new(init: Handle, place: Place, judge: J) -> Self {
        Self { init, place, judge, sent: Sent::default(), early: None }
    }

    /// Waits for the end of the tool; none if it was killed with its home.
    pub(in crate::backend) async fn last_word(&mut self) -> Result<Option<Ending>> {
        let ending = init_says(&mut self.init).await?;
        ending.map(|ending| self.judge.judged(&self.place, ending, self.sent)).transpose()
    }

    /// What the supervisor gets, with the rest of what was started.
    pub(in crate::backend) fn started(
        self,
        group: Option<Group>,
        notes: Vec<MountNote>,
        steps: Vec<StepTime>,
    ) -> Started {
        Started {
            tether: Tether::Foreign(Box::new(self)),
            group,
            changes: None,
            notes,
            steps,
            terminal: None,
            since: None,
            found: BTreeMap::new(),
        }
    }
}

impl<J: Judge> Foreign for Tenant<J> {
    fn pid(&self) -> i32 {
        self.init.pid
    }

    fn ended(&mut self) -> Soon<'_, Result<Option<Ending>>> {
        Box::pin(async {
            match self.early.take() {
                Some(ended) => ended,
                None => self.last_word().await,
            }
        })
    }

    /// They are all in the home's process namespace.
    fn ends_writing(&self) -> bool {
        true
    }

    fn signal(&mut self, signal: i32, everyone: bool) -> Soon<'_, ()> {
        const KILL: i32 = 9;
        // Tools pass signals on to the program; sent to everyone, one would hit the tool's own processes,
        // too, which is right for the last.
        let everyone = everyone && signal == KILL;
        self.sent.note(signal);
        Box::pin(async move { drop(self.init.signal(signal, everyone).await) })
    }

    fn kill(&mut self) {
        self.init.kill();
    }

    fn files(&mut self) -> Soon<'_, Result<Option<OwnedFd>>> {
        Box::pin(async { self.place.below(Path::new("files")).map(Some) })
    }

    fn remove(self: Box<Self>) -> Soon<'static, ()> {
        Box::pin(async move {
            let Self { mut init, .. } = *self;
            init.ended().await;
        })
    }
}
