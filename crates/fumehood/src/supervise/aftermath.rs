//! What there is to do when a program has ended: files come back, changes are looked at, and the cell goes.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::PATIENCE;
use crate::backend::Tether;
use crate::backend::native::cgroup::Group;
use crate::plan::Plan;
use crate::workspace::changes::Base;
use crate::workspace::collect::{self, Collected, Rights, Sink};
use crate::{Changes, Error, Result};

/// Collects files while they are there: nothing runs in the cell any more, but it is not let go yet.
/// One that was killed with everything else in its group leaves them to who has its mounts.
pub(super) async fn bring_back(
    tether: &mut Tether,
    plan: &Plan,
    sink: Sink,
    lost: bool,
) -> Result<Collected> {
    let there = !lost || is_empty(tether, plan).await;
    let root = if there { tether.files().await? } else { None };
    Ok(match tether.collected() {
        Some(passed_on) => deliver_from(passed_on, plan, sink).await,
        None => collect_from(root, plan, sink).await,
    })
}

/// How long it may take on a machine with far too much to do until the kernel has freed what the
/// processes of a cell had.
const LONG: Duration = Duration::from_secs(10);

/// Waits until nothing is left of a cell.
pub(super) async fn let_go(tether: Tether, mut group: Option<Group>) {
    match tether {
        Tether::Native { mut init, .. } => {
            if let Some(group) = &mut group {
                init.hang_up();
                // Meanwhile, since there is something to wait for.
                group.retire();
                // A group is removed when the last of its processes is dead, not while it dies.
                let _ = timeout(LONG, init.ended()).await;
            }
        }
        Tether::Foreign(program) => program.remove().await,
    }
    if let Some(mut group) = group {
        remove(&mut group).await;
    }
}

/// Looks at what was changed when the init, and with it every process of its namespace, is gone:
/// nobody exchanges anything then.
pub(super) async fn look(
    (place, base): (OwnedFd, Base),
    pidfd: Option<OwnedFd>,
) -> Result<Changes> {
    let looked = tokio::task::spawn_blocking(move || {
        if !pidfd.is_some_and(|pidfd| has_ended(&pidfd)) {
            let source = io::Error::other("the cell does not end");
            return Err(Error::internal("look at the changes", source));
        }
        Changes::scan(&place, base)
    });
    looked.await.map_err(|error| Error::internal("look at the changes", io::Error::other(error)))?
}

/// Whether a cell whose init has died is still there, and every process of its namespace gone.
async fn is_empty(tether: &Tether, plan: &Plan) -> bool {
    let Tether::Native { init, mounts: Some(_), .. } = tether else { return false };
    let Some(pidfd) = init.pidfd().filter(|_| plan.namespaces.pid) else { return false };
    tokio::task::spawn_blocking(move || has_ended(&pidfd)).await.is_ok_and(|ended| ended)
}

/// Waits for a process; false if it does not end in time.
fn has_ended(pidfd: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let end = Instant::now() + PATIENCE;
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now()));
        match poll(&mut fds, left.ok().as_ref()) {
            Err(Errno::INTR) => {}
            waited => return waited.is_ok_and(|ready| ready > 0),
        }
    }
}

/// Delivers files that somebody inside has brought, on a thread of its own as well.
async fn deliver_from(passed_on: File, plan: &Plan, sink: Sink) -> Collected {
    let collect = plan.job.collect.clone();
    let delivered =
        tokio::task::spawn_blocking(move || collect::deliver(passed_on, &collect, sink));
    delivered.await.unwrap_or_else(|_| Collected::gone(&plan.job.collect))
}

/// Brings files back, on a thread of its own: a disk may be slow.
async fn collect_from(root: Option<OwnedFd>, plan: &Plan, sink: Sink) -> Collected {
    let collect = plan.job.collect.clone();
    let Some(root) = root else { return Collected::gone(&collect) };
    let (cwd, rights) = (plan.job.cwd.clone(), Rights::of(plan.identity));
    let (done, receiver) = oneshot::channel();
    let named = std::thread::Builder::new().name("collect".to_owned());
    let spawned = named.spawn(move || {
        // Nobody is interested any more if the run was given up.
        let is_awaited = || !done.is_closed();
        let collected = collect::collect(&root, &collect, &cwd, sink, rights, &is_awaited);
        let _ = done.send(collected);
    });
    let collected = if spawned.is_ok() { receiver.await.ok() } else { None };
    collected.unwrap_or_else(|| Collected::gone(&plan.job.collect))
}

/// Removes a group whose processes are ending. That takes well below a millisecond, and others of
/// this runtime are not kept waiting for longer than that at a time.
async fn remove(group: &mut Group) {
    const BRIEF: Duration = Duration::from_millis(1);
    let deadline = Instant::now() + LONG;
    // What cannot be removed by then is kept in mind and tried again; see `Group::drop`.
    while group.destroy(BRIEF).is_err() && Instant::now() < deadline {
        tokio::time::sleep(BRIEF * 4).await;
    }
}
