//! Learns for which system call a program is killed.
//!
//! The kernel tells nobody. So a filter that kills is installed in a form that asks instead, and a
//! thread of the init waits for the question. It never answers: whoever asked is stopped in the
//! middle of its call, and the thread kills every process of the cell.
//!
//! It is a thread, and does nothing but wait, for three reasons. It waits inside the one call that
//! comes back for every question, also for one that was taken back: a program cannot outrun it by
//! having a signal interrupt its call. The program cannot kill it, because it is part of process 1.
//! And it has descriptors of its own: the process that becomes the program shares them until it
//! executes, which is how the listener gets here.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicI32, AtomicU32};

use crate::program::{NotStarted, Start};
use crate::sys::{self, Errno, Fd, PollFd, Result};

const KILL: i32 = 9;

/// A system call that the filter kills for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// Number and calling convention, `AUDIT_ARCH_*`, where they could be learned.
    pub(crate) call: Option<(i32, u32)>,
}

/// A program that is started and watched by a thread.
#[derive(Debug)]
pub(crate) struct Watched {
    start: Start<'static>,
    stack_len: usize,
    /// What the clone returned: a process id, or an errno below zero.
    cloned: AtomicI32,
    stage: AtomicU32,
    number: AtomicI32,
    convention: AtomicU32,
}

/// Stages of a watch, in the order in which they are reached.
const STARTING: u32 = 0;
const STARTED: u32 = 1;
const DENIED: u32 = 2;
const DENIED_CALL_KNOWN: u32 = 3;

impl Watched {
    /// Starts the program from a thread that stays to watch it.
    ///
    /// # Errors
    /// There is no memory or no process left.
    pub(crate) fn new(start: Start<'static>, stack_len: usize) -> Result<&'static Self> {
        let watched = sys::keep(Self {
            start,
            stack_len,
            cloned: AtomicI32::new(0),
            stage: AtomicU32::new(STARTING),
            number: AtomicI32::new(0),
            convention: AtomicU32::new(0),
        })?;
        sys::thread(sys::map(stack_len)?, enter, watched)?;
        while watched.stage.load(Acquire) == STARTING {
            sys::wait_while(&watched.stage, STARTING);
        }
        Ok(watched)
    }

    /// The program that it is about.
    pub(crate) const fn start(&self) -> &Start<'static> {
        &self.start
    }

    /// The process id of the program.
    ///
    /// # Errors
    /// That of the clone, or the step that failed.
    pub(crate) fn started(&self) -> core::result::Result<i32, NotStarted> {
        let cloned = self.cloned.load(Relaxed);
        self.start.outcome(if cloned < 0 { Err(Errno(-cloned)) } else { Ok(cloned) })
    }

    /// What was denied by now.
    pub(crate) fn denial(&self) -> Option<Denial> {
        let call = || (self.number.load(Relaxed), self.convention.load(Relaxed));
        match self.stage.load(Acquire) {
            DENIED => Some(Denial { call: None }),
            DENIED_CALL_KNOWN => Some(Denial { call: Some(call()) }),
            _ => None,
        }
    }

    fn live(&self) -> ! {
        let cloned = sys::map(self.stack_len).and_then(|stack| self.start.run_sharing(stack));
        let listener = self.start.listener();
        keep_only(listener);
        self.cloned.store(cloned.unwrap_or_else(|errno| -errno.0), Relaxed);
        self.stage.store(STARTED, Release);
        sys::wake(&self.stage);
        if let Some(listener) = listener {
            self.watch(listener);
        }
        // It counts as a process of the cell in any case, so that the limit of processes is exact.
        loop {
            let _ = sys::poll(&mut []);
        }
    }

    /// Waits for the first question, or until nobody is left who could ask.
    fn watch(&self, listener: Fd) {
        let stage = loop {
            match sys::asked(listener) {
                Ok((number, convention)) => {
                    self.number.store(number, Relaxed);
                    self.convention.store(convention, Relaxed);
                    break DENIED_CALL_KNOWN;
                }
                Err(Errno::INTR) => {}
                Err(Errno::NOENT) if is_deserted(listener) => return,
                // Whoever asked took it back: a call was denied all the same. Nor shall a program
                // go on where, against all expectation, nobody can hear it.
                Err(_) => break DENIED,
            }
        };
        self.stage.store(stage, Release);
        let _ = sys::kill(-1, KILL);
    }
}

/// Whether everyone under the filter has ended (`POLLHUP`).
fn is_deserted(listener: Fd) -> bool {
    let mut watched = [PollFd::hung_up(listener)];
    sys::poll_now(&mut watched) == Ok(1)
}

/// Closes all descriptors but one. Those of the program are among them: one that was kept here would
/// hold a pipe open.
fn keep_only(kept: Option<Fd>) {
    let Some(kept) = kept.and_then(|fd| u32::try_from(fd.0).ok()) else {
        let _ = sys::close_range(0, u32::MAX);
        return;
    };
    if let Some(below) = kept.checked_sub(1) {
        let _ = sys::close_range(0, below);
    }
    let _ = sys::close_range(kept.saturating_add(1), u32::MAX);
}

extern "C" fn enter(watched: &Watched) -> ! {
    watched.live()
}
