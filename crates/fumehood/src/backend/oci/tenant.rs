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

/// Understands how a tool ended.
pub(in crate::backend) trait Judge: Debug + Send + Sync + 'static {
    /// What the end of the tool, and what it left in its place, say about the program's; none for a tool
    /// that was killed from outside.
    ///
    /// # Errors
    /// The program never ran.
    fn judged(&self, place: &Place, ending: Option<Ending>) -> Result<Option<Ending>>;
}

/// A tool that runs in its home, which ends with this.
#[derive(Debug)]
pub(in crate::backend) struct Tenant<J> {
    pub(in crate::backend) init: Handle,
    pub(in crate::backend) place: Place,
    pub(in crate::backend) judge: J,
    /// How the program ended, if it did while it was still waited for to begin.
    pub(in crate::backend) early: Option<Ending>,
}

impl<J: Judge> Tenant<J> {
    /// Waits for the end of the tool.
    pub(in crate::backend) async fn last_word(&mut self) -> Result<Option<Ending>> {
        let ending = init_says(&mut self.init).await?;
        self.judge.judged(&self.place, ending)
    }
}

impl<J: Judge> Tenant<J> {
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
                Some(ending) => Ok(Some(ending)),
                None => self.last_word().await,
            }
        })
    }

    fn signal(&mut self, signal: i32, everyone: bool) -> Soon<'_, ()> {
        const KILL: i32 = 9;
        // Tools pass signals on to the program; sent to everyone, one would hit the tool's own processes,
        // too, which is right for the last.
        let everyone = everyone && signal == KILL;
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
