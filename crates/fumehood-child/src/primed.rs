//! A program that is begun before it is known.
//!
//! Whoever will become it is there and has done the first of its steps, which are the same for every program of
//! a kind. Since it listens itself for the rest of them, nobody else has to be woken when they come. As long as they
//! have not, it can be ended, and a program be started that has nothing to do with it.

use crate::program::Start;
use crate::sys::{self, Fd, Result};
use crate::watch::{Kept, Line, Program, Reaped};

const KILL: i32 = 9;

/// A program that may begin unheard.
pub(crate) struct Primed(Program);

impl Primed {
    /// Has it do its first steps; `rest` is where the others come. Its streams are at their numbers.
    pub(crate) fn new(
        list: &'static [u8],
        rest: Fd,
        ruleset: Option<Fd>,
        stack: &'static mut [u8],
    ) -> Result<Self> {
        let stdio = [Fd(0), Fd(1), Fd(2)];
        let start = sys::keep(Start::new(list, stdio, ruleset).with_rest(rest))?;
        let program = Program::begin(start, Kept { stdio, ruleset }, stack)?;
        // Held open here, it would hide the program's end from who sends to it.
        sys::close(rest);
        Ok(Self(program))
    }

    /// Waits until the supervisor says something, or the program has ended: its end.
    pub(crate) fn wait(&self, line: &Line) -> Result<Option<Reaped>> {
        line.wait(self.0.pid)
    }

    /// Whether the rest of its steps has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.start.came().is_some()
    }

    /// The program, which has begun or is about to.
    pub(crate) fn into_program(self) -> Program {
        self.0
    }

    /// Ends it, unless it has ended and been reaped: it was for nothing. Its streams stay.
    pub(crate) fn end(self) -> Result<()> {
        sys::kill(self.0.pid, KILL)?;
        sys::wait_for(self.0.pid)
    }
}
