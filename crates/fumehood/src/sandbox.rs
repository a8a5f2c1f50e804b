//! The front door: runs jobs.

mod begun;
mod ends;
mod running;
mod streams;

use std::sync::{Arc, Mutex, OnceLock};

use tokio::time::Instant;

use crate::backend::native::ahead::Ahead;
use crate::backend::native::cell::{Cell, NotBuilt};
use crate::backend::native::launch::Launcher;
use crate::backend::native::script::TerminalSize;
use crate::backend::native::tree;
use crate::backend::{Soon, Started};
use crate::host::Host;
use crate::plan::{Plan, others};
use crate::stream::{Drain, Feed};
use crate::supervise::{self, Ends, Told, Wiring};
use crate::workspace::{collect, intake};
use crate::zygote::Zygote;
use crate::{BackendName, Changes, Error, ErrorKind, Job, Report, Result};
pub(crate) use begun::Begun;
use ends::ends;
pub(crate) use ends::{source, streams};
pub use running::{Handle, Running};
pub use streams::Streams;

/// Runs jobs, each in a cell of its own that is used once.
///
/// ```no_run
/// # async fn example() -> fumehood::Result<()> {
/// fumehood::init(); // first in main, before there are threads
/// let job = fumehood::Job::new(["python3", "-c", "print('hello')"]);
/// let report = fumehood::Sandbox::new().run(&job).await?;
/// assert_eq!(report.stdout.data, b"hello\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Sandbox {
    pub(crate) launcher: Launcher,
    /// What was done ahead for the first job.
    begun: Option<Arc<Mutex<Option<Begun>>>>,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// A sandbox whose cells are cloned by a small helper process, which all sandboxes of this
    /// process share. See [`init`](crate::init).
    #[must_use]
    pub fn new() -> Self {
        static SHARED: OnceLock<Arc<Mutex<Option<Zygote>>>> = OnceLock::new();
        Self::by(Launcher::Zygote(Arc::clone(SHARED.get_or_init(Arc::default))))
    }

    /// A sandbox whose cells are cloned from the calling process itself.
    ///
    /// That saves the helper, but a copy of this process's memory lives in the init of every cell,
    /// and copying costs some 20 µs per MiB in use: it is meant for small, short-lived processes
    /// such as a command line. The calling thread must outlive its runs, because a cell ends with
    /// the thread that cloned it (`PR_SET_PDEATHSIG`). Inits are children of this process, which waits
    /// for those that have ended when the next one begins: the last stay as zombies for as long.
    #[must_use]
    pub const fn direct() -> Self {
        Self::by(Launcher::Direct)
    }

    pub(crate) const fn by(launcher: Launcher) -> Self {
        Self { launcher, begun: None }
    }

    /// Runs a job to its end and captures its output. Dropping the future kills the program and
    /// everything it started.
    ///
    /// # Errors
    /// Only if the program could not be run: see [`ErrorKind`]. How it ended is in the report.
    pub async fn run(&self, job: &Job) -> Result<Report> {
        let mut running = self.spawn(job, Streams::captured()).await?;
        running.wait().await
    }

    /// Runs a job in the same way, and keeps what it changed in copy-on-write mounts: to be looked
    /// at as a patch, or applied to the host's directories.
    ///
    /// # Errors
    /// Those of [`Sandbox::run`].
    pub async fn run_with_changes(&self, job: &Job) -> Result<(Report, Option<Changes>)> {
        let mut running = self.spawn(job, Streams::captured()).await?;
        let report = running.wait().await?;
        Ok((report, running.take_changes()))
    }

    /// Starts a job, with its streams led where the caller wants them.
    ///
    /// # Errors
    /// Only if the program could not be started: see [`ErrorKind`].
    pub async fn spawn(&self, job: &Job, streams: Streams) -> Result<Running> {
        let asked = self.asked(job);
        let Streams { stdin, stdout, stderr, terminal } = streams;
        let stdin = source(job, stdin)?;
        let sink = collect::open(&job.collect)?;
        let feeds = !matches!(stdin, Feed::Nothing);
        let started = async {
            match job.backend {
                BackendName::Native => self.start(job, feeds, terminal).await,
                _ => self.start_other(job, feeds, terminal).await,
            }
        };
        let (started, wiring) = tokio::join!(started, wire(stdin, [stdout, stderr]));
        let (mut plan, started, ends) = started?;
        let told = Told::take(&mut plan);
        let plan = Arc::new(plan);
        Ok(Running::new(supervise::Running::new(plan, told, started, ends, wiring, sink, asked)))
    }

    /// Starts a job in a cell that was built for its plan, which was made of another.
    pub(crate) async fn spawn_in(
        &self,
        mut plan: Plan,
        before: &Plan,
        cell: Cell,
        streams: Streams,
    ) -> Result<Running> {
        let asked = Instant::now();
        let Streams { stdin, stdout, stderr, terminal } = streams;
        let stdin = source(&plan.job, stdin)?;
        let sink = collect::open(&plan.job.collect)?;
        let feeds = !matches!(stdin, Feed::Nothing);
        let started = async {
            if intake::reads_stdin(&plan.job.inputs) {
                // Nothing is read from there before a program is known to start.
                drop(cell);
                Box::pin(self.attempt(None, &plan, feeds, terminal)).await
            } else {
                start_in(cell, &plan, feeds, terminal).await
            }
        };
        // Whatever the program need not wait for is done when it is on its way.
        let standing = async { before.guarantees.clone() };
        let (tried, wiring, standing) =
            tokio::join!(started, wire(stdin, [stdout, stderr]), standing);
        let (mut plan, started, ends) = match tried {
            Ok((started, ends)) => {
                plan.stand_as(standing);
                (plan, started, ends)
            }
            Err(NotBuilt::Failed(error)) => return Err(error),
            // The cell died in the very moment, or the host does not let a program start as it is
            // planned: nothing has run, and the long way knows what to do without.
            Err(NotBuilt::Lost(_) | NotBuilt::Blocked(_)) => {
                Box::pin(self.start(&plan.job, feeds, terminal)).await?
            }
        };
        let told = Told::take(&mut plan);
        let plan = Arc::new(plan);
        Ok(Running::new(supervise::Running::new(plan, told, started, ends, wiring, sink, asked)))
    }

    /// Tries the full plan, and weaker ones only as far as the job waives what they lack.
    pub(crate) async fn start(
        &self,
        job: &Job,
        feeds: bool,
        terminal: Option<TerminalSize>,
    ) -> Result<(Plan, Started, Ends)> {
        let host = Host::current();
        let (made, mut ahead) = match self.take_begun() {
            Some(Begun::Planned(planned)) if planned.job == *job => planned.take(),
            begun => Ahead::while_planning(begun.and_then(Begun::init), &self.launcher, job, host),
        };
        let mut plan = match made {
            Ok(plan) => plan,
            Err(error) => {
                let error = self.complete(error, job, host).await;
                tree::release_spare();
                return Err(error);
            }
        };
        loop {
            let blocked = match self.attempt(ahead.take(), &plan, feeds, terminal).await {
                Ok((started, ends)) => return Ok((plan, started, ends)),
                Err(NotBuilt::Failed(error) | NotBuilt::Lost(error)) => return Err(error),
                Err(NotBuilt::Blocked(blocked)) => blocked,
            };
            plan = plan.do_without(blocked, host)?;
        }
    }

    /// Starts a job by a backend that is not ours. Apart, so that a run by our own pays nothing for it.
    fn start_other<'a>(
        &'a self,
        job: &'a Job,
        feeds: bool,
        terminal: Option<TerminalSize>,
    ) -> Soon<'a, Result<(Plan, Started, Ends)>> {
        Box::pin(async move {
            if job.backend != BackendName::Auto {
                return self.start_foreign(job, feeds, terminal).await;
            }
            let mut first = None;
            for job in others::automatic(job) {
                let started = match job.backend {
                    BackendName::Native => self.start(&job, feeds, terminal).await,
                    _ => self.start_foreign(&job, feeds, terminal).await,
                };
                match started {
                    Err(error) if others::goes_on(&error, job.backend) => {
                        first.get_or_insert(error);
                    }
                    other => return other,
                }
            }
            Err(first.unwrap_or_else(others::nothing_tried))
        })
    }

    async fn start_foreign(
        &self,
        job: &Job,
        feeds: bool,
        terminal: Option<TerminalSize>,
    ) -> Result<(Plan, Started, Ends)> {
        let host = Host::current();
        let begun = self.take_begun().and_then(Begun::init);
        let ahead = Ahead::of_home(begun, &self.launcher, job, host);
        let mut plan = Plan::for_others(job, host)?;
        let terminal = plan.job.tty.then(|| terminal.unwrap_or(DEFAULT_SIZE));
        let (ends, stdio) = ends(&plan, feeds, terminal)?;
        let Some(backend) = &plan.foreign else { return Err(others::nothing_tried()) };
        let mut started = backend.start(&self.launcher, ahead, &plan, stdio, terminal).await?;
        plan.guarantees.extend(std::mem::take(&mut started.found));
        Ok((plan, started, ends))
    }

    /// A job that is refused before anything was tried shall hear of everything that is missing, not
    /// of the rest when it has waived the first: tries the cell, without a program in it.
    async fn complete(&self, error: Error, job: &Job, host: &Host) -> Error {
        if !matches!(error.kind(), ErrorKind::Unsupported { .. }) {
            return error;
        }
        let mut lenient = job.clone();
        lenient.require.clear();
        lenient.waive = crate::Guarantee::ALL.into();
        let Ok(mut plan) = Plan::make(&lenient, host, Vec::new()) else { return error };
        while let Err(NotBuilt::Blocked(blocked)) = self.build_only(&plan).await {
            match plan.do_without(blocked, host) {
                Ok(weaker) => plan = weaker,
                Err(_) => return error,
            }
        }
        Plan::make(job, host, plan.blocked).err().unwrap_or(error)
    }

    async fn build_only(&self, plan: &Plan) -> Result<(), NotBuilt> {
        Cell::build(&self.launcher, plan).await?.park().await.map(drop)
    }

    pub(crate) async fn attempt(
        &self,
        ahead: Option<Ahead>,
        plan: &Plan,
        feeds: bool,
        terminal: Option<TerminalSize>,
    ) -> Result<(Started, Ends), NotBuilt> {
        if intake::reads_stdin(&plan.job.inputs) {
            self.rehearse(plan).await?;
        }
        let cell = Cell::build_on(ahead, &self.launcher, plan).await?;
        start_in(cell, plan, feeds, terminal).await
    }

    /// Does all steps of a plan but for its inputs, to the execution of a program that cannot be
    /// there. What comes from standard input comes once: it must not be spent on an attempt in which
    /// the host refuses a step of the program, which is tried again with a weaker plan.
    async fn rehearse(&self, plan: &Plan) -> Result<(), NotBuilt> {
        let mut plan = plan.clone();
        plan.job.inputs.clear();
        plan.candidates = vec!["/dev/null/.".into()];
        let cell = Cell::build(&self.launcher, &plan).await?;
        match start_in(cell, &plan, false, None).await {
            Err(NotBuilt::Blocked(blocked)) => Err(NotBuilt::Blocked(blocked)),
            // That it is not there, or whatever else the true attempt will say better.
            Err(NotBuilt::Failed(_) | NotBuilt::Lost(_)) | Ok(_) => Ok(()),
        }
    }
}

async fn start_in(
    mut cell: Cell,
    plan: &Plan,
    feeds: bool,
    terminal: Option<TerminalSize>,
) -> Result<(Started, Ends), NotBuilt> {
    if !plan.job.inputs.is_empty() {
        Box::pin(cell.stage(plan)).await?;
    }
    let terminal = plan.job.tty.then(|| terminal.unwrap_or(DEFAULT_SIZE));
    let (ends, stdio) = streams(&mut cell, plan, feeds, terminal)?;
    Ok((cell.start(plan, stdio, terminal).await?.into(), ends))
}

/// Joins up the streams while the kernel is busy with the cell: whoever awaits both gets there first
/// when the other waits.
pub(crate) async fn wire(stdin: Feed, outputs: [Drain; 2]) -> Wiring {
    Wiring::watch(stdin, outputs)
}

const DEFAULT_SIZE: TerminalSize = TerminalSize { rows: 24, columns: 80 };
