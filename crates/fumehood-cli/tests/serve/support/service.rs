//! A service of our own for every test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Answer, Client, Request};

/// The binary under test: `FUMEHOOD_BIN` where the suite was moved away from its build.
fn binary() -> PathBuf {
    std::env::var_os("FUMEHOOD_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_fumehood")), PathBuf::from)
}

/// How many times slower than usual this machine is: `FUMEHOOD_SLOWNESS`.
pub(crate) fn slowness() -> u32 {
    let named = std::env::var("FUMEHOOD_SLOWNESS").ok();
    named.map_or(1, |text| text.parse().expect("FUMEHOOD_SLOWNESS is a whole number"))
}

/// A word that no other process on the machine has in its arguments.
pub(crate) fn marker() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("serve-{}-{count}", std::process::id())
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60) * slowness();
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process has this word among its arguments.
pub(crate) fn has_process(word: &str) -> bool {
    find_process(word).is_some()
}

/// A process that has this word among its arguments.
pub(crate) fn find_process(word: &str) -> Option<u32> {
    let entries = fs::read_dir("/proc").expect("the host has /proc").flatten();
    entries.into_iter().find_map(|entry| {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_it = arguments.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes());
        entry.file_name().to_str().filter(|_| is_it)?.parse().ok()
    })
}

/// A service. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    child: Child,
    /// `ADDRESS:PORT` or `unix:PATH`, in the order of the settings.
    pub(crate) addresses: Vec<String>,
    said: Arc<Mutex<String>>,
    dir: TempDir,
}

impl Service {
    /// A service with these settings, on a port that is free, when it is ready.
    #[track_caller]
    pub(crate) fn start(settings: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a place for files"), settings)
    }

    /// The same with its files in a directory that is there already. `DIR` in the settings stands
    /// for that directory.
    #[track_caller]
    pub(crate) fn start_in(dir: TempDir, settings: &str) -> Self {
        let mut service = Self::spawn(dir, settings);
        wait_until("the service listens", || {
            service.addresses = service.listening();
            let addresses = settings.matches("unix:").count().max(1);
            assert!(service.child.try_wait().is_ok_and(|ended| ended.is_none()), "{service:?}");
            service.addresses.len() >= addresses
        });
        wait_until("the service is ready", || service.ask(&Request::get("/readyz")).status == 200);
        service
    }

    fn spawn(dir: TempDir, settings: &str) -> Self {
        let shown = dir.path().display().to_string();
        let settings = settings.replace("DIR", &shown);
        let listen = if settings.contains("listen") { "" } else { "listen = [\"127.0.0.1:0\"]\n" };
        let config = dir.path().join("serve.toml");
        fs::write(&config, format!("{listen}{settings}")).expect("the directory is ours");
        let mut command = Command::new(binary());
        command.arg("serve").arg("--config").arg(config);
        for name in ["FUMEHOOD_CONFIG", "FUMEHOOD_LISTEN", "FUMEHOOD_TOKENS", "FUMEHOOD_SLOTS"] {
            command.env_remove(name);
        }
        let piped = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the binary is there");
        let stderr = child.stderr.take().expect("it is piped");
        let said = Arc::new(Mutex::new(String::new()));
        let keeps = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *keeps.lock().expect("nobody panics with it") += &format!("{line}\n");
            }
        });
        Self { child, addresses: Vec::new(), said, dir }
    }

    /// A service that does not start: what it says and its exit status.
    #[track_caller]
    pub(crate) fn refused(settings: &str) -> (ExitStatus, String) {
        let mut service = Self::spawn(tempfile::tempdir().expect("a place for files"), settings);
        let status = service.exit_status();
        // Its end of the pipe is closed by now; the reader may still be at work.
        wait_until("it says why", || !service.log().is_empty());
        (status, service.log())
    }

    fn listening(&self) -> Vec<String> {
        let said = self.log();
        let lines = said.lines().filter_map(|line| line.split_once("listening on "));
        lines.map(|(_, address)| address.to_owned()).collect()
    }

    /// What it has written to its standard error.
    pub(crate) fn log(&self) -> String {
        self.said.lock().expect("nobody panics with it").clone()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addresses.first().expect("it listens"))
    }

    /// Sends a request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, request: &Request) -> Answer {
        self.client().ask(&request.clone().header("connection", "close"))
    }

    /// Runs a program, and returns the report.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Value {
        self.ask(&Request::run(&json!({ "args": args }))).is(200).json()
    }

    /// A figure of `/metrics`, by its name and labels.
    #[track_caller]
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let text = self.ask(&Request::get("/metrics")).is(200).text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a whole number"))
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it is ours");
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn exit_status(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the service ends", || {
            status = self.child.try_wait().expect("it is ours");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// Kills it as a crash would, and returns its directory.
    #[track_caller]
    pub(crate) fn crash(mut self) -> TempDir {
        self.signal(Signal::KILL);
        self.exit_status();
        let empty = tempfile::tempdir().expect("a place for files");
        std::mem::replace(&mut self.dir, empty)
    }

    /// The most memory that it ever had, in KiB, without its programs.
    #[track_caller]
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
        number.expect("every process has a peak")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
