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
use fumehood_child::one::tag;

/// Where it is in a container.
pub(crate) const INIT: &str = "/dev/.fumehood-init";
/// Where it writes.
pub(crate) const END: &str = "/dev/.fumehood-end";
/// The variable with the word that proves who wrote, by a tag of what is written. Nobody in the container can
/// read it: process 1 is undumpable, and so is its environment (`proc(5)`), and erases it. Nor can anybody
/// outside, to whom the program has passed the file: it is not in there.
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
    /// What was written, if it was process 1 that wrote all of it: the first line. Behind it may be whatever
    /// the program wrote there before.
    pub(crate) fn read(text: &str, token: &str) -> Option<Self> {
        let (line, _) = text.split_once('\n')?;
        let (said, proof) = line.rsplit_once(' ')?;
        if tag(token.as_bytes(), said.as_bytes())?.to_string() != proof {
            return None;
        }
        let words: Vec<_> = said.split(' ').collect();
        let [status, user, system, maxrss, errno, interpreter] = words[..] else { return None };
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

    const TOKEN: &str = "00112233445566778899aabbccddeeff";

    fn written(words: &str) -> String {
        format!("{words} {}\n", tag(TOKEN.as_bytes(), words.as_bytes()).unwrap())
    }

    #[test]
    fn only_who_knows_the_word_is_believed() {
        let text = written("9 1 2 3 0 1") + "0 0 0 0 0 0\n";
        let (user_us, system_us, maxrss_kib) = (1, 2, 3);
        let end = End { status: 9, user_us, system_us, maxrss_kib, errno: 0, interpreter: true };
        assert_eq!(End::read(&text, TOKEN), Some(end));
        assert_eq!(End::read(&text, "ff112233445566778899aabbccddeeff"), None);
        assert_eq!(End::read(&text, ""), None);
        assert_eq!(End::read("", TOKEN), None);
    }

    /// As somebody could who was passed the file.
    #[test]
    fn what_was_changed_is_not_believed() {
        let text = written("9 1 2 3 0 1");
        assert!(End::read(&text, TOKEN).is_some());
        assert_eq!(End::read(&text.replacen('9', "0", 1), TOKEN), None);
        assert_eq!(End::read(&format!("0 {text}"), TOKEN), None);
        assert!(!text.contains(TOKEN), "nobody learns the word from it");
    }

    #[test]
    fn half_a_record_is_none() {
        assert_eq!(End::read(&written("9 1 2 3 0"), TOKEN), None);
        assert_eq!(End::read(&written("9 1 2 3 0 1 1"), TOKEN), None);
        assert_eq!(End::read(&written("9 1 2 3 x 1"), TOKEN), None);
        assert_eq!(End::read(written("9 1 2 3 0 1").trim_end(), TOKEN), None);
    }
}
