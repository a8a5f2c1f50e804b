//! What a pool holds.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::recipe::Recipe;
use super::{Inner, count};
use crate::backend::native::cell::Cell;
use crate::backend::native::cgroup::Group;
use crate::backend::native::template::Template;
use crate::plan::Plan;
use crate::supervise::{Spent, Told};
use crate::{Error, Job, Result};

/// Who takes back cells that have been used.
pub(super) type Keeper = mpsc::UnboundedSender<Spent>;

/// A cell, and the plan that it was built by.
pub(super) type Built = (Arc<Plan>, Cell);

#[derive(Debug, Default)]
pub(super) struct Stock {
    /// The one that was asked for last comes last.
    pub(super) shelves: Vec<Shelf>,
    /// Groups in which nothing runs any more.
    pub(super) groups: Vec<Group>,
    /// Where cells that have been used go; there when the keeper is.
    pub(super) spent: Option<Keeper>,
    /// The runtime that looks after all of it; there when the keeper is.
    pub(super) home: Option<runtime::Id>,
}

/// The cells for one kind of job.
pub(super) struct Shelf {
    /// A job of that kind, without anything that is a job's own.
    pub(super) shape: Arc<Job>,
    pub(super) origin: Origin,
    pub(super) cells: VecDeque<Parked>,
    /// How to use one for the job that was asked for last, or one like it.
    pub(super) recipe: Option<Arc<Recipe>>,
    /// A job for which there should be one.
    pub(super) unknown: Option<Box<Job>>,
}

/// Without the job that is noted down: its environment is its own.
impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, origin, cells, recipe, unknown: _ } = self;
        let mut shelf = f.debug_struct("Shelf");
        shelf.field("shape", shape).field("origin", origin).field("cells", cells);
        shelf.field("recipe", recipe).finish_non_exhaustive()
    }
}

impl Shelf {
    fn new(shape: Arc<Job>) -> Self {
        let (origin, cells) = (Origin::Unknown, VecDeque::new());
        Self { shape, origin, cells, recipe: None, unknown: None }
    }

    /// Adds what is known of the job.
    fn give(&mut self, parked: Parked, job: &Job) -> Taken {
        let Parked { plan, mut cell, told, primed, .. } = parked;
        let recipe = self.known(&plan, job);
        if !is_same(primed.as_ref(), recipe.as_ref()) {
            cell.forget_primed();
        }
        let told = told.filter(|(of, _)| recipe.as_ref().is_some_and(|one| Arc::ptr_eq(of, one)));
        Taken { plan, cell, recipe, told: told.map(|(_, told)| told) }
    }

    /// How to use a cell of that plan for a job. If nobody knows, the job is noted down to be found out; a
    /// recipe that was just made stays for a while, whoever asks for what else in between.
    pub(super) fn known(&mut self, plan: &Arc<Plan>, job: &Job) -> Option<Arc<Recipe>> {
        const LEAST: Duration = Duration::from_secs(1);
        let recipe = self.recipe.as_ref().filter(|recipe| recipe.is_of(plan, job)).cloned();
        let is_new = |recipe: &Arc<Recipe>| recipe.since.elapsed() < LEAST;
        if recipe.is_none() && !self.recipe.as_ref().is_some_and(is_new) && job.has_recipe() {
            self.unknown = Some(Box::new(job.without_program()));
        }
        recipe
    }

    /// What its newest cells were built by, or the next ones will be.
    fn plan(&self) -> Option<Arc<Plan>> {
        let built = self.cells.back().map(|parked| &parked.plan);
        let next = match &self.origin {
            Origin::Template { plan, .. } => Some(plan),
            Origin::Unknown | Origin::Nothing { .. } => None,
        };
        built.or(next).cloned()
    }

    /// The cell in which a program for such a job has begun, or else one in which none has.
    fn next_for(&mut self, job: &Job) -> Option<Parked> {
        let fits = |parked: &Parked| parked.primed.as_ref().is_none_or(|recipe| recipe.suits(job));
        let index = self.cells.iter().position(fits).unwrap_or(0);
        self.cells.remove(index)
    }

    /// Has a program begin in the first of the cells that come next and have none.
    fn prime_one(&mut self) -> bool {
        let Some(recipe) = &self.recipe else { return false };
        let mut next = self.cells.iter_mut().take(PRIMED);
        let parked = next.find(|one| one.primed.is_none() && recipe.is_for(&one.plan));
        parked.map(|parked| parked.prime(recipe)).is_some()
    }

    /// Works out how to use its cells for the job that was noted down, if there are any, or will be.
    fn learn(&mut self) {
        let Some(plan) = self.plan() else { return };
        let Some(job) = self.unknown.take() else { return };
        // A job that cannot be run says so itself.
        self.recipe = Recipe::new(&plan, &job).ok().map(Arc::new);
        for parked in &mut self.cells {
            let recipe = self.recipe.as_ref().filter(|recipe| recipe.is_for(&parked.plan));
            parked.told = recipe.map(|recipe| (Arc::clone(recipe), recipe.told()));
        }
    }
}

fn is_same(one: Option<&Arc<Recipe>>, other: Option<&Arc<Recipe>>) -> bool {
    one.zip(other).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
}

/// What the cells of a shelf are made of.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// Nobody has looked yet.
    Unknown,
    /// A template, by the plan that it was made by; `proven` if a cell was made in it.
    Template { plan: Arc<Plan>, template: Arc<Template>, since: Instant, proven: bool },
    /// Nothing: a template cannot be made, or could not be used.
    Nothing { since: Instant },
}

/// A cell with the plan that it was built by: later plans of its kind may differ as the host does.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) plan: Arc<Plan>,
    pub(super) cell: Cell,
    since: Instant,
    /// What the report of a job by the recipe of its shelf begins with.
    told: Option<(Arc<Recipe>, Told)>,
    /// By what a program has begun in it, if any has.
    primed: Option<Arc<Recipe>>,
}

impl Parked {
    fn new(plan: Arc<Plan>, cell: Cell, recipe: Option<&Arc<Recipe>>) -> Self {
        let recipe = recipe.filter(|recipe| recipe.is_for(&plan));
        let told = recipe.map(|recipe| (Arc::clone(recipe), recipe.told()));
        Self { plan, cell, since: Instant::now(), told, primed: None }
    }

    fn prime(&mut self, recipe: &Arc<Recipe>) {
        recipe.prime(&mut self.cell);
        self.primed = Some(Arc::clone(recipe));
    }
}

/// What a job is started with.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) plan: Arc<Plan>,
    pub(super) cell: Cell,
    /// How to use it, if that is known.
    pub(super) recipe: Option<Arc<Recipe>>,
    /// What its report begins with, if that is laid out.
    pub(super) told: Option<Told>,
}

/// In how many cells of a shelf programs begin before they are known. Each takes some memory.
const PRIMED: usize = 8;

/// Descriptors that a parked cell takes.
const EACH: u64 = 12;

/// For how many parked cells there are descriptors: a quarter is for what is kept open to save time.
fn room() -> usize {
    let most = descriptors();
    usize::try_from((most - most / 4) / EACH).unwrap_or(usize::MAX)
}

fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

impl Stock {
    pub(super) fn shelf(&mut self, job: &Job) -> Option<&mut Shelf> {
        self.shelves.iter_mut().find(|shelf| shelf.shape.same_cell(job))
    }

    /// The same, for a job that has come.
    fn ask_for(&mut self, job: &Job) -> Option<&mut Shelf> {
        let index = self.shelves.iter().position(|shelf| shelf.shape.same_cell(job))?;
        let shelf = self.shelves.remove(index);
        self.shelves.push(shelf);
        self.shelves.last_mut()
    }
}

impl Inner {
    pub(super) fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process may have the descriptors that parked cells take. It is better told so at
    /// once than by the first of its own files that cannot be opened.
    ///
    /// # Errors
    /// What it takes, and what there is.
    pub(super) fn has_room(&self) -> Result<()> {
        let cells = self.config.parked;
        if cells <= room() {
            return Ok(());
        }
        let most = descriptors();
        let wanted = u64::try_from(cells).unwrap_or(u64::MAX).saturating_mul(EACH);
        let needed = wanted.saturating_add(wanted / 3).saturating_add(1);
        let reason = format!(
            "this process may have {most} descriptors, and needs {needed}: raise RLIMIT_NOFILE \
             (ulimit -n), or keep fewer parked"
        );
        Err(Error::internal(format!("park {cells} cells"), std::io::Error::other(reason)))
    }

    pub(super) fn is_old(&self, since: Instant) -> bool {
        since.elapsed() >= self.config.max_age
    }

    /// The stock, if it is of use to the caller's runtime. What an older one left, which is gone by now, is
    /// of use to nobody.
    pub(super) fn own_stock(&self) -> Option<MutexGuard<'_, Stock>> {
        let mut stock = self.stock();
        let Some(home) = stock.home else { return Some(stock) };
        if stock.spent.as_ref().is_some_and(|keeper| !keeper.is_closed()) {
            return (home == runtime::Handle::current().id()).then_some(stock);
        }
        let left = std::mem::take(&mut *stock);
        // Ended here, where the stock is not locked.
        drop(stock);
        drop(left);
        self.own_stock()
    }

    /// A parked cell for this job, and where it goes after; none to another runtime than the pool's.
    pub(super) fn take(&self, job: &Job) -> Option<(Option<Taken>, Option<Keeper>)> {
        let mut stock = self.own_stock()?;
        let spent = stock.spent.clone();
        let mut useless = Vec::new();
        let few = self.config.parked.div_ceil(2);
        let mut is_short = false;
        let taken = stock.ask_for(job).and_then(|shelf| {
            let taken = self.pick(shelf, job, &mut useless);
            is_short = shelf.cells.len() < few;
            taken
        });
        // Ended here, where the stock is not locked.
        drop(stock);
        drop(useless);
        if is_short {
            // It may be long until a run ends, which the keeper is told of.
            self.work.notify_one();
        }
        Some((taken, spent))
    }

    /// The first cell of a shelf that is of use.
    fn pick(&self, shelf: &mut Shelf, job: &Job, useless: &mut Vec<Parked>) -> Option<Taken> {
        while let Some(parked) = shelf.next_for(job) {
            if !self.is_old(parked.since) && parked.cell.is_alive() {
                return Some(shelf.give(parked, job));
            }
            count(&self.counts.discarded);
            useless.push(parked);
        }
        None
    }

    /// Makes room for cells for jobs like this one.
    pub(super) fn open_shelf(&self, job: &Job) {
        let mut stock = self.stock();
        if stock.shelf(job).is_some() {
            return;
        }
        let shape = Arc::new(job.shape());
        stock.shelves.push(Shelf::new(shape));
        let excess = stock.shelves.len().saturating_sub(self.config.kinds);
        let unwanted: Vec<_> = stock.shelves.drain(..excess).collect();
        // Ended here, where the stock is not locked.
        drop(stock);
        drop(unwanted);
    }

    /// A job for which there are too few cells, among those that are asked for.
    pub(super) fn wanting(&self, which: impl Fn(&Shelf) -> bool) -> Option<Arc<Job>> {
        let most = self.config.parked.min(room());
        let stock = self.stock();
        let short = |shelf: &&Shelf| which(shelf) && shelf.cells.len() < most;
        stock.shelves.iter().rev().find(short).map(|shelf| Arc::clone(&shelf.shape))
    }

    /// A job for which a cell should be built now: nothing runs, or its shelf is less than half full, or, while
    /// those who run have only begun, less than a quarter. Under load every run takes a cell, and so one has to
    /// be built for each, sooner or later; a shelf that was let run empty would have nothing for runs that come
    /// faster than cells can be built beside them.
    pub(super) fn due(&self) -> Option<Arc<Job>> {
        let share = match self.left_alone_until() {
            None => 1,
            Some(moment) if moment <= Instant::now() => 2,
            Some(_) => 4,
        };
        let few = self.config.parked.div_ceil(share);
        self.wanting(|shelf| shelf.cells.len() < few)
    }

    /// Until when nobody builds beside those who run, if anybody does: most have ended by then, which they do
    /// sooner if nobody builds beside them.
    pub(super) fn left_alone_until(&self) -> Option<Instant> {
        const BRIEF: Duration = Duration::from_millis(1);
        let busy = self.running.load(Ordering::Relaxed) > 0;
        let since = || *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner);
        busy.then(|| since() + BRIEF)
    }

    /// Whether a shelf is less than half full.
    pub(super) fn is_short(&self) -> bool {
        let few = self.config.parked.div_ceil(2);
        self.wanting(|shelf| shelf.cells.len() < few).is_some()
    }

    /// Puts a cell on its shelf, unless that is full or gone.
    pub(super) fn park(&self, plan: Arc<Plan>, cell: Cell) {
        let mut stock = self.stock();
        match stock.shelf(&plan.job).filter(|shelf| shelf.cells.len() < self.config.parked) {
            Some(shelf) => {
                let parked = Parked::new(plan, cell, shelf.recipe.as_ref());
                shelf.cells.push_back(parked);
            }
            None => count(&self.counts.discarded),
        }
    }

    /// What cells are built by for what was asked for last.
    pub(super) fn newest_plan(&self) -> Option<Arc<Plan>> {
        self.stock().shelves.last()?.plan()
    }

    /// Keeps a group, or gives it back if there are as many as that.
    pub(super) fn keep_group(&self, group: Group, most: usize) -> Option<Group> {
        let mut stock = self.stock();
        if stock.groups.len() >= most {
            return Some(group);
        }
        stock.groups.push(group);
        None
    }

    /// Notes a job down of which it should be known how to run it.
    pub(super) fn ask(&self, job: &Job) {
        if job.has_recipe()
            && let Some(shelf) = self.stock().shelf(job)
            && !shelf.recipe.as_ref().is_some_and(|recipe| recipe.suits(job))
        {
            shelf.unknown = Some(Box::new(job.without_program()));
        }
    }

    /// Finds out what was noted down.
    pub(super) fn learn(&self) {
        self.stock().shelves.iter_mut().for_each(Shelf::learn);
    }

    /// Has programs begin in the cells that come next, while nobody runs. One at a time, as whoever comes
    /// meanwhile needs the stock.
    pub(super) fn prime(&self) {
        let prime_one = || self.stock().shelves.iter_mut().rev().any(Shelf::prime_one);
        while self.running.load(Ordering::Relaxed) == 0 && prime_one() {}
    }

    /// Throws away what is too old.
    pub(super) fn tidy(&self) {
        let mut old = Vec::new();
        for shelf in &mut self.stock().shelves {
            if shelf.recipe.as_ref().is_some_and(|recipe| self.is_old(recipe.since)) {
                shelf.recipe = None;
            }
            while shelf.cells.front().is_some_and(|parked| self.is_old(parked.since)) {
                old.extend(shelf.cells.pop_front());
                count(&self.counts.discarded);
            }
        }
        // Ended here, where the stock is not locked.
        drop(old);
    }

    /// When the next cell is too old.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let stock = self.stock();
        let oldest =
            stock.shelves.iter().filter_map(|shelf| shelf.cells.front()).map(|parked| parked.since);
        oldest.min()?.checked_add(self.config.max_age)
    }
}
