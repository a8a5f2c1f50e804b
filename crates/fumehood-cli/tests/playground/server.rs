//! A service of the tests' own.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{Answer, ask};

/// A service that runs; it is asked to end, and must, when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    dir: tempfile::TempDir,
}

static ALL: OnceLock<Server> = OnceLock::new();

/// Enough places for all tests that run at a time.
const SHARED: &str = "log = \"none\"\n[line]\nslots = 32\nuploads = 64\n";

impl Server {
    /// The service of all tests that want nothing special. It lives as long as they do.
    pub(crate) fn shared() -> &'static Self {
        ALL.get_or_init(|| Self::start(SHARED))
    }

    /// One with these settings.
    pub(crate) fn start(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("serve.toml");
        fs::write(&config, settings).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fumehood"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(config);
        let log = dir.path().join("log");
        let out = fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let child = command.spawn().unwrap();
        let mut address = None;
        eventually("the service listens", || {
            address = listens(&fs::read_to_string(&log).unwrap());
            address.is_some()
        });
        let server = Self { child, address: address.unwrap(), dir };
        eventually("the service is ready", || server.get("/readyz").status == 200);
        server
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        ask(self.address, "GET", path, &[], b"")
    }

    /// Has a program run.
    pub(crate) fn run(&self, program: &[u8], arguments: &[&str]) -> Answer {
        let headers: Vec<_> = arguments.iter().map(|text| ("X-Argument", *text)).collect();
        ask(self.address, "POST", "/run", &headers, program)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/run", self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A sample of `/statusz`, by its name and labels.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let status = self.get("/statusz");
        let line = status.text().lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|rest| rest.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no figure {name} in {}", status.text()))
    }

    /// Sends a signal to every process below the service that is still there when its turn comes, and
    /// to those that they have started meanwhile.
    pub(crate) fn signal_children(&self, signal: &str) {
        let mut known = BTreeSet::new();
        loop {
            let all = below(&self.pid().to_string());
            let new: Vec<_> = all.into_iter().filter(|pid| known.insert(pid.clone())).collect();
            if new.is_empty() {
                return;
            }
            for pid in new {
                let is_sent = sent(&pid, signal);
                assert!(is_sent || !Path::new("/proc").join(&pid).exists(), "kill -{signal} {pid}");
            }
        }
    }

    /// Most memory that it ever had, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() >> 10
    }

    /// Ends it in good order.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        kill(&self.pid().to_string(), "TERM");
        let status = self.child.wait().unwrap();
        if !thread::panicking() {
            assert!(status.success(), "the service ended with {status}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.end();
        }
    }
}

/// The address that a service says that it listens on.
fn listens(log: &str) -> Option<SocketAddr> {
    let (said, _) = log.split_once("listening on ")?.1.split_once('\n')?;
    said.parse().ok()
}

/// Ends the service of all tests, which nobody drops, if one of them wanted it.
pub(crate) fn stop_shared() {
    if let Some(server) = ALL.get() {
        kill(&server.pid().to_string(), "TERM");
        let _ = fs::remove_dir_all(server.dir.path());
    }
}

pub(crate) fn kill(pid: &str, signal: &str) {
    assert!(sent(pid, signal), "kill -{signal} {pid}");
}

fn sent(pid: &str, signal: &str) -> bool {
    Command::new("kill").args([&format!("-{signal}"), pid]).status().unwrap().success()
}

/// What comes of something that is tried again, ten times at most, as long as it is not as it can be.
pub(crate) fn tried<T>(mut attempt: impl FnMut() -> T, is_right: impl Fn(&T) -> bool) -> T {
    let mut found = attempt();
    for _ in 1..10 {
        if is_right(&found) {
            break;
        }
        found = attempt();
    }
    found
}

/// Waits for something that must come, however slow the machine is.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// All descendants of a process.
fn below(pid: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<String> = lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    children.into_iter().flat_map(|child| [below(&child), vec![child]].concat()).collect()
}
