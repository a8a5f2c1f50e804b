//! What all requests share.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fumehood::{Pool, PoolConfig, Result, Sandbox, Support, format_duration};
use tokio::sync::{Notify, OnceCell, watch};
use tokio::time::Instant;

use super::access::{Access, Caller};
use super::config::Config;
use super::files;
use super::line::{Full, Late, Line, Place, Ticket};
use super::log::Log;
use super::metrics::Metrics;
use super::page::Languages;
use super::playground;
use super::problem::Problem;
use super::v1::{Jobs, Replies, Streams};
use crate::output;

/// What handlers get as their state.
pub(crate) type Shared = Arc<Service>;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Service {
    settings: RwLock<Arc<Settings>>,
    pub(crate) pool: Pool,
    /// Who waits for a place to run.
    pub(crate) line: Line,
    /// Who waits for a place to send a large body.
    pub(crate) uploads: Line,
    pub(crate) jobs: Jobs,
    /// Runs that are told of as they happen.
    pub(crate) streams: Streams,
    /// Answers that are given again.
    pub(crate) replies: Replies,
    pub(crate) metrics: Metrics,
    pub(crate) log: Log,
    pub(crate) playground: playground::State,
    /// How far the end of the service has come.
    stage: watch::Sender<Stage>,
    /// Whether the last cell that was tried stood.
    healthy: watch::Sender<bool>,
    suspicion: Notify,
    /// Whether the kernel runs us before programs that keep all processors busy.
    pub(super) is_prompt: bool,
    pub(crate) languages: Languages,
}

/// What can change while the service runs.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) access: Access,
    /// Into how many parts the processors are divided among programs.
    pub(crate) parts: usize,
    /// What the host can hold, once somebody asked. It goes with the settings, so that what was being
    /// tried when they were read anew does not outlive them.
    support: OnceCell<Support>,
}

impl Settings {
    /// Puts those in force that are the library's to keep.
    fn new(mut config: Config) -> Result<Self> {
        spare_files(&mut config);
        let access = Access::load(&config)?;
        // Where processors cannot be told, programs share all, as they do everywhere else.
        let parts = fumehood::run_apart(config.line.parts()).unwrap_or(1);
        Ok(Self { config, access, parts, support: OnceCell::new() })
    }
}

/// Lowers the number of programs to what the limit of open files is enough for.
fn spare_files(config: &mut Config) {
    let slots = &mut config.line.slots;
    let wanted = std::mem::replace(slots, files::most_slots(*slots));
    if *slots < wanted {
        let fix = "raise it (ulimit -Hn, LimitNOFILE=)";
        output::say(&format!(
            "line.slots: {wanted}: the limit of open files is enough for {slots}; {fix}"
        ));
    }
}

/// How far the end of the service has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    /// Not ready any more; what comes is still answered.
    Lingering,
    /// Nothing new is taken; what runs may end.
    Draining,
    /// What still runs is cancelled.
    Cancelling,
}

impl Service {
    pub(crate) fn new(config: Config, is_prompt: bool) -> Result<Self> {
        let settings = Settings::new(config)?;
        let config = &settings.config;
        let pool = &config.pool;
        let pool =
            PoolConfig::default().parked(pool.parked).kinds(pool.kinds).max_age(pool.max_age.0);
        Ok(Self {
            pool: Pool::new(Sandbox::new(), pool),
            line: Line::new(config.line.slots, config.line.waiting),
            uploads: Line::new(config.line.uploads, config.line.waiting),
            jobs: Jobs::default(),
            streams: Streams::default(),
            replies: Replies::default(),
            metrics: Metrics::default(),
            log: Log::open(&config.log)?,
            playground: playground::State::default(),
            stage: watch::Sender::new(Stage::Serving),
            healthy: watch::Sender::new(false),
            suspicion: Notify::new(),
            is_prompt,
            languages: Languages::default(),
            settings: RwLock::new(Arc::new(settings)),
        })
    }

    /// The settings as they are now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other settings in force, for requests that come from now on. What is listened on stays.
    ///
    /// # Errors
    /// They are wrong, or would let everybody in where strangers are.
    pub(crate) fn replace(&self, config: Config) -> Result<()> {
        let config = config.bound_to(self.settings().config.listen.clone())?;
        let settings = Arc::new(Settings::new(config)?);
        let line = &settings.config.line;
        self.line.resize(line.slots, line.waiting);
        self.uploads.resize(line.uploads, line.waiting);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
        self.log.reopen();
        self.languages.forget();
        Ok(())
    }

    /// How far the end of the service has come.
    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    pub(super) fn advance(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Waits until the end of the service has come that far.
    pub(crate) async fn reached(&self, stage: Stage) {
        // The sender lives as long as we do.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    /// Notes whether a cell stood when it was tried.
    pub(crate) fn note_health(&self, healthy: bool) {
        self.healthy.send_if_modified(|now| std::mem::replace(now, healthy) != healthy);
    }

    /// Whether the last cell that was tried stood.
    pub(crate) fn is_healthy(&self) -> bool {
        *self.healthy.borrow()
    }

    /// A run failed, and it was not the caller's fault: whether cells still stand is to be tried. A
    /// failure alone says little, or strangers could make the service look ill.
    pub(crate) fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Waits until there is a reason to try a cell.
    pub(super) async fn suspected(&self) {
        self.suspicion.notified().await;
    }

    /// Whether the service takes work, and would be able to do it. Costs no cell.
    pub(crate) fn is_ready(&self) -> bool {
        self.stage() == Stage::Serving && self.is_healthy()
    }

    /// What this host can hold: tried once, and again after the settings were read anew.
    ///
    /// # Errors
    /// As for [`Sandbox::support`].
    pub(crate) async fn support(&self) -> Result<Support> {
        let settings = self.settings();
        let tried = settings.support.get_or_try_init(async || Sandbox::new().support().await);
        tried.await.cloned()
    }

    /// Waits until no program runs.
    pub(crate) async fn nothing_runs(&self) {
        while self.line.lengths() != (0, 0) || self.jobs.is_busy() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A place to run a program, when it is the caller's turn. To be kept for as long as the
    /// program runs.
    ///
    /// # Errors
    /// 429 if too many wait, 503 if the turn does not come in time or the service stops.
    pub(crate) async fn place(&self, caller: &Caller) -> Result<Place, Problem> {
        let patience = self.settings().config.line.wait_time.0;
        self.place_in(&self.line, caller, patience).await
    }

    /// A place for a large body, when it is the caller's turn.
    ///
    /// # Errors
    /// As for [`Service::place`].
    pub(crate) async fn upload_place(&self, caller: &Caller) -> Result<Place, Problem> {
        let patience = self.settings().config.line.wait_time.0;
        self.place_in(&self.uploads, caller, patience).await
    }

    /// As [`Service::place`], in the line and with the patience that are given.
    pub(crate) async fn place_in(
        &self,
        line: &Line,
        caller: &Caller,
        patience: Duration,
    ) -> Result<Place, Problem> {
        let ticket = self.ticket(line, caller).await?;
        self.turn(ticket, patience).await
    }

    /// A place in line.
    ///
    /// # Errors
    /// 429 if too many wait.
    pub(crate) async fn ticket(&self, line: &Line, caller: &Caller) -> Result<Ticket, Problem> {
        match line.join(&caller.claim()) {
            Ok(ticket) => Ok(ticket),
            Err(Full) => Err(self.refuse().await),
        }
    }

    /// Waits for the turn of a ticket.
    ///
    /// # Errors
    /// 503 if it does not come in time or the service stops.
    pub(crate) async fn turn(&self, ticket: Ticket, patience: Duration) -> Result<Place, Problem> {
        let began = Instant::now();
        let called = tokio::select! {
            called = ticket.turn(patience) => called,
            () = self.reached(Stage::Cancelling) => return Err(Problem::stopping()),
        };
        self.metrics.waited(began.elapsed());
        called.map_err(|Late| {
            self.metrics.refused("late");
            let detail = format!("no place became free within {}", format_duration(patience));
            Problem::no_place_in_time(detail, soon())
        })
    }

    /// A refusal is held back: to impatient clients it would be an invitation to ask again at once,
    /// and refusing takes processor time from programs.
    async fn refuse(&self) -> Problem {
        self.metrics.refused("full");
        let hold = Duration::from_millis(50 + u64::from(random::<1>()[0]) / 5);
        tokio::time::sleep(hold).await;
        Problem::queue_full("as many requests wait as may", soon())
    }
}

/// When to come again: not all at the same time.
fn soon() -> Duration {
    Duration::from_secs(1 + u64::from(random::<1>()[0]) % 3)
}

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without flags and for so few bytes it neither fails nor gives fewer (`getrandom(2)`).
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes
}

/// A name that nobody can guess, with what it names in front.
pub(crate) fn fresh_id(kind: &str) -> String {
    let digits = random::<16>().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{kind}_{digits}")
}

/// Does something that takes long if there are so many bytes of it, without keeping others from being
/// served meanwhile.
pub(crate) fn heavy<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    const MANY: usize = 1 << 20;
    if bytes < MANY { work() } else { tokio::task::block_in_place(work) }
}

/// How many processors we may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
