//! How a pool comes by its cells: in a template where one can be made, and otherwise each from
//! nothing. Whatever goes wrong with a template, the long way is open, and its errors count.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::stock::{Built, Origin};
use super::{Inner, count};
use crate::backend::native::cell::{Cell, NotBuilt};
use crate::backend::native::cgroup::Group;
use crate::backend::native::launch::Launcher;
use crate::backend::native::template::Template;
use crate::backend::native::tree;
use crate::host::Host;
use crate::plan::Plan;
use crate::{Job, Result, Running, Streams};

impl Inner {
    /// Starts a job for which no cell is parked.
    pub(super) async fn spawn_new(&self, job: &Job, streams: Streams) -> Result<Running> {
        if let Some((before, template)) = self.template(job) {
            let recipe = self.stock().shelf(job).and_then(|shelf| shelf.known(&before, job));
            let how = recipe.map_or_else(|| before.again(job).map(Err), |recipe| Ok(Ok(recipe)))?;
            match (self.begin(&template, &before).await, how) {
                (Ok(cell), Ok(recipe)) => {
                    return self.sandbox.spawn_by(job, &recipe, cell, None, streams).await;
                }
                (Ok(cell), Err(plan)) => {
                    return Box::pin(self.sandbox.spawn_in(plan, &before, cell, streams)).await;
                }
                (Err(_), _) => self.give_up_template(job, &template),
            }
        }
        Box::pin(self.sandbox.spawn(job, streams)).await
    }

    /// Makes room for cells for jobs like this one, once it is known that they can be built.
    pub(super) async fn prepare(&self, job: &Job) -> Result<()> {
        let _one = self.looking.lock().await;
        if self.stock().shelf(job).is_some() {
            return Ok(());
        }
        let origin = self.origin(job).await;
        if matches!(origin, Origin::Template { .. }) {
            self.open_shelf(job);
            self.set_origin(job, origin);
            return Ok(());
        }
        let (plan, cell) = self.build_from_nothing(&job.shape()).await?;
        self.open_shelf(job);
        self.set_origin(job, origin);
        self.park(plan, cell);
        Ok(())
    }

    /// Builds a cell and waits until it stands.
    pub(super) async fn build(&self, job: &Job) -> Result<Built> {
        let began = Instant::now();
        // What is seldom done has a place of its own: a future is moved with all that it may need.
        if self.wants_origin(job) {
            Box::pin(self.look_for_origin(job)).await;
        }
        let built = match self.build_in_template(job).await {
            Some(built) => built,
            None => Box::pin(self.build_from_nothing(job)).await?,
        };
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        count(&self.counts.built);
        self.counts.build_us.fetch_add(us, Ordering::Relaxed);
        Ok(built)
    }

    /// Finds out what cells for this job are made of. One at a time looks, and others wait for what it
    /// finds.
    async fn look_for_origin(&self, job: &Job) {
        let _one = self.looking.lock().await;
        if self.wants_origin(job) {
            let origin = self.origin(job).await;
            self.set_origin(job, origin);
        }
    }

    async fn build_in_template(&self, job: &Job) -> Option<Built> {
        let (plan, template) = self.template(job)?;
        let built = match self.begin(&template, &plan).await {
            Ok(cell) => park(cell, &plan).await,
            Err(error) => Err(error),
        };
        match &built {
            Ok(_) => self.prove_template(job),
            Err(_) => self.give_up_template(job, &template),
        }
        built.ok().map(|cell| (plan, cell))
    }

    async fn build_from_nothing(&self, job: &Job) -> Result<Built> {
        let host = Host::current();
        let mut plan = Plan::make(job, host, Vec::new())?;
        loop {
            let built = match self.begin(&self.sandbox.launcher, &plan).await {
                Ok(cell) => park(cell, &plan).await,
                Err(error) => Err(error),
            };
            match built {
                Ok(cell) => return Ok((Arc::new(plan), cell)),
                Err(NotBuilt::Failed(error) | NotBuilt::Lost(error)) => return Err(error),
                Err(NotBuilt::Blocked(blocked)) => plan = plan.do_without(blocked, host)?,
            }
        }
    }

    /// Has a cell built, in a group that was used before if there is one.
    async fn begin(&self, launcher: &Launcher, plan: &Plan) -> Result<Cell, NotBuilt> {
        let group = match self.recycled(plan) {
            Some(group) => Some(group),
            None => tree::group(plan)?,
        };
        Cell::build_in(launcher, plan, group).await
    }

    /// A group in which something ran before, made as good as new.
    fn recycled(&self, plan: &Plan) -> Option<Group> {
        let mut group = self.stock().groups.pop()?;
        // What cannot be made new is removed when it is dropped.
        tree::reset(&mut group, plan).ok()?;
        count(&self.counts.groups_recycled);
        Some(group)
    }

    /// What cells for this job are made in, with the plan of it, if it is there and not too old.
    fn template(&self, job: &Job) -> Option<(Arc<Plan>, Launcher)> {
        match &self.stock().shelf(job)?.origin {
            Origin::Template { plan, template, since, .. }
                if !self.is_old(*since) && template.is_alive() =>
            {
                Some((Arc::clone(plan), Launcher::Template(Arc::clone(template))))
            }
            _ => None,
        }
    }

    /// Whether nobody knows what cells for this job should be made of, or no longer.
    fn wants_origin(&self, job: &Job) -> bool {
        let mut stock = self.stock();
        stock.shelf(job).is_some_and(|shelf| match &shelf.origin {
            Origin::Unknown => true,
            Origin::Template { template, since, .. } => self.is_old(*since) || !template.is_alive(),
            Origin::Nothing { since } => self.is_old(*since),
        })
    }

    /// Makes a template for cells for this job, if that can be done.
    async fn origin(&self, job: &Job) -> Origin {
        let since = Instant::now();
        let Ok(plan) = Plan::make(&job.shape(), Host::current(), Vec::new()) else {
            return Origin::Nothing { since };
        };
        match Template::build(&self.sandbox.launcher, &plan).await {
            Ok(Some(template)) => {
                count(&self.counts.templates);
                let plan = Arc::new(plan);
                Origin::Template { plan, template: Arc::new(template), since, proven: false }
            }
            Ok(None) | Err(_) => Origin::Nothing { since },
        }
    }

    fn set_origin(&self, job: &Job, origin: Origin) {
        let mut stock = self.stock();
        if let Some(shelf) = stock.shelf(job) {
            // Whatever was made in the old one holds on to it.
            shelf.origin = origin;
        }
    }

    fn prove_template(&self, job: &Job) {
        if let Some(Origin::Template { proven, .. }) =
            self.stock().shelf(job).map(|shelf| &mut shelf.origin)
        {
            *proven = true;
        }
    }

    /// Lets go of a template in which no cell could be made. If others could, it may be dying, and the
    /// next one is tried; if none ever was, cells are made from nothing for a while.
    ///
    /// Several may have tried the same one at a time. When the second of them comes here, there may be
    /// a new one already.
    fn give_up_template(&self, job: &Job, failed: &Launcher) {
        let mut stock = self.stock();
        let Some(shelf) = stock.shelf(job) else { return };
        let (Origin::Template { template, proven, .. }, Launcher::Template(failed)) =
            (&shelf.origin, failed)
        else {
            return;
        };
        if Arc::ptr_eq(template, failed) {
            shelf.origin = match proven {
                true => Origin::Unknown,
                false => Origin::Nothing { since: Instant::now() },
            };
        }
    }
}

/// Gives a cell what its program will need, and waits until it stands.
async fn park(mut cell: Cell, plan: &Plan) -> Result<Cell, NotBuilt> {
    // Before it stands, so that its init need not be woken once more.
    cell.furnish(plan).await?;
    cell.park().await
}
