//! What is done for a job before it is there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::Sandbox;
use crate::backend::native::ahead::Ahead;
use crate::backend::native::launch::Launcher;
use crate::backend::native::tree;
use crate::host::Host;
use crate::plan::Plan;
use crate::{BackendName, Job, Result};

/// What was done ahead for the first job of a sandbox.
#[derive(Debug)]
pub(crate) enum Begun {
    /// An init, by a guess, and since when.
    Init(Instant, Box<Ahead>),
    /// A plan, and what was begun by it.
    Planned(Box<Planned>),
}

/// What is right for one job only.
#[derive(Debug)]
pub(crate) struct Planned {
    /// When the first was begun for it.
    since: Instant,
    pub(super) job: Job,
    plan: Result<Plan>,
    pub(crate) ahead: Option<Ahead>,
    spare: Spare,
}

impl Planned {
    pub(super) fn take(self) -> (Result<Plan>, Option<Ahead>) {
        self.spare.keep();
        (self.plan, self.ahead)
    }
}

/// The control group that a plan has made, where it could: without a cell it would outlive this process.
#[derive(Debug)]
struct Spare;

impl Spare {
    /// Leaves it to whoever takes the plan.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        tree::release_spare();
    }
}

impl Begun {
    fn plan(since: Instant, ahead: Ahead, launcher: &Launcher, job: &Job) -> Self {
        let (plan, ahead) = Ahead::while_planning(Some(ahead), launcher, job, Host::current());
        if ahead.as_ref().is_some_and(Ahead::is_told_all) {
            // What is left to do for us the init needs last. Whoever makes its network here needs the
            // processor now, and until that is made the kernel detaches no root on the other.
            rustix::thread::sched_yield();
        }
        let job = job.clone();
        Self::Planned(Box::new(Planned { since, job, plan, ahead, spare: Spare }))
    }

    /// What is left of it for a job that was not planned.
    pub(crate) fn init(self) -> Option<Ahead> {
        match self {
            Self::Init(_, ahead) => Some(*ahead),
            Self::Planned(_) => None,
        }
    }
}

impl Sandbox {
    /// A [direct](Self::direct) sandbox whose first job is about to come: what most jobs of that backend
    /// need is begun at once, and goes on while the caller still finds out what to run. A job that needs
    /// something else has that made for it as ever.
    #[must_use]
    pub fn expecting(backend: BackendName) -> Self {
        let (launcher, now) = (Launcher::Direct, Instant::now());
        let ahead = Ahead::of_most(&launcher, backend);
        let begun =
            ahead.map(|ahead| Arc::new(Mutex::new(Some(Begun::Init(now, Box::new(ahead))))));
        Self { launcher, begun }
    }

    /// Plans the job that this sandbox [expects](Self::expecting), and has what was begun for it go on by
    /// that: for a caller who knows the job, and has something else to do before it can be spawned, a
    /// runtime to start for example. What comes of it, a refusal too, is told to whoever spawns that job;
    /// with another one it is thrown away. Elsewhere this does nothing.
    pub fn plan_ahead(&self, job: &Job) {
        if job.backend != BackendName::Native {
            return;
        }
        let Some(mut begun) = self.begun() else { return };
        if let Some(Begun::Init(since, ahead)) = begun.take() {
            *begun = Some(Begun::plan(since, *ahead, &self.launcher, job));
        }
    }

    /// Since when this job is set up: since the first was begun for it, if it was planned ahead.
    pub(super) fn asked(&self, job: &Job) -> Instant {
        let since = self.begun().and_then(|begun| match &*begun {
            Some(Begun::Planned(planned)) if planned.job == *job => Some(planned.since),
            _ => None,
        });
        since.unwrap_or_else(Instant::now)
    }

    pub(crate) fn take_begun(&self) -> Option<Begun> {
        self.begun()?.take()
    }

    fn begun(&self) -> Option<MutexGuard<'_, Option<Begun>>> {
        Some(self.begun.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(test)]
    pub(crate) fn put_begun(&self, begun: Begun) {
        *self.begun().expect("it was taken from there") = Some(begun);
    }
}
