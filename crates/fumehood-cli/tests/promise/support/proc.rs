//! Processes as the host sees them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// A process of the host.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
}

impl Process {
    /// The process whose arguments are exactly these.
    pub(crate) fn with_argv(argv: &[OsString]) -> Option<Self> {
        let wanted: Vec<u8> =
            argv.iter().flat_map(|arg| arg.as_bytes().iter().copied().chain([0])).collect();
        pids().find(|&pid| cmdline(pid) == wanted).map(|pid| Self { pid })
    }

    /// The child of that process which shows the same arguments, in no namespace of its own: the one
    /// that removes the control groups if its parent is killed.
    pub(crate) fn janitor_of(parent: u32) -> Option<Self> {
        let ours = fs::read_link("/proc/self/ns/pid").expect("we have one");
        let is_it = |process: &Self| {
            let status = fs::read_to_string(format!("/proc/{}/status", process.pid));
            status.is_ok_and(|status| field(&status, "PPid") == parent.to_string())
                && cmdline(process.pid) == cmdline(parent)
                && fs::read_link(format!("/proc/{}/ns/pid", process.pid)).ok() == Some(ours.clone())
        };
        pids().map(|pid| Self { pid }).find(is_it)
    }

    /// Everybody whom that process has started, and whom they have.
    pub(crate) fn below(ancestor: u32) -> Vec<Self> {
        let parent = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            field(&status, "PPid").parse::<u32>().ok()
        };
        let family: BTreeMap<_, _> = pids().filter_map(|pid| Some((pid, parent(pid)?))).collect();
        let is_below = |pid: u32| {
            let line = std::iter::successors(Some(pid), |pid| family.get(pid).copied());
            line.skip(1).any(|above| above == ancestor)
        };
        family.keys().copied().filter(|pid| is_below(*pid)).map(|pid| Self { pid }).collect()
    }

    /// What tells of the end of each that has not ended yet.
    pub(crate) fn ends(processes: &[Self]) -> Vec<OwnedFd> {
        let pid = |process: &Self| i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let open = |pid| pidfd_open(pid, PidfdFlags::empty()).ok();
        processes.iter().filter_map(pid).filter_map(open).collect()
    }

    /// By which name it was called, without the directory.
    pub(crate) fn name(&self) -> String {
        let cmdline = cmdline(self.pid);
        let name = cmdline.split(|byte| matches!(byte, 0)).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        name.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// Kills it, as a crash would.
    #[track_caller]
    pub(crate) fn kill(&self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let killed = pid.map(|pid| kill_process(pid, Signal::KILL));
        assert_eq!(killed, Some(Ok(())), "process {}", self.pid);
    }

    /// Its process id on the host.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The content of a file below its `/proc` directory.
    #[track_caller]
    pub(crate) fn read(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.pid);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The target of a link below its `/proc` directory.
    #[track_caller]
    pub(crate) fn link(&self, name: &str) -> PathBuf {
        let path = format!("/proc/{}/{name}", self.pid);
        fs::read_link(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The value of one line of its `status` file.
    #[track_caller]
    pub(crate) fn status(&self, key: &str) -> String {
        field(&self.read("status"), key)
    }

    /// Whether it is in another namespace of this kind than the test itself.
    #[track_caller]
    pub(crate) fn apart_in(&self, namespace: &str) -> bool {
        let ours = fs::read_link(format!("/proc/self/ns/{namespace}")).expect("we have one");
        self.link(&format!("ns/{namespace}")) != ours
    }

    /// The mounts that it sees: mount point, options of the mount, type.
    #[track_caller]
    pub(crate) fn mounts(&self) -> Vec<Mount> {
        self.read("mountinfo").lines().map(Mount::parse).collect()
    }
}

/// One line of a `mountinfo` file.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) point: String,
    pub(crate) options: Vec<String>,
}

impl Mount {
    /// Field 5 is the mount point, field 6 the options of the mount; see `proc_pid_mountinfo(5)`.
    pub(crate) fn parse(line: &str) -> Self {
        let mut fields = line.split(' ').skip(4);
        let point = fields.next().expect("a mount has a point").to_owned();
        let options = fields.next().expect("a mount has options");
        Self { point, options: options.split(',').map(str::to_owned).collect() }
    }

    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }
}

/// The value of `key` in a text of `key: value` lines.
#[track_caller]
pub(crate) fn field(text: &str, key: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in\n{text}")).trim().to_owned()
}

/// Every process that has `word` in its arguments.
pub(crate) fn processes_naming(word: &str) -> Vec<u32> {
    let holds = |pid: &u32| cmdline(*pid).windows(word.len()).any(|part| part == word.as_bytes());
    pids().filter(holds).collect()
}

/// Waits until no process has `word` in its arguments: the kernel takes a moment to tear down.
#[track_caller]
pub(crate) fn wait_until_gone(word: &str) {
    let end = Instant::now() + Duration::from_secs(60) * super::slowness();
    loop {
        let left = processes_naming(word);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "processes {left:?} of {word} are left");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until these processes have ended.
#[track_caller]
pub(crate) fn wait_for(ends: &[OwnedFd]) {
    let patience = Timespec { tv_sec: i64::from(60 * super::slowness()), tv_nsec: 0 };
    for end in ends {
        let mut ended = [PollFd::new(end, PollFlags::IN)];
        assert_eq!(poll(&mut ended, Some(&patience)), Ok(1), "a process is left");
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("the host has /proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Empty for a process that has just gone.
fn cmdline(pid: u32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}
