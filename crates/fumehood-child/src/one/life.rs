//! What process 1 does from its first instruction to its last.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::lookup;
use super::record::{LONGEST_TOKEN, Record};
use super::sys::{self, Started};

/// Where it writes.
const END: &CStr = c"/dev/.fumehood-end";
/// Before the token where the runtime is known to start process 1 with every signal at its default.
const FRESH: &[u8] = b"fresh:";
/// The variable with the word that proves who wrote. The program does not get it, and cannot read it:
/// this process is undumpable, and erases it.
const TOKEN: &[u8] = b"FUMEHOOD_END=";

/// The status of a process 1 that could not write down anything.
pub(super) const NO_RECORD: i32 = 1;
/// The status where the program was not started.
const NOT_STARTED: i32 = 127;

const SIGNALS: usize = 64;
const KILL: usize = 9;
const CHILD: usize = 17;
/// Signals that are passed on: HUP, INT, QUIT, USR1, USR2, TERM, CONT.
const PASSED_ON: [usize; 7] = [1, 2, 3, 10, 12, 15, 18];

/// Starts the program that the arguments name, passes signals on, reaps, and writes down how the program
/// ended when nobody is left who could change what is written. The status to end with: the program's, or
/// 128 and the number of a signal, for whoever has nothing better.
pub(super) fn live(started: Started) -> i32 {
    try_to_live(started).unwrap_or(NO_RECORD)
}

fn try_to_live(Started { args, env }: Started) -> Option<i32> {
    // What follows ends every process that it may end.
    if sys::getpid() != 1 {
        return None;
    }
    sys::become_undumpable().ok()?;
    let mut buffer = [0; LONGEST_TOKEN];
    let (token, env) = take_token(env, &mut buffer)?;
    // Opened before there is anybody else.
    let file = sys::open(END).ok()?;
    let token = match token.strip_prefix(FRESH) {
        Some(token) => token,
        None => {
            // What a runtime ignores or holds back the program must not.
            (1..=SIGNALS).for_each(sys::default_signal);
            token
        }
    };
    sys::hold_back(u64::MAX);
    let end = match start(args.get(1..)?, env) {
        Ok(program) => {
            let status = watch(program);
            kill_all();
            End { status, failure: lookup::Failure::default() }
        }
        Err(failure) => End { status: 0, failure },
    };
    sys::write_over(file, end.record(token)?.bytes()).ok()?;
    Some(end.code())
}

/// Takes the token out of the variables: the last of that name, which only we have set.
fn take_token<'a>(
    env: &'static mut [usize],
    buffer: &'a mut [u8; LONGEST_TOKEN],
) -> Option<(&'a [u8], &'static [usize])> {
    let word = |&address: &usize| sys::string(address).to_bytes().strip_prefix(TOKEN);
    let index = env.iter().rposition(|address| word(address).is_some())?;
    let address = *env.get(index)?;
    let token = word(&address)?;
    let len = token.len();
    for (place, byte) in buffer.iter_mut().zip(token) {
        *place = *byte;
    }
    sys::erase(address);
    // Those behind it move up, the end of the list among them.
    let mut places = env.get_mut(index..)?.iter_mut().peekable();
    while let Some(place) = places.next() {
        *place = places.peek().map_or(0, |next| **next);
    }
    Some((buffer.get(..len)?, env))
}

/// What the process that becomes the program is given, and what it says if it does not become it.
struct Start {
    args: &'static [usize],
    env: &'static [usize],
    errno: AtomicI32,
    interpreter: AtomicBool,
}

/// Starts the program: its process id.
fn start(args: &'static [usize], env: &'static [usize]) -> Result<i32, lookup::Failure> {
    let (errno, interpreter) = (AtomicI32::new(0), AtomicBool::new(false));
    let start = Start { args, env, errno, interpreter };
    let failed = |errno, interpreter| Err(lookup::Failure { errno, interpreter });
    match sys::vfork(become_program, &start) {
        Err(errno) => failed(errno, false),
        Ok(pid) => match start.errno.load(Ordering::Relaxed) {
            0 => Ok(i32::try_from(pid).unwrap_or(0)),
            errno => {
                while sys::wait_any(true).is_ok() {}
                failed(errno, start.interpreter.load(Ordering::Relaxed))
            }
        },
    }
}

extern "C" fn become_program(start: &Start) -> ! {
    sys::lead_group();
    sys::hold_back(0);
    let failure = lookup::execute(start.args, start.env);
    start.interpreter.store(failure.interpreter, Ordering::Relaxed);
    start.errno.store(failure.errno, Ordering::Relaxed);
    sys::exit(NOT_STARTED)
}

/// Passes signals on until the program ends; its wait status.
fn watch(program: i32) -> i32 {
    let bit = |signal: usize| 1u64 << (signal - 1);
    let signals = PASSED_ON.into_iter().map(bit).fold(bit(CHILD), |all, one| all | one);
    loop {
        match sys::next_signal(signals) {
            Ok(CHILD) | Err(_) => {
                if let Some(status) = reap(program) {
                    return status;
                }
            }
            Ok(signal) => sys::kill(-program, signal),
        }
    }
}

/// Reaps those that have ended; the program's status as soon as it is among them.
fn reap(program: i32) -> Option<i32> {
    while let Ok(Some((pid, ended))) = sys::wait_any(false) {
        if pid == program {
            return Some(ended);
        }
    }
    None
}

/// Nobody else may be left when the end is written down.
fn kill_all() {
    const INTERRUPTED: i32 = 4;
    loop {
        sys::kill(-1, KILL);
        match sys::wait_any(true) {
            Ok(_) | Err(INTERRUPTED) => {}
            Err(_) => return,
        }
    }
}

/// How it ended.
struct End {
    /// The wait status of the program.
    status: i32,
    failure: lookup::Failure,
}

impl End {
    /// As the library reads it: wait status, user and system time of all processes in microseconds, peak
    /// memory of the largest in KiB, why the program was not started; and the tag by the token.
    fn record(&self, token: &[u8]) -> Option<Record> {
        let [user, user_rest, system, system_rest, peak] = sys::usage_of_children();
        let whole = |number: i64| u64::try_from(number).unwrap_or(0);
        let time =
            |seconds: i64, rest| whole(seconds.saturating_mul(1_000_000).saturating_add(rest));
        let mut record = Record::new();
        record.number(whole(self.status.into()));
        record.number(time(user, user_rest));
        record.number(time(system, system_rest));
        record.number(whole(peak));
        record.number(whole(self.failure.errno.into()));
        record.number(self.failure.interpreter.into());
        record.end(token)?;
        Some(record)
    }

    fn code(&self) -> i32 {
        match self.status & 0x7f {
            _ if self.failure.errno != 0 => NOT_STARTED,
            0 => (self.status >> 8) & 0xff,
            signal => 128 + signal,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;
    use std::format;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn statuses_are_passed_on_as_shells_do() {
        let code = |status, errno| {
            let failure = lookup::Failure { errno, interpreter: false };
            End { status, failure }.code()
        };
        assert_eq!((code(3 << 8, 0), code(9, 0), code(0, 2)), (3, 137, 127));
    }

    fn leaked(variables: &[&str]) -> &'static mut [usize] {
        let address = |text: &&str| {
            let bytes = format!("{text}\0").into_bytes();
            Box::leak(bytes.into_boxed_slice()).as_ptr() as usize
        };
        let mut env: Vec<_> = variables.iter().map(address).collect();
        env.push(0);
        Vec::leak(env)
    }

    #[test]
    fn the_token_is_taken_and_nothing_else() {
        let env = leaked(&["FUMEHOOD_END=theirs", "FUMEHOOD_END=ours", "PATH=/bin"]);
        let (address, mut buffer) = (env[1], [0; LONGEST_TOKEN]);
        let (token, left) = take_token(env, &mut buffer).unwrap();
        assert_eq!(token, b"ours");
        assert_eq!(sys::string(address), c"", "it is erased");
        let left: Vec<_> = left.iter().map(|address| sys::string(*address)).collect();
        assert_eq!(left, [c"FUMEHOOD_END=theirs", c"PATH=/bin", c"", c""]);
    }

    #[test]
    fn without_a_token_of_ours_there_is_no_life() {
        let mut buffer = [0; LONGEST_TOKEN];
        assert!(take_token(leaked(&["PATH=/bin"]), &mut buffer).is_none());
        let long = format!("FUMEHOOD_END={}", "a".repeat(LONGEST_TOKEN + 1));
        assert!(take_token(leaked(&[&long]), &mut buffer).is_none(), "cut off it proves nothing");
    }

    #[test]
    fn only_process_1_goes_on() {
        let args = [c"init".as_ptr() as usize, 0];
        let env = leaked(&["FUMEHOOD_END=ours"]);
        assert_eq!(live(Started { args: Box::leak(Box::new(args)), env }), NO_RECORD);
    }
}
