//! An init that is cloned while its plan is made.
//!
//! The kernel takes longer to make the namespaces than we to make the plan, and what an init is
//! cloned with follows from a few words of the job: so both are done at the same time. It is a guess
//! that nothing depends on: a plan that comes out otherwise has an init of its own cloned, and the
//! first ends because its line closes.

use super::launch::{Launcher, NotLaunched, Pending, Shape};
use super::script::Home;
use super::tree;
use crate::host::Host;
use crate::plan::{Plan, outlook};
use crate::sabotage::leaves_something_out;
use crate::{BackendName, Job, Result};

/// An init that was asked for, and what it is like.
#[derive(Debug)]
pub(crate) struct Ahead {
    shape: Shape,
    asked: Result<Pending, NotLaunched>,
}

impl Ahead {
    /// Has the init of a job cloned of which nothing is known yet but its backend: what most of them need.
    pub(crate) fn of_most(launcher: &Launcher, backend: BackendName) -> Option<Self> {
        let host = Host::current();
        let shape = match backend {
            BackendName::Native | BackendName::Auto => foreseen(&Job::new(["true"]), host),
            other => home(other, host),
        };
        Some(Self::ask(launcher, shape?))
    }

    /// Has the init of the home cloned that the tool of a backend lives in, if it has one, unless one was
    /// begun that is like it.
    pub(crate) fn of_home(
        begun: Option<Self>,
        launcher: &Launcher,
        job: &Job,
        host: &Host,
    ) -> Option<Self> {
        let shape = home(job.backend, host).filter(|_| job.validate().is_ok())?;
        Some(
            begun
                .filter(|begun| begun.shape == shape)
                .unwrap_or_else(|| Self::ask(launcher, shape)),
        )
    }

    /// Plans a job, and has its init cloned meanwhile where it can be told what it will be like, unless
    /// one was begun that is like it.
    pub(crate) fn while_planning(
        begun: Option<Self>,
        launcher: &Launcher,
        job: &Job,
        host: &Host,
    ) -> (Result<Plan>, Option<Self>) {
        let plan = || Plan::make(job, host, Vec::new());
        let Some(shape) = foreseen(job, host) else { return (plan(), None) };
        let begun = begun.filter(|begun| begun.shape == shape);
        let ahead = begun.unwrap_or_else(|| Self::ask(launcher, shape));
        (plan(), Some(ahead))
    }

    fn ask(launcher: &Launcher, shape: Shape) -> Self {
        let asked = launcher.begin(&shape, None);
        Self { shape, asked }
    }

    /// What came of it, if it is what a plan needs.
    pub(super) fn of_shape(self, shape: &Shape) -> Option<Result<Pending, NotLaunched>> {
        (self.shape == *shape).then_some(self.asked)
    }
}

/// What the init of a job will be like. Unknown where it has to be born in its control group, and for
/// a job that cannot be planned anyway.
fn foreseen(job: &Job, host: &Host) -> Option<Shape> {
    if tree::may_bear_inits() || leaves_something_out() || job.validate().is_err() {
        return None;
    }
    let (namespaces, identity) = outlook(job, host)?;
    Some(Shape::new(namespaces, identity))
}

/// What the init of a home will be like; none for backends without one.
fn home(backend: BackendName, host: &Host) -> Option<Shape> {
    let tools = [BackendName::Runsc, BackendName::Crun, BackendName::Runc, BackendName::Nsjail];
    let is_known = tools.contains(&backend) && !tree::may_bear_inits() && !leaves_something_out();
    is_known.then(|| Shape::home(Home::user(host)))
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
