//! Process 1 of the containers that runtimes make.
//!
//! A runtime ends with the status of the program, or with 128 and the number of a signal: which of
//! the two it was is lost. And a program that is process 1 itself is no program as others are: no
//! signal ends it that it does not handle, and orphans are its business. So process 1 is
//! [a program of ours](fumehood_child::one). It starts the job's, passes signals on, reaps, and writes down
//! how that ended when nobody is left who could change what is written.
//!
//! It is a program of its own because it is started in every container: an application kernel takes
//! a tenth of a run to start a program of some MiB.

pub(crate) use fumehood_child::one::PROGRAM;

/// Where it is in a container.
pub(crate) const INIT: &str = "/dev/.fumehood-init";
/// Where it writes.
pub(crate) const END: &str = "/dev/.fumehood-end";
/// The variable with the word that proves who wrote. Nobody in the container can read it: process 1
/// is undumpable, and so is its environment (`proc(5)`), and erases it.
pub(crate) const TOKEN: &str = "FUMEHOOD_END";

/// Before the word where no signal needs to be put back to its default.
pub(crate) const FRESH: &str = "fresh:";

/// What it writes down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
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
    /// What was written, if it was process 1 that wrote: the first line. Behind it may be whatever the
    /// program wrote there before.
    pub(crate) fn read(text: &str, token: &str) -> Option<Self> {
        let (line, _) = text.split_once('\n')?;
        let words: Vec<_> = line.split(' ').collect();
        let [word, status, user, system, maxrss, errno, interpreter] = words[..] else {
            return None;
        };
        if word.is_empty() || word != token {
            return None;
        }
        Some(Self {
            status: status.parse().ok()?,
            user_us: user.parse().ok()?,
            system_us: system.parse().ok()?,
            maxrss_kib: maxrss.parse().ok()?,
            errno: errno.parse().ok()?,
            interpreter: interpreter == "1",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_word_is_believed() {
        let text = "secret 9 1 2 3 0 1\nguess 0 0 0 0 0 0\n";
        let (user_us, system_us, maxrss_kib) = (1, 2, 3);
        let end = End { status: 9, user_us, system_us, maxrss_kib, errno: 0, interpreter: true };
        assert_eq!(End::read(text, "secret"), Some(end));
        assert_eq!(End::read(text, "guess"), None);
        assert_eq!(End::read(" 9 1 2 3 0 1\n", ""), None);
        assert_eq!(End::read("", ""), None);
    }

    #[test]
    fn half_a_record_is_none() {
        assert_eq!(End::read("secret 9 1 2 3 0\n", "secret"), None);
        assert_eq!(End::read("secret 9 1 2 3 0 1 1\n", "secret"), None);
        assert_eq!(End::read("secret 9 1 2 3 x 1\n", "secret"), None);
        assert_eq!(End::read("secret 9 1 2 3 0 1", "secret"), None);
    }
}
