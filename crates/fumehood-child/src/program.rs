//! Does the steps of a program, in the process that becomes it.
//!
//! That process shares the init's memory until it executes ([`sys::vfork`]), so a failure is a
//! value in that memory and success is the end of the sharing.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::Relaxed};

use linux_raw_sys::{ioctl, prctl as pr};

use crate::step::{Reader, Step, StepError, Strings};
use crate::sys::{self, Errno, Fd, Result};

/// How many steps of a program are timed.
pub const MAX_LAPS: usize = 64;

/// A program about to be started.
#[derive(Debug)]
pub struct Start<'a> {
    list: &'a [u8],
    stdio: [Fd; 3],
    ruleset: Option<Fd>,
    /// Index of the failed step plus one, or 0.
    failed: AtomicU32,
    errno: AtomicI32,
    interpreter: AtomicBool,
    laps: [AtomicU32; MAX_LAPS],
}

/// Why a program did not start.
#[derive(Clone, Copy, Debug)]
pub struct NotStarted {
    /// The step and the errno.
    pub error: StepError,
    /// Whether the program's file exists although the execution said `ENOENT`.
    pub interpreter: bool,
}

impl<'a> Start<'a> {
    /// A program from its encoded steps.
    #[must_use]
    pub fn new(list: &'a [u8], stdio: [Fd; 3], ruleset: Option<Fd>) -> Self {
        Self {
            list,
            stdio,
            ruleset,
            failed: AtomicU32::new(0),
            errno: AtomicI32::new(0),
            interpreter: AtomicBool::new(false),
            laps: [const { AtomicU32::new(0) }; MAX_LAPS],
        }
    }

    /// Starts the program; its process id once it executes.
    ///
    /// # Errors
    /// The step that failed; the process is gone then, but has still to be waited for.
    pub fn run(&self, stack: &mut [u8]) -> core::result::Result<i32, NotStarted> {
        let pid = sys::vfork(stack, enter, self).map_err(|errno| NotStarted {
            error: StepError { index: 0, errno },
            interpreter: false,
        })?;
        match self.failed.load(Relaxed).checked_sub(1) {
            None => Ok(pid),
            Some(index) => Err(NotStarted {
                error: StepError { index, errno: Errno(self.errno.load(Relaxed)) },
                interpreter: self.interpreter.load(Relaxed),
            }),
        }
    }

    /// Nanoseconds of every step that was done.
    pub fn laps(&self) -> impl Iterator<Item = u32> {
        self.laps.iter().map(|lap| lap.load(Relaxed)).take_while(|&lap| lap != 0)
    }

    fn go(&self) -> StepError {
        let mut reader = Reader::new(self.list);
        let mut laps = self.laps.iter();
        let mut index = 0;
        let mut then = sys::now();
        while let Some(step) = Step::decode(&mut reader) {
            if let Step::Exec { .. } = step {
                // The last lap is noted before the execution, which does not come back.
                note(laps.next(), 1);
            }
            if let Err(errno) = self.apply(&step) {
                return StepError { index, errno };
            }
            let now = sys::now();
            note(laps.next(), now.saturating_sub(then).max(1));
            then = now;
            index = index.saturating_add(1);
        }
        StepError { index, errno: Errno::PROTO }
    }

    fn apply(&self, step: &Step<'_>) -> Result<()> {
        match *step {
            Step::Terminal { .. } => Ok(()),
            Step::Stdio {} => self.set_stdio(),
            Step::Session {} => sys::setsid(),
            Step::DieWithParent {} => sys::prctl(pr::PR_SET_PDEATHSIG, 9, 0).map(drop),
            Step::ControllingTty {} => sys::ioctl(Fd(0), ioctl::TIOCSCTTY, 0).map(drop),
            Step::ResetSignals {} => {
                sys::reset_signals();
                Ok(())
            }
            Step::Umask { mask } => {
                sys::umask(mask);
                Ok(())
            }
            Step::Chdir { path } => sys::chdir(path),
            Step::Rlimit { resource, soft, hard } => sys::set_rlimit(resource, soft, hard),
            Step::RestrictSelf {} => sys::landlock_restrict(self.ruleset.ok_or(Errno::INVAL)?),
            Step::CloseFds {} => sys::close_range(3, u32::MAX),
            Step::Filter { instructions, flags } => sys::set_filter(instructions, flags),
            Step::Exec { candidates, args, env } => Err(self.execute(candidates, args, env)),
            _ => Err(Errno::INVAL),
        }
    }

    /// Moves the three out of the way first: they may themselves be 0, 1 and 2 in another order.
    fn set_stdio(&self) -> Result<()> {
        let mut moved = [Fd(-1); 3];
        for (to, &from) in moved.iter_mut().zip(&self.stdio) {
            *to = sys::dup_above(from, 3)?;
        }
        for (number, fd) in (0..).zip(moved) {
            sys::dup_onto(fd, Fd(number))?;
        }
        Ok(())
    }

    /// Tries each candidate as `execvp(3)` does: one that does not exist is passed over, one that
    /// may not be executed is remembered.
    fn execute(&self, candidates: Strings<'_>, args: Strings<'_>, env: Strings<'_>) -> Errno {
        let (argv, envp) = match (pointers(args), pointers(env)) {
            (Ok(argv), Ok(envp)) => (argv, envp),
            (Err(errno), _) | (_, Err(errno)) => return errno,
        };
        let mut verdict = Errno::NOENT;
        for path in candidates.iter() {
            match sys::execve(path, argv, envp) {
                Errno::NOENT | Errno::NOTDIR => {
                    if sys::exists(path) {
                        self.interpreter.store(true, Relaxed);
                        return Errno::NOENT;
                    }
                }
                Errno::ACCES => verdict = Errno::ACCES,
                errno => return errno,
            }
        }
        verdict
    }
}

fn note(lap: Option<&AtomicU32>, nanoseconds: u64) {
    if let Some(lap) = lap {
        lap.store(u32::try_from(nanoseconds).unwrap_or(u32::MAX), Relaxed);
    }
}

/// The array of addresses that `execve(2)` wants.
fn pointers(strings: Strings<'_>) -> Result<&'static [usize]> {
    let words = sys::map_words(strings.iter().count().saturating_add(1))?;
    for (word, string) in words.iter_mut().zip(strings.iter()) {
        *word = string.as_ptr() as usize;
    }
    Ok(words)
}

extern "C" fn enter(start: &Start<'_>) -> ! {
    let error = start.go();
    start.errno.store(error.errno.0, Relaxed);
    start.failed.store(error.index.saturating_add(1), Relaxed);
    sys::exit(127)
}
