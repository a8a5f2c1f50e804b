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
    /// Where the filter asks, or -1.
    listener: AtomicI32,
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
            listener: AtomicI32::new(-1),
            laps: [const { AtomicU32::new(0) }; MAX_LAPS],
        }
    }

    /// Starts the program; its process id once it executes.
    ///
    /// # Errors
    /// The step that failed; the process is gone then, but has still to be waited for.
    pub fn run(&self, stack: &mut [u8]) -> core::result::Result<i32, NotStarted> {
        self.outcome(sys::vfork(stack, false, enter, self))
    }

    /// What came of the clone.
    pub(crate) fn outcome(&self, cloned: Result<i32>) -> core::result::Result<i32, NotStarted> {
        let pid = cloned.map_err(|errno| NotStarted {
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

    /// Clones the process that becomes the program, which shares this thread's descriptors until
    /// then: a listener of its filter is among them afterwards.
    ///
    /// # Errors
    /// Those of `clone3(2)`.
    pub(crate) fn run_sharing(&self, stack: &mut [u8]) -> Result<i32> {
        sys::vfork(stack, true, enter, self)
    }

    /// Where the program's filter asks, if it has been installed and asks.
    pub(crate) fn listener(&self) -> Option<Fd> {
        Some(Fd(self.listener.load(Relaxed))).filter(|fd| fd.0 >= 0)
    }

    /// Whether the program's filter is to ask.
    pub(crate) fn asks(&self) -> bool {
        let mut steps = Steps(Reader::new(self.list));
        steps.any(|step| matches!(step, Step::Filter { asking, .. } if !asking.is_empty()))
    }

    /// Nanoseconds of every step that was done.
    pub fn laps(&self) -> impl Iterator<Item = u32> {
        self.laps.iter().map(|lap| lap.load(Relaxed)).take_while(|&lap| lap != 0)
    }

    fn go(&self) -> StepError {
        let mut laps = self.laps.iter();
        let mut index = 0;
        let mut then = sys::now();
        let mut image = None;
        for step in Steps(Reader::new(self.list)) {
            // Whatever takes a system call is done before there is a filter: it may kill for it.
            if let (None, Step::Filter { .. } | Step::Exec { .. }) = (&image, &step) {
                match self.image() {
                    Ok(found) => image = Some(found),
                    Err(errno) => return StepError { index, errno },
                }
                then = sys::now();
            }
            if let (Step::Exec { .. }, Some(image)) = (&step, &image) {
                // The last lap is noted before the execution, which does not come back.
                note(laps.next(), 1);
                return StepError { index, errno: self.execute(image) };
            }
            if let Err(errno) = self.apply(&step) {
                return StepError { index, errno };
            }
            let now = if step.is_timed() { sys::now() } else { then };
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
            Step::UnblockSignals {} => {
                sys::unblock_signals();
                Ok(())
            }
            Step::Umask { mask } => {
                sys::umask(mask);
                Ok(())
            }
            Step::Chdir { path } => sys::chdir(path),
            Step::Nice { value } => sys::give_way(value),
            Step::Rlimit { resource, soft, hard } => sys::set_rlimit(resource, soft, hard),
            Step::RestrictSelf {} => sys::landlock_restrict(self.ruleset.ok_or(Errno::INVAL)?),
            Step::CloseFds {} => sys::close_range(3, u32::MAX),
            Step::Filter { instructions, asking, flags, .. } => {
                self.set_filter(instructions, asking, flags)
            }
            _ => Err(Errno::INVAL),
        }
    }

    /// Moves the three out of the way first: they may themselves be 0, 1 and 2 in another order.
    fn set_stdio(&self) -> Result<()> {
        if self.stdio == [Fd(0), Fd(1), Fd(2)] {
            return Ok(());
        }
        let mut moved = [Fd(-1); 3];
        for (to, &from) in moved.iter_mut().zip(&self.stdio) {
            *to = sys::dup_above(from, 3)?;
        }
        for (number, fd) in (0..).zip(moved) {
            sys::dup_onto(fd, Fd(number))?;
        }
        Ok(())
    }

    /// Where the kernel refuses a listener, because an outer supervisor has one or no descriptor is
    /// left, the filter kills by itself, and nobody learns for which call.
    fn set_filter(&self, instructions: &[u8], asking: &[u8], flags: u32) -> Result<()> {
        if !asking.is_empty()
            && let Ok(listener) = sys::set_listening_filter(asking, flags)
        {
            self.listener.store(listener.0, Relaxed);
            return Ok(());
        }
        sys::set_filter(instructions, flags)
    }

    /// What the last step executes.
    fn image(&self) -> Result<Image<'a>> {
        let last = Steps(Reader::new(self.list)).last();
        let Some(Step::Exec { candidates, args, env }) = last else { return Err(Errno::PROTO) };
        let mut missing = 0;
        for (at, path) in candidates.iter().enumerate().take(MAX_LOOKED_UP) {
            if let Err(Errno::NOENT | Errno::NOTDIR) = sys::exists(path) {
                missing |= 1 << at;
            }
        }
        Ok(Image { candidates, missing, argv: pointers(args)?, envp: pointers(env)? })
    }

    /// Tries each candidate as `execvp(3)` does: one that does not exist is passed over, one that
    /// may not be executed is remembered.
    fn execute(&self, image: &Image<'_>) -> Errno {
        let mut verdict = Errno::NOENT;
        for (at, path) in image.candidates.iter().enumerate() {
            if at < MAX_LOOKED_UP && image.missing & (1 << at) != 0 {
                continue;
            }
            match sys::execve(path, image.argv, image.envp) {
                Errno::NOENT | Errno::NOTDIR if at < MAX_LOOKED_UP => {
                    self.interpreter.store(true, Relaxed);
                    return Errno::NOENT;
                }
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCES => verdict = Errno::ACCES,
                errno => return errno,
            }
        }
        verdict
    }
}

/// Of how many candidates it is known, when they are executed, whether they exist.
const MAX_LOOKED_UP: usize = 64;

/// What is executed, as far as it can be known before.
struct Image<'a> {
    candidates: Strings<'a>,
    /// One bit for each candidate that does not exist.
    missing: u64,
    argv: &'static [usize],
    envp: &'static [usize],
}

/// The steps of a list; ends early at bytes that hold none.
struct Steps<'a>(Reader<'a>);

impl<'a> Iterator for Steps<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        Step::decode(&mut self.0)
    }
}

impl Step<'_> {
    /// Whether the clock can be read after it.
    const fn is_timed(&self) -> bool {
        !matches!(self, Self::Filter { timed: false, .. })
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
