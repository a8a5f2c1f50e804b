//! Process 1 of the containers that OCI runtimes make: a program of a few KiB, which the build script
//! compiles from `one/main.rs`.
//!
//! It is started as `NAME PROGRAM ARGUMENT...` with a token in the variable `FUMEHOOD_END`, after `fresh:`
//! where no signal can be ignored from the start, which saves as many system calls as there are. It looks the
//! program up as `execvp(3)` does, and writes a line to `/dev/.fumehood-end` when the program has ended and
//! nobody else is left: the wait status, user and system time in microseconds, peak memory in KiB, the error
//! number of `execve(2)` or 0, 1 if it was for lack of an interpreter, and the [`tag()`] of these words by the
//! token, which is never written: a program can have passed that file to somebody who reads and writes it.

/// The program, an ELF file for the target of this crate that is linked statically.
pub static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/one"));

mod numbers;
mod tag;

pub use tag::tag;

#[cfg(test)]
mod life;
#[cfg(test)]
mod lookup;
#[cfg(test)]
mod record;
#[cfg(test)]
mod sys;
#[cfg(test)]
use crate::sys::arch;

/// The program cannot have the crate that has the kernel's numbers.
const _: () = {
    use linux_raw_sys::general as nr;
    use numbers::*;
    assert!(NR_CLONE == nr::__NR_clone as usize);
    assert!(NR_EXECVE == nr::__NR_execve as usize);
    assert!(NR_EXIT_GROUP == nr::__NR_exit_group as usize);
    assert!(NR_FACCESSAT == nr::__NR_faccessat as usize);
    assert!(NR_FTRUNCATE == nr::__NR_ftruncate as usize);
    assert!(NR_GETPID == nr::__NR_getpid as usize);
    assert!(NR_GETRUSAGE == nr::__NR_getrusage as usize);
    assert!(NR_KILL == nr::__NR_kill as usize);
    assert!(NR_OPENAT == nr::__NR_openat as usize);
    assert!(NR_PRCTL == nr::__NR_prctl as usize);
    assert!(NR_PWRITE64 == nr::__NR_pwrite64 as usize);
    assert!(NR_RT_SIGACTION == nr::__NR_rt_sigaction as usize);
    assert!(NR_RT_SIGPROCMASK == nr::__NR_rt_sigprocmask as usize);
    assert!(NR_RT_SIGTIMEDWAIT == nr::__NR_rt_sigtimedwait as usize);
    assert!(NR_SETPGID == nr::__NR_setpgid as usize);
    assert!(NR_WAIT4 == nr::__NR_wait4 as usize);
    assert!(AT_FDCWD == nr::AT_FDCWD as isize);
    assert!(CLONE_VFORK == nr::CLONE_VFORK as usize && CLONE_VM == nr::CLONE_VM as usize);
    assert!(O_CLOEXEC == nr::O_CLOEXEC as usize && O_WRONLY == nr::O_WRONLY as usize);
    assert!(SIGCHLD == nr::SIGCHLD as usize && SIG_SETMASK == nr::SIG_SETMASK as usize);
    assert!(WALL == nr::__WALL as usize && WNOHANG == nr::WNOHANG as usize);
    assert!(PR_SET_DUMPABLE == linux_raw_sys::prctl::PR_SET_DUMPABLE as usize);
};

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::PROGRAM;

    #[test]
    fn the_program_is_small_and_needs_nobody_else() {
        const INTERPRETER: u32 = 3;
        assert!(PROGRAM.starts_with(b"\x7fELF\x02\x01"), "64 bits, little-endian");
        assert!(PROGRAM.len() < 8 << 10, "{} bytes", PROGRAM.len());
        let number = |at: usize| u16::from_le_bytes(PROGRAM[at..at + 2].try_into().unwrap()).into();
        let (size, count): (usize, usize) = (number(54), number(56));
        let start =
            usize::try_from(u64::from_le_bytes(PROGRAM[32..40].try_into().unwrap())).unwrap();
        let kinds: Vec<_> = (0..count)
            .map(|index| start + index * size)
            .map(|at| u32::from_le_bytes(PROGRAM[at..at + 4].try_into().unwrap()))
            .collect();
        assert!(kinds.contains(&1) && !kinds.contains(&INTERPRETER), "{kinds:?}");
    }
}
