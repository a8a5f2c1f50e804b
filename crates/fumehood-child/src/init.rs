//! The init of a cell: process 1 of its namespace, parent of the program, reaper of orphans.
//!
//! It builds the cell, parks until a program is sent, starts it, passes signals on, and says how
//! it ended. Its end is the end of everything in the cell, and it ends when its supervisor does.

use linux_raw_sys::general as nr;

use crate::cell::{Cell, Laps};
use crate::denial::{Denial, Watched};
use crate::prelude::Prelude;
use crate::program::{NotStarted, Start};
use crate::stage::{PATH_MAX, stage};
use crate::step::{Field, Reader, Sink, Step, StepError};
use crate::sys::{self, Errno, Fd, MAX_FDS, PollFd, Result};
use crate::terminal;
use crate::wire::{self, Buffer, Ended, Failure, Kind, Message};

const STACK_LEN: usize = 64 * 1024;
const KILL: i32 = 9;

/// Lives the life of an init; `socket` leads to the supervisor, and `release` becomes readable
/// when the ids of the user namespace are set. `home` are the processors that it is to run on when it
/// was set aside for its beginning. A `prelude` is done unasked.
pub fn main(
    socket: Fd,
    release: Fd,
    prelude: Option<&Prelude>,
    home: Option<&sys::Processors>,
) -> ! {
    // For the init itself, too: a launcher may ignore SIGCHLD, which would have the kernel reap the
    // program unseen. What the init has, its program starts with.
    (1..=64).for_each(sys::default_signal);
    sys::block_signals();
    sys::umask(0);
    let mut byte = [0];
    if sys::read(release, &mut byte) != Ok(1) {
        sys::exit(1);
    }
    let status = i32::from(live(sys::keep_only(socket), prelude, home).is_err());
    sys::exit(status)
}

/// The same in a template, which is an init itself and so has all that one begins with. `socket` is
/// the only descriptor.
pub(crate) fn main_in_template(socket: Fd, prelude: Option<&Prelude>) -> ! {
    let status = i32::from(live_in_template(socket, prelude).is_err());
    sys::exit(status)
}

fn live(socket: Fd, prelude: Option<&Prelude>, home: Option<&sys::Processors>) -> Result<()> {
    let mut cell = Cell::new(Laps::new()?, home.copied());
    if let Some(prelude) = prelude {
        let done = cell.begin(prelude);
        answer(socket, &cell, done, false)?;
    }
    let mut fds = [Fd(-1); MAX_FDS];
    let (list, count) = open(socket, &mut cell, &mut fds)?;
    // It goes on where it is, but nobody that it starts is bound to that.
    home.map_or(Ok(()), |home| home.confine(0))?;
    live_on(socket, cell, list, fds, count)
}

/// Does what its supervisor may know before it knows all the steps, and takes in the rest of them.
fn open(
    socket: Fd,
    cell: &mut Cell,
    fds: &mut [Fd; MAX_FDS],
) -> Result<(&'static mut [u8], usize)> {
    match wire::receive(socket, fds)? {
        Some((message, 0)) if message.kind == Kind::Opening => {
            let done = cell.open(message.body);
            answer(socket, cell, done, false)?;
            expect(socket, Kind::Cell, fds)
        }
        Some((message, count)) if message.kind == Kind::Cell => Ok((message.body, count)),
        _ => Err(Errno::PROTO),
    }
}

/// The ids of its namespace are set by now.
fn live_in_template(socket: Fd, prelude: Option<&Prelude>) -> Result<()> {
    let mut fds = [Fd(-1); MAX_FDS];
    let (list, count) = expect(socket, Kind::Cell, &mut fds)?;
    let mut cell = Cell::new(Laps::new()?, None);
    if let Some(prelude) = prelude {
        let done = cell.begin(prelude);
        answer(socket, &cell, done, false)?;
    }
    live_on(socket, cell, list, fds, count)
}

fn live_on(
    socket: Fd,
    mut cell: Cell,
    list: &[u8],
    mut fds: [Fd; MAX_FDS],
    count: usize,
) -> Result<()> {
    let done = cell.build(list, fds, count);
    answer(socket, &cell, done, true)?;
    // Whatever does not need to know the program is done before somebody waits for it.
    let stack = sys::map(STACK_LEN)?;
    touch(stack);
    let children = sys::dup_above(sys::signalfd(nr::SIGCHLD)?, ABOVE)?;
    let Order { socket, list, count, stdio } = stage_until_program(socket, &cell, &mut fds)?;
    let fds = fds.get(..count).unwrap_or(&[]);
    let line = Line { socket, children };
    live_with_program(&line, list, streams(fds, stdio), stack, &cell)?;
    // The end of an init keeps a processor for longer than it takes to hear that the program has ended.
    sys::give_way_once();
    if cell.shared.is_some() { linger(socket) } else { Ok(()) }
}

/// What an init listens to.
struct Line {
    /// Where its supervisor speaks.
    socket: Fd,
    /// Where the kernel says that a child has ended.
    children: Fd,
}

/// Keeps the mounts of an empty cell until the supervisor, which still looks at them, hangs up.
fn linger(socket: Fd) -> Result<()> {
    let mut fds = [Fd(-1); MAX_FDS];
    while wire::receive(socket, &mut fds)?.is_some() {}
    Ok(())
}

/// The next message, which must be of that kind; the end of the stream is the supervisor's end.
fn expect(socket: Fd, kind: Kind, fds: &mut [Fd; MAX_FDS]) -> Result<(&'static mut [u8], usize)> {
    match wire::receive(socket, fds)? {
        Some((message, count)) if message.kind == kind => Ok((message.body, count)),
        _ => Err(Errno::PROTO),
    }
}

/// Has the kernel give the page of a stack that is used first.
fn touch(stack: &mut [u8]) {
    if let Some(first) = stack.last_mut() {
        // What is never read would not have to be written.
        *core::hint::black_box(first) = 0;
    }
}

/// The order to start a program.
struct Order {
    /// Where the line to the supervisor is by now.
    socket: Fd,
    /// The steps of the program.
    list: &'static mut [u8],
    /// How many descriptors came with it.
    count: usize,
    /// Whether its streams came before, and are at their numbers.
    stdio: bool,
}

/// Takes in what a program will need, until it is to be started.
fn stage_until_program(mut socket: Fd, cell: &Cell, fds: &mut [Fd; MAX_FDS]) -> Result<Order> {
    let mut stdio = false;
    loop {
        match wire::receive(socket, fds)? {
            Some((message, 3)) if message.kind == Kind::Stdio && !stdio => {
                socket = sys::dup_above(socket, ABOVE)?;
                place([fds[0], fds[1], fds[2]])?;
                stdio = true;
            }
            Some((message, 1)) if message.kind == Kind::Stage => write_inputs(socket, fds[0])?,
            Some((message, 1)) if message.kind == Kind::Template => {
                let compares = message.body == [1];
                crate::template::main(fds[0], cell.host_proc.ok_or(Errno::PROTO)?, compares)
            }
            Some((message, count)) if message.kind == Kind::Program => {
                return Ok(Order { socket, list: message.body, count, stdio });
            }
            _ => return Err(Errno::PROTO),
        }
    }
}

/// Numbers from here on are in nobody's way.
const ABOVE: i32 = 8;

/// Puts a program's streams where it will have them. They may themselves have these numbers in another
/// order.
fn place(mut stdio: [Fd; 3]) -> Result<()> {
    for fd in &mut stdio {
        let moved = sys::dup_above(*fd, ABOVE)?;
        sys::close(*fd);
        *fd = moved;
    }
    for (number, fd) in (0..).zip(stdio) {
        sys::dup_onto(fd, Fd(number))?;
        sys::close(fd);
    }
    Ok(())
}

/// The program's streams, if it gets no terminal: those that came with it go before those that came
/// earlier.
fn streams(fds: &[Fd], placed: bool) -> Option<[Fd; 3]> {
    match (fds, placed) {
        (&[stdin, stdout, stderr], _) => Some([stdin, stdout, stderr]),
        (&[stdin], true) => Some([stdin, Fd(1), Fd(2)]),
        (&[], true) => Some([Fd(0), Fd(1), Fd(2)]),
        _ => None,
    }
}

fn write_inputs(socket: Fd, stream: Fd) -> Result<()> {
    let mut path = Buffer::<PATH_MAX>::new();
    let staged = stage(stream, &mut path);
    sys::close(stream);
    let Err(errno) = staged else {
        return wire::send(socket, Kind::Staged, &[], None);
    };
    let mut body = Buffer::<{ PATH_MAX + 4 }>::new();
    errno.0.put(&mut body);
    body.put(path.bytes());
    wire::send(socket, Kind::StageFailed, body.bytes(), None)?;
    Err(errno)
}

/// Tells the supervisor that a step failed, or that the cell stands when that was the last of them.
fn answer(
    socket: Fd,
    cell: &Cell,
    done: core::result::Result<(), StepError>,
    last: bool,
) -> Result<()> {
    match done {
        Ok(()) if last => {
            if let Some(changes) = cell.changes {
                wire::send(socket, Kind::Changes, &[], Some(changes))?;
                // The program is not to find it among its descriptors.
                sys::close(changes);
            }
            if let Some(root) = cell.shared {
                wire::send(socket, Kind::Root, &[], Some(root))?;
                // The program is not to find it among its descriptors.
                sys::close(root);
            }
            if let Some(mounts) = cell.mounts {
                wire::send(socket, Kind::Mounts, &[], Some(mounts))?;
                sys::close(mounts);
            }
            wire::send(socket, Kind::Ready, cell.laps.bytes(), None)
        }
        Ok(()) => Ok(()),
        Err(error) => {
            fail(socket, Kind::CellFailed, error, false)?;
            Err(error.errno)
        }
    }
}

fn fail(socket: Fd, kind: Kind, error: StepError, interpreter: bool) -> Result<()> {
    let mut body = Buffer::<16>::new();
    Failure { index: error.index, errno: error.errno.0, interpreter }.encode(&mut body);
    wire::send(socket, kind, body.bytes(), None)
}

/// A program that was started.
struct Program {
    pid: i32,
    start: &'static Start<'static>,
    /// Since when it is about to run.
    since: u64,
    /// What is kept open for it, until it runs for sure.
    kept: Option<Kept>,
}

/// Descriptors that only a program about to be started needs.
struct Kept {
    stdio: [Fd; 3],
    ruleset: Option<Fd>,
}

/// Starts the program, watches it, and says that it was started and how it ended.
fn live_with_program(
    line: &Line,
    list: &'static [u8],
    streams: Option<[Fd; 3]>,
    stack: &'static mut [u8],
    cell: &Cell,
) -> Result<()> {
    let (stdio, controller) = stdio(list, streams).map_err(|errno| unable(line, errno))?;
    let start = Start::new(list, stdio, cell.ruleset);
    let kept = Kept { stdio, ruleset: cell.ruleset };
    if start.asks() {
        let watched = Watched::new(start, STACK_LEN).map_err(|errno| unable(line, errno))?;
        kept.close();
        let pid = watched.started().map_err(|failed| not_started(line, failed))?;
        let mut program = Program { pid, start: watched.start(), since: sys::now(), kept: None };
        program.announce(line, controller);
        let reaped = watch(line, &mut program);
        return finish(line, None, reaped, watched.denial(), &cell.before);
    }
    let start = sys::keep(start).map_err(|errno| unable(line, errno))?;
    let pid = start.begin(stack).map_err(|errno| unable(line, errno))?;
    let mut program = Program { pid, start, since: sys::now(), kept: Some(kept) };
    if controller.is_some() {
        program.settle(line, controller);
    }
    let reaped = watch(line, &mut program);
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

/// Says that the program could not even be tried.
fn unable(line: &Line, errno: Errno) -> Errno {
    not_started(line, NotStarted { error: StepError { index: 0, errno }, interpreter: false })
}

/// Says which step failed.
fn not_started(line: &Line, NotStarted { error, interpreter }: NotStarted) -> Errno {
    let _ = fail(line.socket, Kind::ProgramFailed, error, interpreter);
    error.errno
}

type News = Buffer<{ 8 + 4 * crate::program::MAX_LAPS }>;

impl Program {
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
        let steps: u64 = self.start.laps().map(u64::from).sum();
        let age = sys::now().saturating_sub(self.since).saturating_sub(steps);
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
struct Reaped {
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
        let mut watched = [PollFd::readable(line.socket), PollFd::readable(line.children)];
        match sys::poll(&mut watched) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let [from_supervisor, from_children] = watched;
        if from_children.revents != 0
            && let Some(reaped) = reap(line.children, program.pid)?
        {
            return Ok(reaped);
        }
        if from_supervisor.revents != 0 {
            match wire::receive(line.socket, &mut fds)? {
                Some((Message { kind: Kind::Ask, .. }, _)) => program.settle(line, None),
                Some((message, _)) => obey(&message, program.pid),
                None => abandon(program.pid),
            }
        }
    }
}

/// The supervisor is gone: so is everything here. As process 1 it is enough to exit.
fn abandon(program: i32) -> ! {
    kill_group(program);
    kill_all();
    sys::exit(1)
}

fn obey(message: &Message, program: i32) {
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
fn kill_group(program: i32) {
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
