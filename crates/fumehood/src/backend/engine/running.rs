//! A program in a container.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Engine;
use super::failure::failed;
use super::http::{Client, Failure};
use super::inside::PASSED_ON;
use super::order::{self, Failed, KILL_ALL, Key, Step};
use super::outside;
use super::preset::{Container, USER};
use crate::backend::{Ending, Foreign, Soon};
use crate::plan::Plan;
use crate::report::Counted;
use crate::{BackendName, Error, ErrorKind, Result};

const KILL: i32 = 9;
const TERM: i32 = 15;
const XCPU: i32 = 24;

/// A container that is removed when this is let go, whatever became of it.
#[derive(Debug)]
pub(super) struct Kept {
    client: Client,
    id: String,
    gone: bool,
}

/// How long an engine may take to remove a container before it is left to `gc`; and to end one that it was
/// told to kill.
const LONGEST: Duration = Duration::from_secs(30);

impl Kept {
    /// Has a container made. An engine that was asked for one makes it, whether or not somebody still waits:
    /// so whoever is not waited for any more removes it again.
    ///
    /// # Errors
    /// What the engine said.
    pub(super) async fn create(
        client: &Client,
        name: String,
        container: Container,
    ) -> std::result::Result<Self, Failure> {
        let client = client.clone();
        let made = tokio::spawn(async move {
            let id = client.create(&name, &container).await?;
            Ok(Self { client, id, gone: false })
        });
        made.await.unwrap_or_else(|error| Err(Failure::Broken(io::Error::other(error))))
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    async fn remove(mut self) {
        // What could not be removed is left to `gc`: the run itself has ended well.
        let _ = remove(&self.client, &self.id).await;
        self.gone = true;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        let (client, id) = (self.client.clone(), self.id.clone());
        let removal = Removal(Some(std::thread::spawn(move || {
            let _ = crate::blocking::block_on(end(&client, &id));
        })));
        // Whoever else runs on this thread does not wait for an engine; the end of the runtime does.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(|| drop(removal))),
            Err(_) => drop(removal),
        }
    }
}

/// The thread that removes a container, which is waited for wherever this is dropped: it may be the
/// last thing that the process does, and the program still runs.
#[derive(Debug)]
struct Removal(Option<std::thread::JoinHandle<()>>);

impl Drop for Removal {
    fn drop(&mut self) {
        let _ = self.0.take().map(std::thread::JoinHandle::join);
    }
}

/// Ends a container that may run, and removes it.
///
/// # Errors
/// As for [`remove`].
pub(super) async fn end(client: &Client, id: &str) -> std::result::Result<(), Failure> {
    outside::kill(client, id).await;
    remove(client, id).await
}

/// Kills and removes a container, and waits until it is gone. An engine that is gone itself keeps it
/// until `gc`.
///
/// # Errors
/// What the engine said last, when it had not managed for long.
async fn remove(client: &Client, id: &str) -> std::result::Result<(), Failure> {
    tokio::select! {
        removed = asked_to_remove(client, id) => removed,
        never = outside::keep_killing(client, id) => match never {},
    }
}

async fn asked_to_remove(client: &Client, id: &str) -> std::result::Result<(), Failure> {
    let deadline = Instant::now() + LONGEST;
    loop {
        let asked = timeout_at(deadline, client.remove(id)).await;
        match asked.unwrap_or_else(|late| Err(Failure::Broken(late.into()))) {
            Err(failure) if !is_over(&failure) && Instant::now() < deadline => {
                // It is being removed already, as every container of ours is when its program has
                // ended.
                sleep(Duration::from_millis(5)).await;
            }
            done => return done,
        }
    }
}

/// Whether asking again is of no use.
const fn is_over(failure: &Failure) -> bool {
    matches!(failure, Failure::Connect(_))
}

/// What came over the connection to its end.
#[derive(Debug)]
enum Pump {
    Runs(JoinHandle<io::Result<Option<File>>>),
    Ended(io::Result<Option<File>>),
}

/// A program in a container.
#[derive(Debug)]
pub(super) struct Running {
    engine: BackendName,
    client: Client,
    kept: Option<Kept>,
    pump: Pump,
    feed: JoinHandle<()>,
    /// Whether the last words have begun to come.
    sealed: Arc<AtomicBool>,
    /// What they are tagged by.
    key: Key,
    /// Whether we asked the program to end.
    asked: bool,
    /// When an engine that was told to kill the container, and does not, is waited for no more.
    give_up: Option<Instant>,
    /// What was collected, behind the init's last word.
    collected: Option<File>,
    program: String,
    cwd: String,
    path: String,
}

impl Running {
    pub(super) fn new(
        engine: &Engine,
        plan: &Plan,
        kept: Kept,
        pump: JoinHandle<io::Result<Option<File>>>,
        feed: JoinHandle<()>,
        (sealed, key): (Arc<AtomicBool>, Key),
    ) -> Self {
        let path = plan.env.get("PATH").unwrap_or_default().to_string_lossy().into_owned();
        Self {
            engine: engine.name,
            client: engine.client.clone(),
            kept: Some(kept),
            pump: Pump::Runs(pump),
            feed,
            sealed,
            key,
            asked: false,
            give_up: None,
            collected: None,
            program: plan.job.args.first().cloned().unwrap_or_default(),
            cwd: plan.job.cwd.display().to_string(),
            path,
        }
    }

    /// Waits for the end of the connection. What it brought is kept before anything else is waited
    /// for, because this may be called again.
    async fn connection(&mut self) -> io::Result<Option<File>> {
        if let Pump::Runs(pump) = &mut self.pump {
            let ended = pump.await.unwrap_or_else(|gone| Err(io::Error::other(gone)));
            self.pump = Pump::Ended(ended);
        }
        match &self.pump {
            Pump::Ended(Ok(Some(file))) => file.try_clone().map(Some),
            Pump::Ended(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
            Pump::Ended(Ok(None)) | Pump::Runs(_) => Ok(None),
        }
    }

    async fn end(&mut self) -> Result<Option<Ending>> {
        let give_up = self.give_up;
        let behind = tokio::select! {
            biased;
            behind = self.connection() => behind,
            () = until(give_up) => return Err(stands_still()),
        };
        let behind = match behind {
            Ok(behind) => behind,
            Err(source) => {
                self.is_engine_there().await?;
                return Err(Error::internal("follow the container", source));
            }
        };
        let Some(mut behind) = behind else { return self.without_a_word().await };
        let read = behind.seek(SeekFrom::Start(0));
        let read = read.and_then(|_| order::get_tagged(&mut behind, &self.key));
        let ending: order::Ending = match read {
            Ok(ending) => ending,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(forged()),
            Err(_) => return self.without_a_word().await,
        };
        self.collected = Some(behind);
        if ending.asked_to_end && !self.asked {
            self.is_engine_there().await?;
        }
        self.judge(ending)
    }

    /// The container was told to end, and not by us: by its own program, by somebody else, which is
    /// between the two; or by an engine that goes away, which listens no more by then.
    async fn is_engine_there(&self) -> Result<()> {
        match self.client.ping("api-version").await {
            Err(Failure::Connect(source)) => Err(went_away(&source)),
            _ => Ok(()),
        }
    }

    fn judge(&self, ending: order::Ending) -> Result<Option<Ending>> {
        if let Some(failed) = &ending.failed {
            return Err(self.not_started(failed));
        }
        let order::Ending { status, cpu_out, out_of_memory, pids_denied, usage, .. } = ending;
        Ok(Some(Ending {
            status: if cpu_out { XCPU } else { status },
            user_us: usage.user_us,
            system_us: usage.system_us,
            peak_memory: usage.peak_memory,
            counted: Counted { out_of_memory, pids_denied },
            denial: None,
        }))
    }

    /// The init is gone and has said nothing: it was killed, or the engine is gone.
    async fn without_a_word(&self) -> Result<Option<Ending>> {
        let Some(kept) = &self.kept else { return Ok(None) };
        match self.client.inspect(kept.id()).await {
            Ok(found) if found.state.oom_killed => {
                let counted = Counted { out_of_memory: true, ..Counted::default() };
                Ok(Some(Ending { counted, ..Ending::killed() }))
            }
            Ok(_) => Ok(None),
            Err(failure) if failure.is_status(404) => Ok(None),
            Err(Failure::Connect(source)) => Err(went_away(&source)),
            Err(failure) => Err(failed(self.engine, "follow the container", failure)),
        }
    }

    fn not_started(&self, failed: &Failed) -> Error {
        let program = self.program.clone();
        let source = io::Error::from_raw_os_error(failed.errno);
        match failed.step {
            Step::Chdir => {
                let problem = format!("cannot be gone to inside: {source}");
                Error::invalid("cwd", &self.cwd, problem)
            }
            Step::NotFound if program.contains('/') => {
                let detail = "no such file in the sandbox".to_owned();
                ErrorKind::ProgramNotFound { program, detail }.into()
            }
            Step::NotFound => {
                let detail = format!("not in the sandbox's PATH ({})", self.path);
                ErrorKind::ProgramNotFound { program, detail }.into()
            }
            Step::Interpreter => {
                let detail =
                    "its interpreter (the #! line or the ELF loader) is not in the sandbox";
                ErrorKind::ProgramNotFound { program, detail: detail.to_owned() }.into()
            }
            Step::Execute => {
                let detail = match source.kind() {
                    io::ErrorKind::PermissionDenied => {
                        format!("permission denied for user {USER}, or not a file")
                    }
                    _ => source.to_string(),
                };
                ErrorKind::ProgramNotExecutable { program, detail }.into()
            }
        }
    }

    /// Tells the init, without waiting: an engine takes its time, and streams must be read meanwhile.
    fn tell(&self, signal: i32) {
        let Some(kept) = &self.kept else { return };
        let (client, id) = (self.client.clone(), kept.id().to_owned());
        tokio::spawn(async move {
            // One that has ended meanwhile needs no signal.
            let _ = client.signal(&id, signal).await;
        });
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// An engine that is stopped, or too busy: the container ends by itself.
fn stands_still() -> Error {
    let said = "the engine was told to kill the container, and did not";
    let source = io::Error::new(io::ErrorKind::TimedOut, said);
    Error::internal("follow the container", source)
}

/// The init has died with its key, so how it truly ended is not to be known.
fn forged() -> Error {
    let said =
        "another program has the container's output, and wrote how it ended in the init's place";
    let source = io::Error::new(io::ErrorKind::InvalidData, said);
    Error::internal("follow the container", source)
}

pub(super) fn went_away(source: &io::Error) -> Error {
    let said = format!("the engine went away while the program ran: {source}");
    let source = io::Error::new(io::ErrorKind::ConnectionAborted, said);
    Error::internal("follow the container", source)
}

impl Foreign for Running {
    fn pid(&self) -> i32 {
        // Only engines on this host have one that means anything here, and asking costs a request.
        0
    }

    fn ended(&mut self) -> Soon<'_, Result<Option<Ending>>> {
        Box::pin(self.end())
    }

    fn signal(&mut self, signal: i32, _: bool) -> Soon<'_, ()> {
        match signal {
            KILL => self.tell(KILL_ALL),
            TERM => {
                self.asked = true;
                self.tell(TERM);
            }
            other if PASSED_ON.contains(&other) => self.tell(other),
            _ => {}
        }
        Box::pin(std::future::ready(()))
    }

    fn kill(&mut self) {
        // What is collected may take longer than a kill should; then there is nothing left to kill.
        if !self.sealed.load(Ordering::Relaxed) {
            self.give_up.get_or_insert_with(|| Instant::now() + LONGEST);
            let Some(kept) = &self.kept else { return };
            let (client, id) = (self.client.clone(), kept.id().to_owned());
            tokio::spawn(async move {
                outside::kill(&client, &id).await;
                let _ = client.signal(&id, KILL).await;
            });
        }
    }

    fn collected(&mut self) -> Option<File> {
        self.collected.take()
    }

    fn remove(mut self: Box<Self>) -> Soon<'static, ()> {
        let kept = self.kept.take();
        Box::pin(async move {
            if let Some(kept) = kept {
                kept.remove().await;
            }
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.feed.abort();
        if let Pump::Runs(pump) = &self.pump {
            pump.abort();
        }
    }
}

#[cfg(test)]
mod tests;
