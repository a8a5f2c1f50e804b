//! A program from its start to its end, as its init sees it.

use crate::cell::Cell;
use crate::denial::{Denial, Watched};
use crate::init::{STACK_LEN, fail};
use crate::program::{MAX_LAPS, NotStarted, Start};
use crate::step::{Field, Reader, Step, StepError};
use crate::sys::{self, Errno, Fd, MAX_FDS, PollFd, Result};
use crate::terminal;
use crate::wire::{self, Buffer, Ended, Kind, Message};

const KILL: i32 = 9;

/// What an init listens to.
pub(crate) struct Line {
    /// Where its supervisor speaks.
    pub(crate) socket: Fd,
    /// Where the kernel says that a child has ended.
    pub(crate) children: Fd,
}

impl Line {
    /// Waits until the supervisor says something, or the program has ended: its end, which comes first.
    pub(crate) fn wait(&self, program: i32) -> Result<Option<Reaped>> {
        loop {
            let mut watched = [PollFd::readable(self.socket), PollFd::readable(self.children)];
            match sys::poll(&mut watched) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            let [from_supervisor, from_children] = watched;
            if from_children.revents != 0
                && let Some(reaped) = reap(self.children, program)?
            {
                return Ok(Some(reaped));
            }
            if from_supervisor.revents != 0 {
                return Ok(None);
            }
        }
    }
}

/// A program that was started.
pub(crate) struct Program {
    pub(crate) pid: i32,
    pub(crate) start: &'static Start<'static>,
    /// Since when it is about to run, unless its steps came later.
    since: u64,
    /// What is kept open for it, until it runs for sure.
    kept: Option<Kept>,
}

/// Descriptors that only a program about to be started needs.
pub(crate) struct Kept {
    pub(crate) stdio: [Fd; 3],
    pub(crate) ruleset: Option<Fd>,
}

/// What an init hears of its program, or for it.
pub(crate) enum Heard<'a> {
    Message(Message<'a>),
    End(Reaped),
}

/// Starts the program, watches it, and says that it was started and how it ended.
pub(crate) fn live_with_program(
    line: &Line,
    list: &'static [u8],
    streams: Option<[Fd; 3]>,
    stack: &'static mut [u8],
    cell: &Cell<'_>,
) -> Result<()> {
    let (stdio, controller) = stdio(list, streams).map_err(|errno| unable(line, errno))?;
    let start = Start::new(list, stdio, cell.ruleset);
    let kept = Kept { stdio, ruleset: cell.ruleset };
    if start.asks() {
        return live_with_watched(line, start, &kept, controller, &cell.before);
    }
    let mut program = sys::keep(start)
        .and_then(|start| Program::begin(start, kept, stack))
        .map_err(|errno| unable(line, errno))?;
    if controller.is_some() {
        program.settle(line, controller);
    }
    live_on(line, program, None, cell)
}

/// Watches a program that has begun to its end. What was `heard` by then comes first.
pub(crate) fn live_on(
    line: &Line,
    mut program: Program,
    heard: Option<Heard<'_>>,
    cell: &Cell<'_>,
) -> Result<()> {
    let reaped = match heard {
        Some(Heard::End(reaped)) => reaped,
        Some(Heard::Message(message)) => {
            program.hear(line, &message);
            watch(line, &mut program)
        }
        None => watch(line, &mut program),
    };
    if let Some(failed) = program.start.failure() {
        return Err(not_started(line, failed));
    }
    // To say that it runs would have taken a processor from it, and another message from its supervisor:
    // who is not asked says so with its end.
    let news = program.kept.is_some().then(|| program.news());
    finish(line, news.as_ref().map(News::bytes), reaped, None, &cell.before)?;
    // Its own end closes them as well.
    if let (Some(kept), Some(_)) = (&program.kept, cell.shared) {
        kept.close();
    }
    Ok(())
}

/// The same with a program for which somebody listens what it is denied.
fn live_with_watched(
    line: &Line,
    start: Start<'static>,
    kept: &Kept,
    controller: Option<Fd>,
    before: &sys::Rusage,
) -> Result<()> {
    let watched = Watched::new(start, STACK_LEN).map_err(|errno| unable(line, errno))?;
    kept.close();
    let pid = watched.started().map_err(|failed| not_started(line, failed))?;
    let mut program = Program { pid, start: watched.start(), since: sys::now(), kept: None };
    program.announce(line, controller);
    let reaped = watch(line, &mut program);
    finish(line, None, reaped, watched.denial(), before)
}

/// Says that the program could not even be tried.
fn unable(line: &Line, errno: Errno) -> Errno {
    not_started(line, NotStarted { error: StepError { index: 0, errno }, interpreter: false })
}

/// Says which step failed.
fn not_started(line: &Line, NotStarted { error, interpreter }: NotStarted) -> Errno {
    let _ = fail(line.socket, Kind::ProgramFailed, error, interpreter);
    error.errno
}

type News = Buffer<{ 8 + 4 * MAX_LAPS }>;

impl Program {
    /// Starts one.
    pub(crate) fn begin(
        start: &'static Start<'static>,
        kept: Kept,
        stack: &'static mut [u8],
    ) -> Result<Self> {
        let pid = start.begin(stack)?;
        Ok(Self { pid, start, since: sys::now(), kept: Some(kept) })
    }

    /// Does what its supervisor asks for.
    fn hear(&mut self, line: &Line, message: &Message<'_>) {
        match message.kind {
            Kind::Ask => self.settle(line, None),
            _ => obey(message, self.pid),
        }
    }

    /// Says that it runs as soon as it does. If it does not, its end says so.
    fn settle(&mut self, line: &Line, controller: Option<Fd>) {
        let Some(kept) = self.kept.take() else { return };
        self.start.settle(self.pid);
        kept.close();
        if self.start.failure().is_none() {
            self.announce(line, controller);
        }
    }

    fn announce(&self, line: &Line, controller: Option<Fd>) {
        if wire::send(line.socket, Kind::Started, self.news().bytes(), controller).is_err() {
            // Nobody is there to watch it.
            abandon(self.pid);
        }
        if let Some(controller) = controller {
            sys::close(controller);
        }
    }

    /// The body of [`Kind::Started`].
    fn news(&self) -> News {
        let mut body = News::new();
        self.pid.put(&mut body);
        let (since, ahead) = self.start.came().unwrap_or((self.since, 0));
        let steps: u64 = self.start.laps().skip(ahead).map(u64::from).sum();
        let age = sys::now().saturating_sub(since).saturating_sub(steps);
        u32::try_from(age / 1000).unwrap_or(u32::MAX).put(&mut body);
        self.start.laps().for_each(|lap| lap.put(&mut body));
        body
    }
}

impl Kept {
    /// The program has its own copies; one kept here would hold a pipe open.
    fn close(&self) {
        self.stdio.iter().copied().chain(self.ruleset).for_each(sys::close);
    }
}

/// The program's three descriptors, and the controlling end of its terminal if it gets one.
fn stdio(list: &[u8], streams: Option<[Fd; 3]>) -> Result<([Fd; 3], Option<Fd>)> {
    if let Some(Step::Terminal { rows, columns }) = Step::decode(&mut Reader::new(list)) {
        let (controller, peer) = terminal::open(rows, columns)?;
        return Ok(([peer; 3], Some(controller)));
    }
    Ok((streams.ok_or(Errno::PROTO)?, None))
}

/// A program that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reaped {
    /// Its wait status.
    status: i32,
    /// Whether nobody else is left.
    alone: bool,
}

/// Passes signals on until the program ends.
fn watch(line: &Line, program: &mut Program) -> Reaped {
    // A supervisor that was killed with something of ours unread is a broken line and no end.
    let pid = program.pid;
    watch_until_broken(line, program).unwrap_or_else(|_| abandon(pid))
}

fn watch_until_broken(line: &Line, program: &mut Program) -> Result<Reaped> {
    let mut fds = [Fd(-1); MAX_FDS];
    loop {
        if let Some(reaped) = line.wait(program.pid)? {
            return Ok(reaped);
        }
        let mut room = [0; wire::SHORT];
        match wire::receive_short(line.socket, &mut fds, &mut room)? {
            Some((message, _)) => program.hear(line, &message),
            None => abandon(program.pid),
        }
    }
}

/// The supervisor is gone: so is everything here. As process 1 it is enough to exit.
fn abandon(program: i32) -> ! {
    kill_group(program);
    kill_all();
    sys::exit(1)
}

fn obey(message: &Message<'_>, program: i32) {
    if message.kind != Kind::Signal {
        return;
    }
    if let Some(wire::Signal { signal, all }) = wire::Signal::decode(message.body) {
        let everyone = all && confined();
        let _ = sys::kill(if everyone { -1 } else { -program }, signal);
        if all && !everyone {
            crate::orphans::signal_children(program, signal);
        }
    }
}

/// Reaps all that have ended; what became of the program if it is among them.
fn reap(children: Fd, program: i32) -> Result<Option<Reaped>> {
    let mut drained = [0u8; 128];
    let _ = sys::read(children, &mut drained);
    if !confined() && sys::has_ended(program) {
        kill_group(program);
    }
    let mut status = None;
    loop {
        match sys::wait_any(false) {
            Ok(Some((pid, ended))) if pid == program => status = Some(ended),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(status.map(|status| Reaped { status, alone: false })),
            Err(Errno::CHILD) => return Ok(status.map(|status| Reaped { status, alone: true })),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Ends what the program left behind, so that its usage is counted too, and reports. With it goes that the
/// program was started, if nobody was told.
fn finish(
    line: &Line,
    news: Option<&[u8]>,
    reaped: Reaped,
    denial: Option<Denial>,
    before: &sys::Rusage,
) -> Result<()> {
    let Reaped { status, alone } = reaped;
    // Everybody in its process namespace descends from process 1, and whoever loses a parent becomes its
    // child: without a child it is alone. To kill everyone all the same would have the kernel look at
    // every process of the host.
    if !(alone && confined()) {
        kill_all();
    }
    let usage = sys::rusage_children();
    let mut body = Buffer::<64>::new();
    let call = denial.and_then(|denial| denial.call);
    let (number, convention) = call.unwrap_or_default();
    Ended {
        status,
        user_us: microseconds(usage.user).saturating_sub(microseconds(before.user)),
        system_us: microseconds(usage.system).saturating_sub(microseconds(before.system)),
        maxrss_kib: u64::try_from(usage.maxrss).unwrap_or(0),
        denied: denial.is_some(),
        call_known: call.is_some(),
        call: number,
        convention,
    }
    .encode(&mut body);
    match news {
        Some(news) => wire::send_both(line.socket, Kind::Started, news, Kind::Ended, body.bytes()),
        None => wire::send(line.socket, Kind::Ended, body.bytes(), None),
    }
}

fn microseconds([seconds, rest]: [i64; 2]) -> u64 {
    let total = seconds.saturating_mul(1_000_000).saturating_add(rest);
    u64::try_from(total).unwrap_or(0)
}

/// Whether a process namespace bounds the cell, so that "everyone" means everyone in it.
fn confined() -> bool {
    sys::getpid() == 1
}

/// Kills the program's process group. Only while the program has not been reaped: its number is
/// free for a stranger afterwards.
pub(crate) fn kill_group(program: i32) {
    let _ = sys::kill(-program, KILL);
}

/// Kills and reaps every process of the cell; the program has been reaped, or its group killed.
///
/// Process 1 may say "everyone": its namespace bounds that. Where there is no process namespace
/// "everyone" would be the host, so whoever is orphaned to us is killed, until nobody is.
fn kill_all() {
    loop {
        if confined() {
            let _ = sys::kill(-1, KILL);
        } else {
            crate::orphans::kill_children();
        }
        match sys::wait_any(true) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
