//! The init of a cell: process 1 of its namespace, parent of the program, reaper of orphans.
//!
//! It builds the cell, parks until a program is sent, starts it, passes signals on, and says how
//! it ended. Its end is the end of everything in the cell, and it ends when its supervisor does.

use linux_raw_sys::general as nr;

use crate::cell::{Cell, Laps};
use crate::launch::Farewell;
use crate::prelude::Prelude;
use crate::primed::Primed;
use crate::stage::{PATH_MAX, stage};
use crate::step::{Field, Sink, StepError};
use crate::sys::{self, Errno, Fd, MAX_FDS, Result};
use crate::template::{self, Lent};
use crate::watch::{self, Heard, Line, Program, live_with_program};
use crate::wire::{self, Buffer, Failure, Kind};

pub(crate) const STACK_LEN: usize = 64 * 1024;

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
    sys::default_signals();
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
pub(crate) fn main_in_template(
    socket: Fd,
    prelude: Option<&Prelude>,
    farewell: Option<Farewell>,
) -> ! {
    let status = i32::from(live_in_template(socket, prelude, farewell).is_err());
    sys::exit(status)
}

fn live(socket: Fd, prelude: Option<&Prelude>, home: Option<&sys::Processors>) -> Result<()> {
    let mut cell = Cell::new(Laps::new()?, home);
    if let Some(prelude) = prelude {
        let done = cell.begin(prelude);
        answer(socket, &cell, done, false)?;
    }
    let list = open(socket, &mut cell)?;
    // It goes on where it is, but nobody that it starts is bound to that.
    home.map_or(Ok(()), |home| home.confine(0))?;
    live_on(socket, &mut cell, list, None)
}

/// Does what its supervisor may know before it knows all the steps, and takes in the rest of them.
fn open(socket: Fd, cell: &mut Cell<'_>) -> Result<&'static [u8]> {
    match wire::receive(socket, &mut cell.fds)? {
        Some((message, 0)) if message.kind == Kind::Opening => {
            let done = cell.open(message.body);
            answer(socket, cell, done, false)?;
            expect_list(socket, cell)
        }
        Some((message, count)) if message.kind == Kind::Cell => {
            cell.count = count;
            Ok(message.body)
        }
        _ => Err(Errno::PROTO),
    }
}

/// The ids of its namespace are set by now.
fn live_in_template(
    socket: Fd,
    prelude: Option<&Prelude>,
    farewell: Option<Farewell>,
) -> Result<()> {
    let mut cell = Cell::new(Laps::new()?, None);
    let list = expect_list(socket, &mut cell)?;
    if let Some(prelude) = prelude {
        let done = cell.begin(prelude);
        answer(socket, &cell, done, false)?;
    }
    live_on(socket, &mut cell, list, farewell)
}

/// By reference, as all that takes room: what is on a stack is a page of each init's own.
fn live_on(socket: Fd, cell: &mut Cell<'_>, list: &[u8], farewell: Option<Farewell>) -> Result<()> {
    let done = cell.build(list);
    if let Some(farewell) = farewell {
        farewell.arrange();
    }
    answer(socket, cell, done, true)?;
    // Whatever does not need to know the program is done before somebody waits for it.
    let stack = sys::map(STACK_LEN)?;
    touch(stack);
    let told = sys::signalfd(nr::SIGCHLD)?;
    let children = sys::dup_above(told, ABOVE)?;
    sys::close(told);
    let mut line = Line { socket, children };
    match stage_until_program(&mut line, stack, cell)? {
        Order::Start { list, count, stdio, stack } => {
            let streams = streams(cell.fds.get(..count).unwrap_or(&[]), stdio);
            live_with_program(&line, list, streams, stack, cell)?;
        }
        Order::Watch(program, heard) => watch::live_on(&line, program, Some(heard), cell)?,
    }
    // The end of an init keeps a processor for longer than it takes to hear that the program has ended.
    sys::give_way_once();
    if cell.shared.is_some() { linger(line.socket, &mut cell.fds) } else { Ok(()) }
}

/// Keeps the mounts of an empty cell until the supervisor, which still looks at them, hangs up.
fn linger(socket: Fd, fds: &mut [Fd; MAX_FDS]) -> Result<()> {
    while wire::receive(socket, fds)?.is_some() {}
    Ok(())
}

/// The steps of the cell; the end of the stream is the supervisor's end.
fn expect_list(socket: Fd, cell: &mut Cell<'_>) -> Result<&'static [u8]> {
    match wire::receive(socket, &mut cell.fds)? {
        Some((message, count)) if message.kind == Kind::Cell => {
            cell.count = count;
            Ok(message.body)
        }
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

/// What there is to do with a program.
enum Order {
    /// Start it.
    Start {
        /// Its steps.
        list: &'static mut [u8],
        /// How many descriptors came with them.
        count: usize,
        /// Whether its streams came before, and are at their numbers.
        stdio: bool,
        /// For whoever becomes it.
        stack: &'static mut [u8],
    },
    /// It has begun unheard. What has been heard since then.
    Watch(Program, Heard<'static>),
}

/// Takes in what a program will need, until it is to be started, or has begun.
fn stage_until_program(
    line: &mut Line,
    stack: &'static mut [u8],
    cell: &mut Cell<'_>,
) -> Result<Order> {
    let mut stdio = false;
    let mut stack = Some(stack);
    let mut primed: Option<Primed> = None;
    loop {
        if let Some(reaped) = primed.as_ref().map_or(Ok(None), |primed| primed.wait(line))? {
            if let Some(one) = primed.take().filter(Primed::has_begun) {
                return Ok(Order::Watch(one.into_program(), Heard::End(reaped)));
            }
            // A step has failed, which it will do again when somebody wants to know of it.
            cell.before = sys::rusage_children();
        }
        let Some((message, count)) = wire::receive(line.socket, &mut cell.fds)? else {
            return Err(Errno::PROTO);
        };
        if let Some(one) = primed.take() {
            if let Kind::Ask | Kind::Signal = message.kind {
                return Ok(Order::Watch(one.into_program(), Heard::Message(message)));
            }
            one.end()?;
            // It is in no account of the program's.
            cell.before = sys::rusage_children();
        }
        match (message.kind, count) {
            (Kind::Stdio, 3) if !stdio => {
                let [first, second, third, ..] = cell.fds;
                line.socket = sys::dup_above(line.socket, ABOVE)?;
                place([first, second, third])?;
                stdio = true;
            }
            (Kind::Prime, 1) if stdio => {
                let stack = stack.take().ok_or(Errno::PROTO)?;
                primed = Some(Primed::new(message.body, cell.fds[0], cell.ruleset, stack)?);
            }
            (Kind::Stage, 1) => write_inputs(line.socket, cell.fds[0])?,
            (Kind::Template, 1) => {
                let lent = Lent::decode(message.body);
                template::main(cell.fds[0], cell.host_proc.ok_or(Errno::PROTO)?, lent)
            }
            (Kind::Program, count) => {
                let stack = match stack {
                    Some(stack) => stack,
                    // The first was for who has been ended.
                    None => sys::map(STACK_LEN)?,
                };
                return Ok(Order::Start { list: message.body, count, stdio, stack });
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

/// Apart from those that have room for it, most of whom have no use for it.
#[cold]
#[inline(never)]
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
    cell: &Cell<'_>,
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

pub(crate) fn fail(socket: Fd, kind: Kind, error: StepError, interpreter: bool) -> Result<()> {
    let mut body = Buffer::<16>::new();
    Failure { index: error.index, errno: error.errno.0, interpreter }.encode(&mut body);
    wire::send(socket, kind, body.bytes(), None)
}
