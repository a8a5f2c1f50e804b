//! The one loop that watches a program.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::{FLUSH, Order, PATIENCE};
use crate::backend::native::cgroup::Group;
use crate::backend::native::script::TerminalSize;
use crate::backend::{Ending, Tether};
use crate::plan::Plan;
use crate::report::Stop;
use crate::sabotage::leaves_out;
use crate::usage::Meter;
use crate::{Error, Result, Stream, TimeLimit};

/// What the loop keeps in mind.
pub(super) struct Watch<'a> {
    /// When the program was started.
    pub(super) started: Instant,
    group: Option<&'a Group>,
    /// Looks at the group's counters, if something is limited that they tell.
    meter: Option<Meter<'a>>,
    /// Why the program is being stopped, if it is.
    pub(super) stop: Option<Stop>,
    /// When the next rung of the ladder is due.
    due: Option<Instant>,
    rung: Rung,
    grace: Duration,
    pub(super) delivered: bool,
    wall: Option<Instant>,
    /// Whether the init died, and with it the mounts of the cell.
    pub(super) lost: bool,
}

/// How far the ladder has been climbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rung {
    /// The program runs; what is due is its wall-clock limit.
    Running,
    /// It was asked to end.
    Asked,
    /// It was killed.
    Killed,
    /// Its init was killed.
    Gone,
}

impl<'a> Watch<'a> {
    pub(super) fn new(plan: &Plan, started: Instant, group: Option<&'a Group>) -> Self {
        let limits = &plan.job.limits;
        let wall = limits.wall_time().finite().filter(|_| !leaves_out("wall-clock"));
        let wall = wall.and_then(|limit| started.checked_add(limit));
        let grace = limits.grace();
        let meter = Meter::new(plan, group);
        Self {
            started,
            group,
            meter,
            stop: None,
            due: wall,
            rung: Rung::Running,
            grace,
            delivered: false,
            wall,
            lost: false,
        }
    }

    pub(super) async fn run(
        &mut self,
        tether: &mut Tether,
        orders: &mut mpsc::Receiver<Order>,
        exceeded: &[Notify; 2],
        mut output: Pin<&mut impl Future<Output = ()>>,
        mut input: Pin<&mut impl Future<Output = ()>>,
        terminal: Option<OwnedFd>,
    ) -> Result<Ending> {
        let mut fed = false;
        let mut ordered = true;
        loop {
            tokio::select! {
                // Most have ended when they are first heard of: then no clock is set.
                biased;
                ending = tether.ended() => return match ending {
                    Ok(Some(ending)) => Ok(ending),
                    Ok(None) => self.is_lost(),
                    // Whatever a sandbox complains of when it is killed.
                    Err(_) if self.was_killed() => Ok(Ending::killed()),
                    Err(error) => Err(error),
                },
                () = until(self.due) => self.climb(tether).await,
                () = until(self.meter.as_ref().map(|meter| meter.due)) => {
                    if let Some(stop) = self.meter.as_mut().and_then(Meter::look) {
                        self.meter = None;
                        self.kill(stop, tether).await;
                    }
                }
                order = orders.recv(), if ordered => match order {
                    Some(order) => self.obey(order, tether, terminal.as_ref()).await,
                    None => ordered = false,
                },
                () = exceeded[0].notified() => self.kill(Stop::Output(Stream::Stdout), tether).await,
                () = exceeded[1].notified() => self.kill(Stop::Output(Stream::Stderr), tether).await,
                () = &mut output, if !self.delivered => self.delivered = true,
                () = &mut input, if !fed => fed = true,
            }
        }
    }

    /// Who watches over a program and dies without a word was killed: by us, by the kernel together
    /// with everything else in a group that is out of memory, or from outside.
    fn is_lost(&mut self) -> Result<Ending> {
        self.lost = true;
        if self.was_killed() {
            return Ok(Ending::killed());
        }
        let source = io::Error::other("the init of the cell was killed from outside");
        Err(Error::internal("supervise the program", source))
    }

    /// By us, or by the kernel for memory.
    fn was_killed(&self) -> bool {
        let starved = self.group.and_then(|group| group.oom().ok()).is_some_and(|oom| oom.at_limit);
        self.stop.is_some() || starved
    }

    async fn climb(&mut self, tether: &mut Tether) {
        match self.rung {
            Rung::Running => self.ask(Stop::Time(TimeLimit::Wall), tether).await,
            Rung::Asked => self.kill(Stop::Cancelled, tether).await,
            Rung::Killed | Rung::Gone => {
                self.rung = Rung::Gone;
                self.due = Instant::now().checked_add(PATIENCE);
                self.kill_from_outside(tether);
            }
        }
    }

    /// An init may have no time to die in, nor anybody else of its cell: a filter of the job's own may let
    /// the program see to that, and the group may have little for all of them.
    fn kill_from_outside(&self, tether: &mut Tether) {
        tether.kill();
        if let Some(group) = self.group {
            // Not waited for: the end is heard of, or this is done again.
            let _ = group.kill(Duration::ZERO);
        }
    }

    /// Asks every process of the cell to end, and gives it the grace.
    async fn ask(&mut self, why: Stop, tether: &mut Tether) {
        const TERM: i32 = 15;
        if self.rung != Rung::Running {
            return;
        }
        self.stop.get_or_insert(why);
        self.rung = Rung::Asked;
        self.due = Instant::now().checked_add(self.grace);
        tether.signal(TERM, true).await;
    }

    async fn kill(&mut self, why: Stop, tether: &mut Tether) {
        const KILL: i32 = 9;
        self.stop.get_or_insert(why);
        if matches!(self.rung, Rung::Running | Rung::Asked) {
            self.rung = Rung::Killed;
            self.due = Instant::now().checked_add(PATIENCE);
            tether.signal(KILL, true).await;
        }
    }

    async fn obey(&mut self, order: Order, tether: &mut Tether, terminal: Option<&OwnedFd>) {
        match order {
            Order::Signal(signal) => {
                tether.signal(signal, false).await;
            }
            Order::Cancel => self.ask(Stop::Cancelled, tether).await,
            Order::Kill => self.kill(Stop::Cancelled, tether).await,
            Order::Resize(size) => resize(size, terminal),
        }
    }

    /// Output that the caller does not take is given up when the clock would have run out.
    pub(super) fn flush_deadline(&self) -> Instant {
        let now = Instant::now();
        let latest = self.wall.and_then(|wall| wall.checked_add(self.grace));
        latest.map_or(now + FLUSH, |latest| latest.max(now + self.grace))
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn resize(TerminalSize { rows, columns }: TerminalSize, terminal: Option<&OwnedFd>) {
    let size =
        rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    if let Some(terminal) = terminal {
        let _ = rustix::termios::tcsetwinsize(terminal, size);
    }
}
