//! An init that is cloned while its plan is made.
//!
//! The kernel takes longer to make the namespaces than we to make the plan, and what an init is
//! cloned with follows from a few words of the job: so both are done at the same time. It is a guess
//! that nothing depends on: a plan that comes out otherwise has an init of its own cloned, and the
//! first ends because its line closes.

use std::sync::Arc;

use fumehood_child::wire::Kind;

use super::launch::{Launcher, NotLaunched, Pending, Shape};
use super::script::{self, Home, Script};
use super::tree::{self, Joins};
use super::trees::Trees;
use crate::host::Host;
use crate::plan::layout::Entry;
use crate::plan::{self, Filter, Plan, outlook};
use crate::sabotage::leaves_something_out;
use crate::{BackendName, Job, Result};

/// An init that was asked for, and what it is like.
#[derive(Debug)]
pub(crate) struct Ahead {
    shape: Shape,
    asked: Result<Pending, NotLaunched>,
    opening: Opening,
}

/// What an init was told before the plan was known to be one.
#[derive(Debug)]
enum Opening {
    Nothing,
    /// How to make what this root has before anything that the job lists.
    Ground(Arc<[Entry]>, Script),
    /// How to make this root.
    Root(Arc<[Entry]>, Script),
    /// All steps of a cell with this root and this filter.
    Cell(Arc<[Entry]>, Option<Arc<Filter>>, Script),
    /// Something that it may not understand.
    Garbled,
}

impl Ahead {
    /// Has the init of a job cloned of which nothing is known yet but its backend: what most of them need.
    pub(crate) fn of_most(launcher: &Launcher, backend: BackendName) -> Option<Self> {
        let host = Host::current();
        let shape = match backend {
            BackendName::Native | BackendName::Auto => usual(host),
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
        let Some(shape) = foreseen(job, host) else {
            return (Plan::make(job, host, Vec::new()), None);
        };
        let begun = begun.filter(|begun| begun.shape == shape);
        let mut ahead = begun.unwrap_or_else(|| Self::ask(launcher, shape));
        let plan = Plan::make_telling(job, host, Vec::new(), |plan| ahead.open(plan));
        if let Ok(plan) = &plan {
            ahead.close(plan);
        }
        (plan, Some(ahead))
    }

    /// Has the init make its root, while it is found out where guarantees will stand; all that comes before
    /// the job's own mounts, where only the supervisor can clone those. Not where it has to prepare
    /// anything else.
    fn open(&mut self, plan: &Plan) {
        let Ok(pending) = &self.asked else { return };
        let is_layered = plan.root.iter().any(|entry| matches!(entry, Entry::Cow { .. }));
        if plan.root_dir.is_some() || is_layered || self.shape != Shape::of(plan) {
            return;
        }
        let is_whole = !plan.identity.by_root || plan.job.mounts.is_empty();
        let script = match is_whole {
            true => script::opening(plan, Trees::default()),
            false => script::ground(plan),
        };
        if let Ok(Some(mut script)) = script {
            self.opening = match pending.tell(Kind::Opening, &script.bytes) {
                Ok(()) => {
                    script.bytes.clear();
                    let told = if is_whole { Opening::Root } else { Opening::Ground };
                    told(Arc::clone(&plan.root), script)
                }
                Err(_) => Opening::Garbled,
            };
        }
    }

    /// Has an init that makes its root hear of its other steps, too, where it joins no control group.
    fn close(&mut self, plan: &Plan) {
        let Ok(pending) = &self.asked else { return };
        self.opening = match std::mem::replace(&mut self.opening, Opening::Nothing) {
            Opening::Root(root, script) if tree::hierarchy().is_err() => {
                let told = script::closing(script, plan, Joins::default()).ok().filter(|script| {
                    script.fds.is_empty() && pending.tell(Kind::Cell, &script.bytes).is_ok()
                });
                told.map_or(Opening::Garbled, |told| Opening::Cell(root, plan.filter.clone(), told))
            }
            other => other,
        };
    }

    /// Whether its init has been told all steps of its cell.
    pub(crate) const fn is_told_all(&self) -> bool {
        matches!(self.opening, Opening::Cell(..))
    }

    fn ask(launcher: &Launcher, shape: Shape) -> Self {
        let asked = launcher.begin(&shape, None);
        Self { shape, asked, opening: Opening::Nothing }
    }

    /// What came of it, if it is what a plan needs, and what was written down of its steps.
    pub(super) fn for_plan(self, shape: &Shape, plan: &Plan) -> Option<Opened> {
        let Self { asked, opening, .. } = self;
        let is_of = |root| Arc::ptr_eq(root, &plan.root);
        let told = match opening {
            Opening::Nothing => Told::Nothing,
            Opening::Ground(root, script) if is_of(&root) => Told::Ground(script),
            Opening::Root(root, script) if is_of(&root) => Told::Root(script),
            Opening::Cell(root, filter, script) if is_of(&root) && is_same(&filter, plan) => {
                Told::Cell(script)
            }
            _ => return None,
        };
        (self.shape == *shape).then_some((asked, told))
    }

    /// What came of it, if it is what a home needs.
    pub(super) fn for_home(self, shape: &Shape) -> Option<Result<Pending, NotLaunched>> {
        let is_told_nothing = matches!(self.opening, Opening::Nothing);
        (is_told_nothing && self.shape == *shape).then_some(self.asked)
    }
}

/// An init, and the steps that it has been told.
pub(super) type Opened = (Result<Pending, NotLaunched>, Told);

/// Which steps of a cell its init has been told.
#[derive(Debug)]
pub(super) enum Told {
    Nothing,
    Ground(Script),
    Root(Script),
    Cell(Script),
}

/// Whether that is the very filter of a plan: a plan that differs in anything has one of its own.
fn is_same(filter: &Option<Arc<Filter>>, plan: &Plan) -> bool {
    match (filter, &plan.filter) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// What the init of most jobs is like. That of a job is [told](foreseen) by more code, which is not in memory
/// when a process begins.
fn usual(host: &Host) -> Option<Shape> {
    if tree::may_bear_inits() || leaves_something_out() {
        return None;
    }
    let (namespaces, identity) = plan::usual(host);
    Some(Shape::new(namespaces, identity))
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
