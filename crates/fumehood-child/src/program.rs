//! Does the steps of a program, in the process that becomes it.
//!
//! That process shares the init's memory until it executes, so a failure is a value in that memory and
//! success is the end of the sharing, which the kernel notes there.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64};

use crate::step::{Reader, Step, StepError, Strings};
use crate::sys::{self, Errno, Fd, MAX_FDS, Result};
use crate::wire::{self, Kind, Message};

/// How many steps of a program are timed.
pub const MAX_LAPS: usize = 64;

/// A program about to be started.
#[derive(Debug)]
pub struct Start<'a> {
    list: &'a [u8],
    /// Where the rest of the steps comes, if it comes later.
    rest: Option<Fd>,
    stdio: [Fd; 3],
    ruleset: Option<Fd>,
    /// When it came, or 0, and how many had been done by then.
    came: AtomicU64,
    ahead: AtomicU32,
    /// Index of the failed step plus one, or 0.
    failed: AtomicU32,
    errno: AtomicI32,
    interpreter: AtomicBool,
    /// Where the filter asks, or -1.
    listener: AtomicI32,
    /// Whether the memory is still shared: the kernel clears it.
    shares: AtomicU32,
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
            rest: None,
            stdio,
            ruleset,
            came: AtomicU64::new(0),
            ahead: AtomicU32::new(0),
            failed: AtomicU32::new(0),
            errno: AtomicI32::new(0),
            interpreter: AtomicBool::new(false),
            listener: AtomicI32::new(-1),
            shares: AtomicU32::new(1),
            laps: [const { AtomicU32::new(0) }; MAX_LAPS],
        }
    }

    /// The same of which only the first steps are known: the rest comes over a socket.
    #[must_use]
    pub(crate) fn with_rest(self, socket: Fd) -> Self {
        Self { rest: Some(socket), ..self }
    }

    /// When the rest of the steps came, and how many had been done by then; none as long as it has not.
    pub(crate) fn came(&self) -> Option<(u64, usize)> {
        let came = Some(self.came.load(Acquire)).filter(|&came| came != 0)?;
        Some((came, usize::try_from(self.ahead.load(Relaxed)).ok()?))
    }

    /// Clones the process that becomes the program, beside this one: its process id.
    ///
    /// # Errors
    /// Those of `clone(2)`.
    pub(crate) fn begin(&'static self, stack: &'static mut [u8]) -> Result<i32> {
        sys::share_told(stack, enter, self, &self.shares)
    }

    /// Waits until that process has executed the program, or has ended.
    pub(crate) fn settle(&self, pid: i32) {
        // Before Linux 5.16 a process that dumps its core leaves the word as it is.
        const MILLISECONDS: u32 = 50;
        while self.shares.load(Acquire) != 0 && !sys::has_ended(pid) {
            sys::wait_for_other(&self.shares, 1, MILLISECONDS);
        }
    }

    /// Why the program did not start, if a step failed.
    pub(crate) fn failure(&self) -> Option<NotStarted> {
        let index = self.failed.load(Acquire).checked_sub(1)?;
        let errno = Errno(self.errno.load(Relaxed));
        let interpreter = self.interpreter.load(Relaxed);
        Some(NotStarted { error: StepError { index, errno }, interpreter })
    }

    /// What came of the clone.
    pub(crate) fn outcome(&self, cloned: Result<i32>) -> core::result::Result<i32, NotStarted> {
        let error = |errno| StepError { index: 0, errno };
        let pid = cloned.map_err(|errno| NotStarted { error: error(errno), interpreter: false })?;
        self.failure().map_or(Ok(pid), Err)
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
        let mut done = Done { laps: self.laps.iter(), index: 0, then: sys::now() };
        match self.follow(self.list, &mut done) {
            Some(error) => error,
            None => self.go_on(&mut done),
        }
    }

    /// Does the rest of the steps, when it comes. Apart from those that have room for it, as most have all
    /// their steps at once.
    #[inline(never)]
    fn go_on(&self, done: &mut Done<'_>) -> StepError {
        let mut room = [0; ROOM];
        match self.receive(&mut room, done.index) {
            Ok(list) => {
                done.then = self.came.load(Relaxed);
                self.follow(list, done).unwrap_or(done.failed(Errno::PROTO))
            }
            Err(errno) => done.failed(errno),
        }
    }

    /// Does the steps of a list; comes back where one failed, or there is none left.
    fn follow(&self, list: &[u8], done: &mut Done<'_>) -> Option<StepError> {
        let mut image = None;
        let mut words = [0; FEW];
        let mut words = Words(&mut words);
        for step in Steps(Reader::new(list)) {
            // Whatever takes a system call is done before there is a filter: it may kill for it.
            if let (None, Step::Filter { .. } | Step::Exec { .. }) = (&image, &step) {
                match find(list, &mut words) {
                    Ok(found) => image = Some(found),
                    Err(errno) => return Some(done.failed(errno)),
                }
                done.then = sys::now();
            }
            if let (Step::Exec { .. }, Some(image)) = (&step, &image) {
                // The last lap is noted before the execution, which does not come back.
                note(done.laps.next(), 1);
                return Some(done.failed(self.execute(image)));
            }
            if let Err(errno) = self.apply(&step) {
                return Some(done.failed(errno));
            }
            done.one(step.is_timed());
        }
        None
    }

    /// Waits for the rest of the steps. With it comes the program's stdin, if it is not what it was.
    fn receive<'r>(&self, room: &'r mut [u8], ahead: u32) -> Result<&'r [u8]> {
        let socket = self.rest.ok_or(Errno::PROTO)?;
        let mut fds = [Fd(-1); MAX_FDS];
        let Some((Message { kind: Kind::Program, body }, count)) =
            wire::receive_into(socket, &mut fds, room)?
        else {
            return Err(Errno::PROTO);
        };
        self.ahead.store(ahead, Relaxed);
        self.came.store(sys::now(), Release);
        if let Some(stdin) = fds.get(..count).and_then(<[Fd]>::first) {
            sys::dup_onto(*stdin, Fd(0))?;
        }
        Ok(body)
    }

    fn apply(&self, step: &Step<'_>) -> Result<()> {
        match *step {
            Step::Terminal { .. } => Ok(()),
            Step::Stdio {} => self.set_stdio(),
            Step::Session {} => sys::setsid(),
            Step::DieWithParent {} => sys::die_with_parent(),
            Step::ControllingTty {} => sys::control_by_terminal(Fd(0)),
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

    /// Tries each candidate as `execvp(3)` does: one that does not exist is passed over, one that
    /// may not be executed is remembered.
    fn execute(&self, image: &Image<'_, '_>) -> Errno {
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

/// How far the steps of a program are.
struct Done<'a> {
    laps: core::slice::Iter<'a, AtomicU32>,
    /// Of the next one.
    index: u32,
    /// When the last one was done.
    then: u64,
}

impl Done<'_> {
    fn one(&mut self, timed: bool) {
        let now = if timed { sys::now() } else { self.then };
        note(self.laps.next(), now.saturating_sub(self.then).max(1));
        self.then = now;
        self.index = self.index.saturating_add(1);
    }

    const fn failed(&self, errno: Errno) -> StepError {
        StepError { index: self.index, errno }
    }
}

/// What the last step of a list executes.
fn find<'a, 'w>(list: &'a [u8], words: &mut Words<'w>) -> Result<Image<'a, 'w>> {
    let last = Steps(Reader::new(list)).last();
    let Some(Step::Exec { candidates, args, env }) = last else { return Err(Errno::PROTO) };
    let mut missing = 0;
    for (at, path) in candidates.iter().enumerate().take(MAX_LOOKED_UP) {
        if let Err(Errno::NOENT | Errno::NOTDIR) = sys::exists(path) {
            missing |= 1 << at;
        }
    }
    Ok(Image { candidates, missing, argv: words.list(args)?, envp: words.list(env)? })
}

/// A rest of steps that is no longer than this needs no memory of its own.
const ROOM: usize = 4096;

/// Of how many candidates it is known, when they are executed, whether they exist.
const MAX_LOOKED_UP: usize = 64;

/// What is executed, as far as it can be known before.
struct Image<'a, 'w> {
    candidates: Strings<'a>,
    /// One bit for each candidate that does not exist.
    missing: u64,
    argv: &'w [usize],
    envp: &'w [usize],
}

/// So many arguments and variables, with the end of each list, need no memory of their own.
const FEW: usize = 64;

/// Zeros that nobody has taken yet.
struct Words<'w>(&'w mut [usize]);

impl<'w> Words<'w> {
    /// The array of addresses that `execve(2)` wants.
    fn list(&mut self, strings: Strings<'_>) -> Result<&'w [usize]> {
        let words = self.take(strings.iter().count().saturating_add(1))?;
        for (word, string) in words.iter_mut().zip(strings.iter()) {
            *word = string.as_ptr() as usize;
        }
        Ok(words)
    }

    fn take(&mut self, count: usize) -> Result<&'w mut [usize]> {
        if count > self.0.len() {
            return sys::map_words(count);
        }
        let (words, left) = core::mem::take(&mut self.0).split_at_mut(count);
        self.0 = left;
        Ok(words)
    }
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

extern "C" fn enter(start: &Start<'_>) -> ! {
    let error = start.go();
    start.errno.store(error.errno.0, Relaxed);
    start.failed.store(error.index.saturating_add(1), Release);
    sys::exit(127)
}
