//! Who there is below a process that has a pool.

use std::time::{Duration, Instant};

use fumehood::Job;
use rustix::process::{Pid, Signal, kill_process};

use crate::{pool, prints};

/// What a process below an owner is. All of them are copies of one program, so each says so itself, and
/// an init is told by the process namespace that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Warden,
    Zygote,
    Template,
    Init,
}

/// All that descend from a process and have that role; not those that have ended.
pub(crate) fn of(owner: u32, role: Role) -> Vec<i32> {
    let all = descendants(owner);
    all.into_iter().filter(|&pid| role_of(pid) == Some(role)).collect()
}

/// Those of this process.
pub(crate) fn own(role: Role) -> Vec<i32> {
    of(std::process::id(), role)
}

/// Inits of cells.
pub(crate) fn inits() -> Vec<i32> {
    own(Role::Init)
}

/// All that descend from a process, whatever they are.
pub(crate) fn descendants(owner: u32) -> Vec<i32> {
    let mut found = children(&owner.to_string());
    let mut index = 0;
    while let Some(parent) = found.get(index) {
        found.extend(children(parent));
        index += 1;
    }
    found.iter().filter_map(|pid| pid.parse().ok()).collect()
}

fn role_of(pid: i32) -> Option<Role> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if field("NSpid:")?.split_whitespace().nth(1) == Some("1") {
        return lives(pid).then_some(Role::Init);
    }
    match field("Name:")? {
        "fumehood-warden" => Some(Role::Warden),
        "fumehood-zygote" => Some(Role::Zygote),
        "fumehood-templ" => Some(Role::Template),
        _ => None,
    }
    .filter(|_| lives(pid))
}

fn children(parent: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")));
    let lists: Vec<String> = lists.flatten().collect();
    lists.iter().flat_map(|list| list.split_whitespace().map(str::to_owned)).collect()
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process has an id");
    // One that has just ended is no less dead.
    let _ = kill_process(pid, signal);
}

/// Whether it has not ended; a zombie has.
pub(crate) fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something can be seen of the processes. One look is not enough: a list of children may miss
/// some while others end (proc(5)).
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "never seen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until so many programs of this name run below this process.
pub(crate) async fn until_running(name: &str, count: usize) {
    let runs = |pid: &i32| {
        let said = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        said.trim_end() == name && lives(*pid)
    };
    let all = || descendants(std::process::id()).iter().filter(|pid| runs(pid)).count();
    until("the programs run", || (all() == count).then_some(())).await;
}

/// Waits until a program has begun in a parked cell, and says which process it is.
pub(crate) async fn primed(init: i32) -> i32 {
    until("a program that has begun", || descendants(init.unsigned_abs()).first().copied()).await
}

/// Whether a program of the job begins in a parked cell before it is known. It does so before the pool rests.
pub(crate) async fn begins_early(job: &Job) -> fumehood::Result<bool> {
    until_inits(0).await;
    let pool = pool(1);
    pool.warm(job).await?;
    // Cells are kept from the second on that comes for such a job; then its keeper looks once more.
    prints(&pool, job).await?;
    pool.warm(job).await?;
    let cells = until_inits(1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = cells.iter().any(|cell| !descendants(cell.unsigned_abs()).is_empty());
    assert_eq!(prints(&pool, job).await?, "ran\n");
    assert_eq!(pool.metrics().hits, 2, "both times");
    Ok(begun)
}

/// Waits until there are so many inits, and says which.
pub(crate) async fn until_inits(count: usize) -> Vec<i32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let found = inits();
        if found.len() == count {
            return found;
        }
        assert!(Instant::now() < deadline, "{count} of {found:?} should be left");
    }
}

/// Waits until all of them have ended: false if that takes longer than it ever should.
pub(crate) async fn gone(pids: Vec<i32>) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while pids.iter().copied().any(lives) {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

/// Kills them and waits until they have ended, and with them all that was below them.
pub(crate) async fn killed(pids: Vec<i32>) {
    assert!(!pids.is_empty(), "there is nobody to kill");
    pids.iter().for_each(|&pid| signal(pid, Signal::KILL));
    assert!(gone(pids).await, "killed, and still there");
}
