//! Process 1 of the containers that runtimes make.
//!
//! A runtime ends with the status of the program, or with 128 and the number of a signal: which of
//! the two it was is lost. And a program that is process 1 itself is no program as others are: no
//! signal ends it that it does not handle, and orphans are its business. So process 1 is this very
//! binary. It starts the program, passes signals on, reaps, and writes down how the program ended when
//! nobody is left who could change what is written.
//!
//! That takes a binary without a dynamic linker, which no root but the host's would have. Where there
//! is none, the program is process 1, and a status above 128 counts as a signal.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use fumehood_child::sys::{self, Errno, Fd, PollFd};
use serde::{Deserialize, Serialize};

/// Where it is in a container.
pub(crate) const INIT: &str = "/dev/.fumehood-init";
/// Where it writes.
pub(crate) const END: &str = "/dev/.fumehood-end";
/// The variable with the word that proves who wrote. Nobody in the container can read it: process 1
/// is undumpable, and so is its environment (`proc(5)`).
pub(crate) const TOKEN: &str = "FUMEHOOD_END";

/// What it writes down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    token: String,
    /// The wait status of the program.
    pub(crate) status: i32,
    /// User CPU time of all processes, in microseconds.
    pub(crate) user_us: u64,
    /// System CPU time of all processes, in microseconds.
    pub(crate) system_us: u64,
    /// Peak memory of the largest process, in KiB.
    pub(crate) maxrss_kib: u64,
    /// Why the program was not started: what `execve(2)` said, or 0.
    pub(crate) errno: i32,
    /// Whether it was for lack of an interpreter.
    pub(crate) interpreter: bool,
}

impl End {
    /// What was written, if it was process 1 that wrote.
    pub(crate) fn read(text: &str, token: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|end: &Self| end.token == token)
    }
}

/// Turns this process into process 1 of a container, if that is what it was started as.
pub(crate) fn become_one() {
    let mut args = std::env::args_os();
    if args.next().is_some_and(|name| name == INIT)
        && let Ok(token) = std::env::var(TOKEN)
    {
        let status = live(token, &args.collect::<Vec<_>>()).unwrap_or(1);
        sys::exit(status);
    }
}

/// Signals that are passed on, after the one that says that a child has ended.
const SIGNALS: [u32; 8] = [17, 1, 2, 3, 10, 12, 15, 18];

fn live(token: String, args: &[std::ffi::OsString]) -> io::Result<i32> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // Opened before there is anybody else.
    let file = File::options().write(true).open(END)?;
    // What a runtime ignores or holds back the program must not.
    (1..=64).for_each(sys::default_signal);
    sys::block_signals();
    let mut fds = [Fd(-1); SIGNALS.len()];
    for (fd, signal) in fds.iter_mut().zip(SIGNALS) {
        *fd = sys::signalfd(signal).map_err(|errno| io::Error::from_raw_os_error(errno.0))?;
    }
    let (program, rest) = args.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    // The program starts with the mask that this process has, so nothing is held back for a moment:
    // process 1 loses a signal rather than dying of it, and a child that has ended is looked for.
    sys::unblock_signals();
    let started = Command::new(program).args(rest).env_remove(TOKEN).process_group(0).spawn();
    sys::block_signals();
    let mut end = End { token, ..End::default() };
    match started {
        Ok(child) => {
            let pid = i32::try_from(child.id()).unwrap_or(0);
            end.status = watch(pid, &fds)?;
            kill_all();
        }
        Err(error) => {
            end.errno = error.raw_os_error().unwrap_or(Errno::INVAL.0);
            end.interpreter = error.kind() == io::ErrorKind::NotFound && is_there(program.as_ref());
        }
    }
    let usage = sys::rusage_children();
    end.user_us = microseconds(usage.user);
    end.system_us = microseconds(usage.system);
    end.maxrss_kib = u64::try_from(usage.maxrss).unwrap_or(0);
    write(file, &end)?;
    Ok(code(&end))
}

/// Passes signals on until the program ends; its wait status.
fn watch(program: i32, fds: &[Fd; SIGNALS.len()]) -> io::Result<i32> {
    if let Some(status) = reap(program) {
        return Ok(status);
    }
    loop {
        let mut watched = fds.map(PollFd::readable);
        match sys::poll(&mut watched) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(io::Error::from_raw_os_error(errno.0)),
        }
        for ((seen, fd), signal) in watched.iter().zip(fds).zip(SIGNALS) {
            if seen.revents == 0 {
                continue;
            }
            let mut drained = [0u8; 128];
            let _ = sys::read(*fd, &mut drained);
            if signal != SIGNALS[0] {
                let _ = sys::kill(-program, signal.cast_signed());
            } else if let Some(status) = reap(program) {
                return Ok(status);
            }
        }
    }
}

/// Reaps all that have ended; the program's status if it is among them.
fn reap(program: i32) -> Option<i32> {
    let mut status = None;
    while let Ok(Some((pid, ended))) = sys::wait_any(false) {
        if pid == program {
            status = Some(ended);
        }
    }
    status
}

/// Nobody else may be left when the end is written down.
fn kill_all() {
    const KILL: i32 = 9;
    loop {
        let _ = sys::kill(-1, KILL);
        match sys::wait_any(true) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn is_there(program: &Path) -> bool {
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return program.exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}

fn microseconds([seconds, rest]: [i64; 2]) -> u64 {
    let total = seconds.saturating_mul(1_000_000).saturating_add(rest);
    u64::try_from(total).unwrap_or(0)
}

/// In place of whatever the program may have written there.
fn write(mut file: File, end: &End) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(serde_json::to_string(end)?.as_bytes())
}

/// What a runtime passes on, for whoever has nothing better.
fn code(end: &End) -> i32 {
    const NOT_STARTED: i32 = 127;
    match end.status & 0x7f {
        _ if end.errno != 0 => NOT_STARTED,
        0 => (end.status >> 8) & 0xff,
        signal => 128 + signal,
    }
}

/// The binary that can be process 1 of any container, if there is one: what `init()` was called in, or
/// the installed `fumehood`, if it is linked statically.
pub(crate) fn binary() -> Option<&'static Path> {
    static BINARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            let program = crate::zygote::program()?;
            let program = std::fs::canonicalize(program).ok()?;
            is_static(&program).unwrap_or(false).then_some(program)
        })
        .as_deref()
}

/// Whether an ELF file of 64 bits asks for no interpreter (`elf(5)`).
fn is_static(path: &Path) -> io::Result<bool> {
    const INTERPRETER: u32 = 3;
    let mut file = File::open(path)?;
    let mut header = [0u8; 64];
    file.read_exact(&mut header)?;
    let number =
        |bytes: &[u8]| bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(false);
    }
    let (offset, size, count) =
        (number(&header[32..40]), number(&header[54..56]), number(&header[56..58]));
    for index in 0..count {
        file.seek(SeekFrom::Start(offset + index * size))?;
        let mut kind = [0u8; 4];
        file.read_exact(&mut kind)?;
        if u32::from_le_bytes(kind) == INTERPRETER {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_word_is_believed() {
        let end = End { token: "secret".into(), status: 9, ..End::default() };
        let text = serde_json::to_string(&end).unwrap();
        assert_eq!(End::read(&text, "secret"), Some(end));
        assert_eq!(End::read(&text, "guess"), None);
        assert_eq!(End::read("", ""), None);
    }

    #[test]
    fn a_binary_with_an_interpreter_is_of_no_use() {
        assert!(!is_static(Path::new("/bin/sh")).unwrap(), "/bin/sh is linked dynamically");
        assert!(
            is_static(&std::env::current_exe().unwrap()).unwrap(),
            "as .cargo/config.toml says"
        );
        assert!(is_static(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn statuses_are_passed_on_as_shells_do() {
        let code = |status, errno| code(&End { status, errno, ..End::default() });
        assert_eq!((code(3 << 8, 0), code(9, 0), code(0, 2)), (3, 137, 127));
    }
}
