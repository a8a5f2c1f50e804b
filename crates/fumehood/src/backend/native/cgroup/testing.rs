//! What tests with real groups and real processes need: a hierarchy that this user can write to.
//! Tests say so when there is none.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::dir::Dir;
use super::find::Parent;
use super::v1::Controller;
use super::{Entry, Group, GroupLimits, Hierarchy, Resource, Version, v1};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The hierarchy, or a line that says why a test is skipped.
///
/// The line goes around the capture of the test harness: a skip that nobody sees is none.
pub(super) fn hierarchy(test: &str, needs: &[Resource]) -> Option<&'static Hierarchy> {
    static FOUND: OnceLock<Result<Hierarchy, String>> = OnceLock::new();
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let found = FOUND.get_or_init(|| Hierarchy::find(None).map_err(|blocked| blocked.reason));
    let reason = match found {
        Err(reason) => reason.clone(),
        Ok(found) => match needs.iter().find_map(|need| found.holds(*need).err()) {
            None => return Some(found),
            Some(blocked) => blocked.reason.clone(),
        },
    };
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let line = format!("SKIP {test}: {reason} (skip {count} of this run)\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(std::env::var_os("FUMEHOOD_NO_SKIP").is_none(), "{line}");
    None
}

/// The hierarchy if it holds what the test needs; otherwise the test ends here, and says so.
macro_rules! hierarchy_or_skip {
    ($test:literal, $($need:ident),+) => {
        match $crate::backend::native::cgroup::testing::hierarchy($test, &[$(Resource::$need),+]) {
            Some(hierarchy) => hierarchy,
            None => return,
        }
    };
}

/// A shell that waits for its input to end before it does `script`: time to put it into a group.
pub(super) struct Shell(Child);

impl Shell {
    pub(super) fn inside(group: &Group, script: &str) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("read -r _\n{script}")]);
        let quiet = || Stdio::null();
        let child = command.stdin(Stdio::piped()).stdout(quiet()).stderr(quiet()).spawn().unwrap();
        let mut shell = Self(child);
        adopt(group, shell.pid());
        assert!(group.contains(shell.pid()).unwrap());
        drop(shell.0.stdin.take());
        shell
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    pub(super) fn ends(mut self) -> std::process::ExitStatus {
        self.0.wait().unwrap()
    }
}

/// Moves a process in from outside, as tests may: a sandbox joins by itself or is born inside.
fn adopt(group: &Group, pid: Pid) {
    for dir in dirs_of(group) {
        fs::write(dir.join("cgroup.procs"), pid.as_raw_pid().to_string()).unwrap();
    }
}

pub(super) fn dirs_of(group: &Group) -> Vec<PathBuf> {
    let fds = match group.entry().unwrap() {
        Entry::Clone(dir) => vec![format!("/proc/self/fd/{}", as_raw(&dir))],
        Entry::Join(files) => {
            let parent = |fd| fs::read_link(format!("/proc/self/fd/{}", as_raw(fd))).unwrap();
            return files.iter().map(|(_, fd)| parent(fd).parent().unwrap().to_owned()).collect();
        }
    };
    fds.iter().map(|path| fs::read_link(path).unwrap()).collect()
}

/// Version of the interface.
pub(super) fn version(hierarchy: &Hierarchy) -> Version {
    match hierarchy.parent() {
        Parent::V1(_) => Version::V1,
        Parent::V2(_) => Version::V2,
    }
}

/// Whether no process is in a group.
pub(super) fn is_empty(group: &Group) -> bool {
    let procs = |dir: PathBuf| fs::read_to_string(dir.join("cgroup.procs")).unwrap();
    dirs_of(group).into_iter().map(procs).all(|text| text.is_empty())
}

fn as_raw(fd: &impl std::os::fd::AsFd) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_fd().as_raw_fd()
}

/// Waits for something that comes about by itself.
pub(super) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(super) fn limits(memory: Option<u64>, pids: Option<u64>) -> GroupLimits {
    GroupLimits { memory, pids, cpus_milli: None, account: true, as_one: false }
}

/// The freezer hierarchy alone, where that is how version 1 is used.
pub(super) fn only_freezer(hierarchy: &Hierarchy) -> Option<Parent> {
    let Parent::V1(parent) = hierarchy.parent() else { return None };
    let freezer = parent.branch(Controller::Freezer).expect("a freezer hierarchy");
    let branch = v1::Branch {
        controllers: vec![Controller::Freezer],
        dir: Dir::open(freezer.dir.path()).unwrap(),
        group: freezer.group.clone(),
    };
    Some(Parent::V1(Arc::new(v1::Parent { branches: vec![branch] })))
}

pub(super) const MIB: u64 = 1 << 20;

pub(super) use hierarchy_or_skip;
