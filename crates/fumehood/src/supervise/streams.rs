//! The streams of a program: its pipes, and what moves data through our ends of them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::OpenptFlags;
use tokio::sync::Notify;

use crate::plan::Plan;
use crate::stream::{
    Breakage, Cap, Carried, Descriptor, Drain, Feed, Inlet, Outlet, Over, drain, feed,
};
use crate::{Error, Result};

/// Where the program's streams lead.
#[derive(Debug)]
pub(crate) struct Wiring {
    stdin: Inlet,
    stdout: Outlet,
    stderr: Outlet,
}

impl Wiring {
    /// Has the runtime watch where they lead.
    pub(crate) fn watch(stdin: Feed, [stdout, stderr]: [Drain; 2]) -> Self {
        let [stdout, stderr] = [stdout, stderr].map(Outlet::watch);
        Self { stdin: Inlet::watch(stdin), stdout, stderr }
    }
}

/// Our ends of a program's streams, watched before there is a program: while it starts there is
/// better to do.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    stdin: Option<Descriptor>,
    stdout: Option<Descriptor>,
    stderr: Option<Descriptor>,
}

/// Makes the pipes of a program: our ends, and its own in the order 0, 1, 2.
pub(crate) fn pipes(plan: &Plan, feeds: bool) -> io::Result<(Ends, Vec<OwnedFd>)> {
    let (stdin, feeder) = if feeds {
        let (theirs, ours) = feeder(plan)?;
        (theirs, Some(ours))
    } else {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let nothing = rustix::fs::open(NOTHING, flags, rustix::fs::Mode::empty());
        let named = |errno: Errno| io::Error::new(errno.kind(), format!("{NOTHING}: {errno}"));
        (nothing.map_err(named)?, None)
    };
    let (stdout, stdout_theirs) = output(plan)?;
    let (stderr, stderr_theirs) = output(plan)?;
    let ends = Ends { stdin: feeder, stdout: Some(stdout), stderr: Some(stderr) };
    Ok((ends, vec![stdin, stdout_theirs, stderr_theirs]))
}

const NOTHING: &str = "/dev/null";

impl Ends {
    /// Has somebody feed a program whose outputs are there already: its end of the new pipe.
    pub(crate) fn add_feeder(&mut self, plan: &Plan) -> io::Result<OwnedFd> {
        let (theirs, ours) = feeder(plan)?;
        self.stdin = Some(ours);
        Ok(theirs)
    }
}

/// A program's end of its standard input, and ours.
fn feeder(plan: &Plan) -> io::Result<(OwnedFd, Descriptor)> {
    let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
    give(plan, &theirs);
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((theirs, Descriptor::new(ours)?))
}

/// Our end of an output, and the program's.
fn output(plan: &Plan) -> io::Result<(Descriptor, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    give(plan, &theirs);
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((Descriptor::new(ours)?, theirs))
}

/// A program opens `/dev/stdout` as the owner of the pipe behind it, or not at all. It has the
/// descriptor in any case, so root that may not give files away, as in some containers, goes on.
fn give(plan: &Plan, pipe: &OwnedFd) {
    if plan.identity.by_root {
        let uid = rustix::fs::Uid::from_raw(plan.identity.host_uid);
        let gid = rustix::fs::Gid::from_raw(plan.identity.host_gid);
        let _ = rustix::fs::fchown(pipe, Some(uid), Some(gid));
    }
}

/// Our ends of a program's streams, each with what it leads to.
pub(super) struct Joined {
    /// What is read.
    pub(super) pipes: [Option<Descriptor>; 2],
    /// Where it goes.
    pub(super) outlets: [Outlet; 2],
    /// What is written to.
    pub(super) feeder: Option<Descriptor>,
    /// Where that comes from.
    pub(super) inlet: Inlet,
    /// The program's end of its terminal, held as long as the program runs.
    pub(super) peer: Option<OwnedFd>,
}

/// Joins our ends with what they lead to. A terminal carries input and both outputs at once.
pub(super) fn connect(
    plan: &Plan,
    ends: Ends,
    terminal: Option<OwnedFd>,
    wiring: Wiring,
) -> Result<Joined> {
    let failed = |error: io::Error| Error::internal("connect the program's streams", error);
    let Wiring { stdin, stdout, stderr } = wiring;
    // Who died before it was heard handed none over.
    debug_assert!(terminal.is_none() || plan.job.tty);
    let peer = terminal.as_ref().map(peer).transpose().map_err(|errno| failed(errno.into()))?;
    let (pipes, feeder) = if let Some(terminal) = terminal {
        rustix::io::ioctl_fionbio(&terminal, true).map_err(|errno| failed(errno.into()))?;
        let feeder = terminal.try_clone().and_then(Descriptor::new).map_err(failed)?;
        let terminal = Descriptor::new(terminal).map_err(failed)?;
        ([Some(terminal), None], Some(feeder))
    } else {
        ([ends.stdout, ends.stderr], ends.stdin)
    };
    Ok(Joined { pipes, outlets: [stdout, stderr], feeder, inlet: stdin, peer })
}

/// The program's end of a terminal (`TIOCGPTPEER`). While somebody has it, a program that closes all of its own
/// and opens `/dev/tty` again has not come to the end of its output.
fn peer(terminal: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    rustix::pty::ioctl_tiocgptpeer(terminal, flags)
}

/// Feeds the program. A source that breaks is no reason to end the run.
pub(super) async fn supply(inlet: Inlet, feeder: Option<Descriptor>, tty: bool, unfed: &Breakage) {
    if let Some(feeder) = feeder
        && let Err(error) = feed(inlet, feeder, tty).await
    {
        unfed.note(&error);
    }
}

/// Delivers both outputs. Pipes that were read to their end are kept in `ended`.
pub(super) async fn deliver(
    [first, second]: [Option<Descriptor>; 2],
    outlets: [Outlet; 2],
    cap: Cap,
    carried: [&Carried; 2],
    exceeded: &[Notify; 2],
    over: &Over,
    ended: &Mutex<Vec<Descriptor>>,
) {
    let one = async |pipe: Option<Descriptor>, to: Outlet, carried: &Carried, exceeded: &Notify| {
        let Some(pipe) = pipe else { return };
        match drain(pipe, to, cap, carried, exceeded, over).await {
            Ok(pipe) => ended.lock().unwrap_or_else(PoisonError::into_inner).extend(pipe),
            Err(error) => carried.mark_undelivered(&error),
        }
    };
    let [stdout, stderr] = carried;
    let [to_stdout, to_stderr] = outlets;
    tokio::join!(
        one(first, to_stdout, stdout, &exceeded[0]),
        one(second, to_stderr, stderr, &exceeded[1])
    );
}
