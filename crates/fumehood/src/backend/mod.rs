//! What confines a program: ourselves, or a sandbox that somebody else wrote.
//!
//! A backend starts a program and says by what it holds which guarantee. It never times, caps, judges
//! or logs: the supervisor and the report do that once for all. What it gives the supervisor is a
//! [`Started`]: the far ends of the program's streams are descriptors that the supervisor made, and a
//! [`Tether`] tells how the program ended and ends it.
//!
//! The native backend is no [`Backend`]: its cells can be parked, its plans can be weakened step by
//! step, and nothing is boxed on its way. What it shares with the others begins at [`Started`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use fumehood_child::wire::{Ended, Kind};
use tokio::time::Instant;

use crate::backend::native::ahead::Ahead;
use crate::backend::native::cell::Handle;
use crate::backend::native::cgroup::Group;
use crate::backend::native::launch::Launcher;
use crate::backend::native::script::TerminalSize;
use crate::plan::Plan;
use crate::report::{Counted, Denial};
use crate::workspace::changes::Base;
use crate::{
    BackendName, Error, ErrorKind, Figure, Guarantee, Job, Layer, Missing, MountNote, Result,
    Source, Standing, StepTime,
};

mod bare;
#[cfg(feature = "engine")]
pub(crate) mod engine;
pub(crate) mod inner;
pub(crate) mod native;
mod nsjail;
mod oci;
mod seatbelt;
mod unconfined;

/// A future whose type has no name.
pub(crate) type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A sandbox that is not ours, as it was found on this host: its program or its service is there and
/// answers.
pub(crate) trait Backend: Debug + Send + Sync {
    /// The word by which jobs name it.
    fn name(&self) -> BackendName;

    /// What was found, for people: `runsc release-20240729.0, platform systrap`.
    fn version(&self) -> String;

    /// What may surprise programs here, a sentence each.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Makes a job that shall only be tried one that can run here.
    fn trial(&self, job: Job) -> Job {
        job
    }

    /// Whether plans of this job lay out the root entry by entry, as for the native backend: the host's by an
    /// allow-list, a directory, an image of our store. If not, `job.root` is the backend's to judge,
    /// and `plan.root` is empty.
    fn lays_out_root(&self, _job: &Job) -> bool {
        true
    }

    /// Makes a plan right for this backend: who the program is, what becomes of its mounts.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidJob`] for the first field that asks for what this backend cannot do.
    fn fit(&self, plan: &mut Plan) -> Result<()>;

    /// By which mechanisms a guarantee would be held in a run by this plan. Never asked about wall
    /// time and output, which the supervisor holds for every backend.
    ///
    /// # Errors
    /// Why it would not be.
    fn holds(&self, plan: &Plan, guarantee: Guarantee) -> Result<Vec<String>, Lack>;

    /// Starts the program of a plan, by an init that was asked for ahead if it is what is needed. Inputs
    /// are in their place before it starts. `stdio` are the far ends of its three streams; empty where it
    /// is to have a terminal of that size.
    ///
    /// # Errors
    /// As for [`Sandbox::spawn`](crate::Sandbox::spawn). Nothing is left of an attempt that fails.
    fn start<'a>(
        &'a self,
        launcher: &'a Launcher,
        ahead: Option<Ahead>,
        plan: &'a Plan,
        stdio: Vec<OwnedFd>,
        terminal: Option<TerminalSize>,
    ) -> Soon<'a, Result<Started>>;
}

/// Why a guarantee is not held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    /// What stands in the way; [`Layer::Backend`] if no host would do.
    pub(crate) layer: Layer,
    /// One sentence without a full stop.
    pub(crate) reason: String,
    /// A command or setting.
    pub(crate) fix: Option<String>,
    /// What is there in its place, and weaker.
    pub(crate) stand_in: Option<String>,
}

impl Lack {
    /// Of the backend itself, on every host.
    pub(crate) fn of_backend(reason: impl Into<String>) -> Self {
        Self { layer: Layer::Backend, reason: reason.into(), fix: None, stand_in: None }
    }

    /// The refusal of a guarantee that is required.
    pub(crate) fn missing(self, guarantee: Guarantee) -> Missing {
        Missing { guarantee, layer: self.layer, reason: self.reason, fix: self.fix }
    }
}

/// Whether a backend holds a guarantee by its nature, wherever it works as it should. What it offers
/// is required of it unless the job waives it; the rest only where the job says so: whoever names a
/// backend has chosen it, and the report lists what it does not hold.
pub(crate) const fn offers(backend: BackendName, guarantee: Guarantee) -> bool {
    use Guarantee as G;
    match backend {
        BackendName::Native | BackendName::Auto => !matches!(guarantee, G::KernelBoundary),
        BackendName::Runsc => !matches!(guarantee, G::Landlock | G::SyscallFilter | G::Pids),
        BackendName::Crun | BackendName::Runc => {
            !matches!(guarantee, G::Landlock | G::KernelBoundary)
        }
        BackendName::Docker | BackendName::Podman => {
            !matches!(guarantee, G::Landlock | G::KernelBoundary)
        }
        BackendName::Nsjail => {
            !matches!(guarantee, G::Landlock | G::SyscallFilter | G::KernelBoundary)
        }
        BackendName::Seatbelt => {
            matches!(guarantee, G::Filesystem | G::ReadOnlyRoot | G::Network)
        }
        // Nothing, so that each has to be waived by name.
        BackendName::Unconfined => true,
    }
}

/// Looks for a backend on this host.
///
/// # Errors
/// [`ErrorKind::NoBackend`] if it is not there or does not work.
pub(crate) fn find(name: BackendName) -> Result<Arc<dyn Backend>> {
    if let Some(runtime) = oci::Runtime::find(name) {
        return Ok(Arc::new(runtime?));
    }
    #[cfg(feature = "engine")]
    if matches!(name, BackendName::Docker | BackendName::Podman) {
        return engine::find(name);
    }
    let reason = match name {
        BackendName::Nsjail => return Ok(Arc::new(nsjail::Nsjail::find()?)),
        BackendName::Seatbelt => return Ok(Arc::new(seatbelt::Seatbelt::find()?)),
        BackendName::Unconfined => return Ok(Arc::new(unconfined::Unconfined)),
        BackendName::Native | BackendName::Auto => "is not looked for",
        _ => "is not part of this build of fumehood",
    };
    Err(ErrorKind::NoBackend { backend: name, reason: reason.to_owned(), fix: None }.into())
}

/// Where nsjail is on this host.
///
/// # Errors
/// [`ErrorKind::NoBackend`] if it is not there or too old.
pub(crate) fn nsjail_program() -> Result<std::path::PathBuf> {
    nsjail::Nsjail::find().and_then(nsjail::Nsjail::into_program)
}

/// The backends that `auto` tries, in this order: the cheapest that holds all that is asked.
pub(crate) const AUTOMATIC: [BackendName; 7] = [
    BackendName::Native,
    BackendName::Runsc,
    BackendName::Crun,
    BackendName::Runc,
    BackendName::Nsjail,
    BackendName::Docker,
    BackendName::Podman,
];

/// A program that runs, by whichever backend.
#[derive(Debug)]
pub(crate) struct Started {
    // Dropped in this order: the group is removed when nothing runs in it any more.
    pub(crate) tether: Tether,
    /// The control group of everything that runs; none where limits are somebody else's.
    pub(crate) group: Option<Group>,
    /// Where changes to copy-on-write mounts go, if there are any, and what was there before.
    pub(crate) changes: Option<(OwnedFd, Base)>,
    /// What was found out about mounts when they were made.
    pub(crate) notes: Vec<MountNote>,
    /// What its set-up took, step by step.
    pub(crate) steps: Vec<StepTime>,
    /// The controlling end of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
    /// Since when it runs, where that is known better than by when we heard of it.
    pub(crate) since: Option<Instant>,
    /// Where guarantees stand by what was found in this very sandbox, rather than by what was asked
    /// for. What is required and not held has been refused.
    pub(crate) found: BTreeMap<Guarantee, Standing>,
}

impl From<native::cell::Started> for Started {
    fn from(started: native::cell::Started) -> Self {
        let native::cell::Started { init, group, changes, notes, root, mounts, .. } = started;
        let native::cell::Started { steps, terminal, since, .. } = started;
        let tether = Tether::Native { init, root, mounts };
        let since = Some(since);
        Self { tether, group, changes, notes, steps, terminal, since, found: BTreeMap::new() }
    }
}

/// What holds a running program. Dropping it ends everything that the program started.
#[derive(Debug)]
pub(crate) enum Tether {
    /// The line to the init of one of our cells, and its root where the plan shares it, with what keeps
    /// the mounts below it even if the init dies.
    Native { init: Handle, root: Option<OwnedFd>, mounts: Option<OwnedFd> },
    /// A program in somebody else's sandbox.
    Foreign(Box<dyn Foreign>),
}

/// A program in a sandbox that is not ours. Dropping it ends everything that the program started and
/// removes what the sandbox keeps of it, if need be by others once the drop has returned.
pub(crate) trait Foreign: Debug + Send + Sync {
    /// Process id on the host of the ancestor of everything, or 0 where it is not known.
    fn pid(&self) -> i32;

    /// Waits until the program has ended and nothing of it runs any more. None if what ran it died
    /// without a word. Polled anew after every other event: whatever happened meanwhile must not be
    /// lost with a future that was dropped.
    fn ended(&mut self) -> Soon<'_, Result<Option<Ending>>>;

    /// Whether everybody is dead, once its end is told, who could have written to its streams: what others
    /// were handed of them outside is not waited for.
    fn ends_writing(&self) -> bool {
        false
    }

    /// Sends a signal: to the program, or to `everyone`, which for `SIGKILL` ends everything. Soon
    /// means soon: no stream is read meanwhile.
    fn signal(&mut self, signal: i32, everyone: bool) -> Soon<'_, ()>;

    /// Ends everything by the surest means, when signals did not.
    fn kill(&mut self);

    /// A directory in which the program's files lie where the program saw them, once it has ended.
    /// Everything in it is taken for hostile.
    fn files(&mut self) -> Soon<'_, Result<Option<OwnedFd>>> {
        Box::pin(async { Ok(None) })
    }

    /// The program's files where it takes somebody inside to bring them: what
    /// [`pass_on`](crate::workspace::collect::pass_on) wrote, once it has ended. Taken for hostile, too.
    fn collected(&mut self) -> Option<File> {
        None
    }

    /// Lets go of everything, and waits until nothing is left.
    fn remove(self: Box<Self>) -> Soon<'static, ()>;
}

impl Tether {
    /// The process id of the ancestor of everything.
    pub(crate) fn pid(&self) -> i32 {
        match self {
            Self::Native { init, .. } => init.pid,
            Self::Foreign(program) => program.pid(),
        }
    }

    /// How the program ended, when it has; none if what watched over it is gone without a word.
    pub(crate) async fn ended(&mut self) -> Result<Option<Ending>> {
        match self {
            Self::Native { init, .. } => init_says(init).await,
            Self::Foreign(program) => program.ended().await,
        }
    }

    /// Sends a signal to the program, or to everything that runs.
    pub(crate) async fn signal(&mut self, signal: i32, everyone: bool) {
        match self {
            Self::Native { init, .. } => drop(init.signal(signal, everyone).await),
            Self::Foreign(program) => program.signal(signal, everyone).await,
        }
    }

    /// Ends everything by the surest means.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Native { init, .. } => init.kill(),
            Self::Foreign(program) => program.kill(),
        }
    }

    /// The root of the cell, or what looks like it, for as long as the cell is not let go.
    pub(crate) async fn files(&mut self) -> Result<Option<OwnedFd>> {
        match self {
            Self::Native { root, .. } => Ok(root.take()),
            Self::Foreign(program) => program.files().await,
        }
    }

    /// The program's files as somebody inside passed them on.
    pub(crate) fn collected(&mut self) -> Option<File> {
        match self {
            Self::Native { .. } => None,
            Self::Foreign(program) => program.collected(),
        }
    }
}

/// What an init says at the end; everything else it said before.
pub(crate) async fn init_says(init: &mut Handle) -> Result<Option<Ending>> {
    let failed = |error| Error::internal("listen to the init", error);
    let Some(message) = init.receive().await.map_err(failed)? else { return Ok(None) };
    let ended = Some(message).filter(|message| message.kind == Kind::Ended);
    // One that goes on talking is none of ours any more, and would keep clocks from being looked at.
    let ended = ended.and_then(|message| Ended::decode(&message.body));
    let ended = ended.ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))?;
    Ok(Some(Ending::from(&ended)))
}

/// How a program ended, as far as its backend can tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// A wait status (`wait(2)`): the signal, or the exit status above 8 bits.
    pub(crate) status: i32,
    /// User CPU time in microseconds, where no control group of ours tells.
    pub(crate) user_us: Option<Figure>,
    /// System CPU time likewise.
    pub(crate) system_us: Option<Figure>,
    /// Peak memory in bytes likewise.
    pub(crate) peak_memory: Option<Figure>,
    /// What somebody else's control group counted.
    pub(crate) counted: Counted,
    /// The call that it was killed for.
    pub(crate) denial: Option<Denial>,
}

impl Ending {
    /// The wait status of a program that was killed.
    pub(crate) fn killed() -> Self {
        const KILLED: i32 = 9;
        Self { status: KILLED, ..Self::default() }
    }
}

impl From<&Ended> for Ending {
    fn from(ended: &Ended) -> Self {
        let figure = |value, source| Some(Figure { value, source });
        Self {
            status: ended.status,
            user_us: figure(ended.user_us, Source::Rusage),
            system_us: figure(ended.system_us, Source::Rusage),
            peak_memory: figure(ended.maxrss_kib << 10, Source::RusageMaxrss),
            counted: Counted::default(),
            denial: Denial::of(ended),
        }
    }
}
