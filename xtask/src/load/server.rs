//! The service under load, and what there is of it.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::http::{Request, once};

/// A service that runs.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
}

/// What there is of a service: with nothing to do, always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traces {
    /// Processes below the service: its zygote, its janitor, parked cells.
    pub(super) processes: usize,
    /// Without those of control groups: the pool keeps up to 64 of these to use them again.
    pub(super) descriptors: usize,
    /// Mounts of ours that the host sees.
    pub(super) mounts: usize,
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, descriptors, mounts } = self;
        write!(f, "{processes} processes, {descriptors} descriptors, {mounts} mounts")
    }
}

impl Server {
    /// Starts a service with these settings, and waits until it is ready.
    pub(super) fn start(binary: &Path, dir: &Path, settings: &str) -> Result<Self, String> {
        let failed = |error: io::Error| format!("start the service: {error}");
        let address = free_port().map_err(failed)?;
        let (config, log) = (dir.join("serve.toml"), dir.join("serve.log"));
        fs::write(&config, settings).map_err(failed)?;
        let log = fs::File::create(log).map_err(failed)?;
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", &address.to_string(), "--config"]).arg(config);
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
        let server = Self { child: command.spawn().map_err(failed)?, address };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.is_ready() {
            if Instant::now() > deadline {
                return Err("the service does not become ready".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether it says that it takes work.
    pub(super) fn is_ready(&self) -> bool {
        once(self.address, &Request::get("/readyz")).is_ok_and(|reply| reply.status == 200)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Physical memory of the service itself in MiB, as `VmRSS` and `VmHWM` of `proc(5)`.
    pub(super) fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        (field("VmRSS:").unwrap_or(0) >> 10, field("VmHWM:").unwrap_or(0) >> 10)
    }

    pub(super) fn traces(&self) -> Traces {
        let fds = fs::read_dir(format!("/proc/{}/fd", self.pid())).into_iter().flatten().flatten();
        let links = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Traces {
            processes: descendants(self.pid()).len(),
            descriptors: links.filter(|link| !link.starts_with("/sys/fs/cgroup")).count(),
            mounts: mounts.lines().filter(|line| line.contains("fumehood")).count(),
        }
    }

    /// Waits until there is nothing more than there was; what there is if that does not come.
    pub(super) fn settles_to(&self, before: Traces) -> Result<(), Traces> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let now = self.traces();
            if now == before {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(now);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What there is once it does not change any more.
    pub(super) fn settled(&self) -> Traces {
        let (mut last, mut same) = (self.traces(), 0);
        for _ in 0..200 {
            thread::sleep(Duration::from_millis(300));
            let now = self.traces();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            // A pause of whoever builds cells is not the end of it.
            if same >= 4 {
                break;
            }
        }
        last
    }

    /// Asks it to end, and says what is wrong with how it does.
    pub(super) fn stop(mut self) -> Vec<String> {
        let (pid, below) = (self.pid(), descendants(self.pid()));
        let _ = Command::new("kill").args(["-TERM", &pid.to_string()]).status();
        let mut wrong = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => break,
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                other => {
                    wrong.push(format!("SIGTERM: the service ended with {other:?}"));
                    break;
                }
            }
        }
        let is_left = || below.iter().filter(|pid| is_alive(**pid)).count();
        while is_left() > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        if is_left() > 0 {
            wrong.push(format!("{} processes outlive the service", is_left()));
        }
        let groups = groups_of(Path::new("/sys/fs/cgroup"), pid);
        if groups > 0 {
            wrong.push(format!("{groups} control groups outlive the service"));
        }
        wrong
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a process's threads that live: the first figure of `schedstat` (`proc(5)`).
pub(super) fn cpu_time(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// All processes below this one.
fn descendants(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let (mut found, mut at) = (vec![pid], 0);
    while let Some(above) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Groups named `fumehood-NAMESPACE-SUPERVISOR-…` of this supervisor.
fn groups_of(dir: &Path, supervisor: u32) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let count = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("fumehood-").and_then(|rest| rest.split('-').nth(1));
        let ours = owner == Some(supervisor.to_string().as_str());
        usize::from(ours) + groups_of(&entry.path(), supervisor)
    };
    dirs.map(count).sum()
}
