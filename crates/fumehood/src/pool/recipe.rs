//! What jobs have in common that run the same cell in the same way, worked out once.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use tokio::time::Instant;

use crate::apart;
use crate::backend::native::cell::{Cell, NotBuilt, answers_within, program_failed};
use crate::backend::native::script::{self, Script};
use crate::plan::{self, Plan};
use crate::sandbox::{self, Streams};
use crate::stream::Feed;
use crate::supervise::{self, Told};
use crate::workspace::collect;
use crate::{Job, Result, Running, Sandbox};

/// A job's plan without its program, and what is left to do when a program comes.
///
/// What it says of this process, its own limits and its nice value, is as old as the recipe is.
pub(super) struct Recipe {
    /// The plan that the cells were built by.
    before: Arc<Plan>,
    /// The plan of the job, without its program and its input.
    plan: Arc<Plan>,
    /// What a report says of it.
    told: Told,
    /// The steps of a program, but for its execution.
    steps: Script,
    /// Whether a program can be begun by them before it is known.
    primes: bool,
    /// The environment, as a program gets it.
    variables: Vec<u8>,
    pub(super) since: Instant,
}

/// Whoever prints a pool shall not see what programs are given.
impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipe").field("since", &self.since).finish_non_exhaustive()
    }
}

impl Recipe {
    /// Works it out for a job with a cell that was built by a plan.
    pub(super) fn new(before: &Arc<Plan>, job: &Job) -> Result<Self> {
        let mut plan = before.again(job)?;
        plan.stand_as(before.guarantees.clone());
        let told = Told::take(&mut plan);
        let steps = script::before_execution(&plan, None)?;
        let primes = script::can_be_primed(&plan);
        let variables = script::variables(&plan.env)?;
        (plan.job.args, plan.job.stdin) = Default::default();
        let (before, plan) = (Arc::clone(before), Arc::new(plan));
        Ok(Self { before, plan, told, steps, primes, variables, since: Instant::now() })
    }

    /// Does for a program in a cell what can be done before it is known, and has it begin.
    pub(super) fn prime(&self, cell: &mut Cell) {
        cell.open_figures();
        // Where it fails the program begins when it comes.
        let _ = (self.primes && !apart::is_in_force()).then(|| cell.prime(&self.steps));
    }

    /// Whether it is about cells that were built by this plan.
    pub(super) fn is_for(&self, plan: &Arc<Plan>) -> bool {
        Arc::ptr_eq(&self.before, plan)
    }

    /// Whether it is that of this job in some cell.
    pub(super) fn suits(&self, job: &Job) -> bool {
        self.plan.job.same_plan(job)
    }

    /// Whether it is that of this job in a cell that was built by this plan.
    pub(super) fn is_of(&self, before: &Arc<Plan>, job: &Job) -> bool {
        self.is_for(before) && self.suits(job)
    }

    /// What the report of such a job begins with.
    pub(super) fn told(&self) -> Told {
        self.told.clone()
    }

    /// Why a program did not start: only that takes a plan of its own.
    fn failed(&self, job: &Job, script: &Script, body: &[u8]) -> NotBuilt {
        match self.before.again(job) {
            Ok(plan) => program_failed(&plan, script, body),
            Err(error) => error.into(),
        }
    }

    /// The steps of a job's program.
    fn program(&self, job: &Job) -> Result<Script> {
        let mut script = self.steps.without_descriptors();
        let candidates = plan::candidates(job, &self.plan.env);
        let paths = candidates.iter().map(|path| path.as_os_str().as_bytes());
        script::execution(&mut script, &job.args, paths, &self.variables)?;
        Ok(script)
    }
}

impl Sandbox {
    /// Starts a job in a parked cell for which it is known how. Unlike
    /// [`spawn_in`](Self::spawn_in), which does the same by a plan, it makes none.
    pub(super) async fn spawn_by(
        &self,
        job: &Job,
        recipe: &Recipe,
        mut cell: Cell,
        told: Option<Told>,
        streams: Streams,
    ) -> Result<Running> {
        let asked = Instant::now();
        job.validate_program()?;
        let Streams { stdin, stdout, stderr, .. } = streams;
        let stdin = sandbox::source(job, stdin)?;
        let sink = collect::open(&job.collect)?;

        let feeds = !matches!(stdin, Feed::Nothing);
        let program = recipe.program(job)?;

        let (ends, stdio) = sandbox::streams(&mut cell, &recipe.plan, feeds, None)?;
        let failed = |script: &Script, body: &[u8]| recipe.failed(job, script, body);
        let started = cell.start_by(program, stdio, answers_within(&job.limits), failed);
        // Whatever the program need not wait for is done when it is on its way.
        let told = async { told.unwrap_or_else(|| recipe.told.clone()) };
        let (tried, wiring, told) =
            tokio::join!(started, sandbox::wire(stdin, [stdout, stderr]), told);
        let (plan, told, started, ends) = match tried {
            Ok(started) => (Arc::clone(&recipe.plan), told, started.into(), ends),
            Err(NotBuilt::Failed(error)) => return Err(error),
            // As with a plan, nothing has run, and the long way knows what to do.
            Err(NotBuilt::Lost(_) | NotBuilt::Blocked(_)) => {
                let (mut plan, started, ends) = Box::pin(self.start(job, feeds, None)).await?;
                let told = Told::take(&mut plan);
                (Arc::new(plan), told, started, ends)
            }
        };
        Ok(Running::new(supervise::Running::new(plan, told, started, ends, wiring, sink, asked)))
    }
}
