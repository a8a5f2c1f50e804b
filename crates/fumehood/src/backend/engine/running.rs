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
use super::order::{self, Failed, KILL_ALL, Step};
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
            let _ = crate::blocking::block_on(remove(&client, &id));
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

/// Kills and removes a container, and waits until it is gone. An engine that is gone itself keeps it
/// until `gc`.
///
/// # Errors
/// What the engine said last, when it had not managed for long.
pub(super) async fn remove(client: &Client, id: &str) -> std::result::Result<(), Failure> {
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
    Ended(Option<File>),
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
        sealed: Arc<AtomicBool>,
    ) -> Self {
        let path = plan.env.get("PATH").unwrap_or_default().to_string_lossy().into_owned();
        Self {
            engine: engine.name,
            client: engine.client.clone(),
            kept: Some(kept),
            pump: Pump::Runs(pump),
            feed,
            sealed,
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
    async fn connection(&mut self) -> Option<File> {
        if let Pump::Runs(pump) = &mut self.pump {
            let behind = pump.await.ok().and_then(io::Result::ok).flatten();
            self.pump = Pump::Ended(behind);
        }
        match &mut self.pump {
            Pump::Ended(behind) => behind.as_ref().and_then(|file| file.try_clone().ok()),
            Pump::Runs(_) => None,
        }
    }

    async fn end(&mut self) -> Result<Option<Ending>> {
        let give_up = self.give_up;
        let behind = tokio::select! {
            biased;
            behind = self.connection() => behind,
            () = until(give_up) => return Err(stands_still()),
        };
        let Some(mut behind) = behind else { return self.without_a_word().await };
        let read = behind.seek(SeekFrom::Start(0));
        let read: io::Result<order::Ending> = read.and_then(|_| order::get(&mut behind));
        let Ok(ending) = read else { return self.without_a_word().await };
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
            self.tell(KILL);
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
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::OnceLock;
    use std::sync::mpsc::Receiver;

    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;

    /// Reads a request and says what it asks for.
    fn request(stream: &mut UnixStream) -> String {
        let mut bytes = [0; 64 << 10];
        let count = stream.read(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// An engine that answers the first request when it is told to, and the second at once.
    fn engine(listener: &UnixListener, told: &UnboundedSender<String>, go: &std::sync::Barrier) {
        let (mut stream, _) = listener.accept().unwrap();
        told.send(request(&mut stream)).unwrap();
        go.wait();
        let answer = "HTTP/1.1 201 Created\r\nContent-Length: 10\r\nConnection: close\r\n\r\n";
        write!(stream, "{answer}{{\"Id\":\"x\"}}").unwrap();
        drop(stream);
        let (mut stream, _) = listener.accept().unwrap();
        let asked = request(&mut stream);
        write!(stream, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
        told.send(asked).unwrap();
    }

    /// Waits for a request to remove a container, and until whoever asked does something else or never
    /// will. Says whether they did, before it answers.
    fn slow_engine(listener: &UnixListener, free: &Receiver<()>, said: &OnceLock<bool>) {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(request(&mut stream).starts_with("DELETE "));
        let is_free = free.recv_timeout(Duration::from_secs(10)).is_ok();
        std::thread::sleep(Duration::from_millis(50));
        said.set(is_free).unwrap();
        write!(stream, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
    }

    #[test]
    fn a_removal_keeps_nobody_waiting_but_the_end_of_the_runtime() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let (tell, free) = std::sync::mpsc::channel();
        let said = &OnceLock::new();
        std::thread::scope(|scope| {
            scope.spawn(move || slow_engine(&listener, &free, said));
            let client = Client::new(dir.path().join("s"));
            let kept = Kept { client, id: "x".to_owned(), gone: false };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async move {
                drop(kept);
                tell.send(()).unwrap();
            });
            drop(runtime);
            assert_eq!(said.get(), Some(&true), "was it waited for, and where?");
        });
    }

    #[tokio::test]
    async fn an_engine_that_does_not_kill_is_given_up() {
        let mut running = Running {
            engine: BackendName::Docker,
            client: Client::new("/nowhere"),
            kept: None,
            pump: Pump::Runs(tokio::spawn(std::future::pending())),
            feed: tokio::spawn(async {}),
            sealed: Arc::default(),
            asked: false,
            give_up: None,
            collected: None,
            program: String::new(),
            cwd: String::new(),
            path: String::new(),
        };
        running.kill();
        let at = running.give_up.as_mut().expect("it has begun to count");
        *at = Instant::now();
        let waited = tokio::time::timeout(LONGEST, running.ended()).await;
        waited.expect("it is not waited for").unwrap_err();
    }

    #[tokio::test]
    async fn a_container_that_nobody_waits_for_any_more_is_removed_when_it_is_made() {
        let dir = std::env::temp_dir().join(format!("fumehood-create-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let listener = UnixListener::bind(dir.join("s")).unwrap();
        let (told, mut hears) = unbounded_channel();
        let go = Arc::new(std::sync::Barrier::new(2));
        let theirs = Arc::clone(&go);
        let engine = std::thread::spawn(move || engine(&listener, &told, &theirs));
        let client = Client::new(dir.join("s"));
        let asked = tokio::select! {
            _ = Kept::create(&client, "name".to_owned(), super::super::tests::container()) => {
                panic!("nobody has answered")
            }
            asked = hears.recv() => asked.unwrap(),
        };
        assert!(asked.starts_with("POST /v1.40/containers/create?name=name"), "{asked}");
        go.wait();
        let removed = tokio::time::timeout(LONGEST, hears.recv()).await.unwrap().unwrap();
        assert!(removed.starts_with("DELETE /v1.40/containers/x?"), "{removed}");
        engine.join().unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }
}
