//! Counting what tests say about themselves.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

/// How many tests passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Tally {
    pub(crate) const PASS: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(crate) const FAIL: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// So many tests that could not be tried.
    pub(crate) const fn skipped(skipped: u32) -> Self {
        Self { passed: 0, failed: 0, skipped }
    }

    /// Reads a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let part = counts.split(';').find(|part| part.trim().ends_with(what))?;
            part.trim().strip_suffix(what)?.trim().parse().ok()
        };
        let (passed, failed, skipped) = (count("passed")?, count("failed")?, count("ignored")?);
        Some(Self { passed, failed, skipped })
    }

    /// Runs tests, passes on what they print and adds up their results. An end that is not
    /// explained by a failed test counts as one.
    pub(crate) fn of(command: &mut Command) -> Self {
        match Self::try_of(command) {
            Ok(tally) => tally,
            Err(error) => {
                eprintln!("{command:?}: {error}");
                Self::FAIL
            }
        }
    }

    fn try_of(command: &mut Command) -> std::io::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut all = Self::default();
        for line in BufReader::new(child.stdout.take().expect("it is piped")).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            all += Self::parse(&line).unwrap_or_default();
        }
        if !child.wait()?.success() && all.failed == 0 {
            all += Self::FAIL;
        }
        Ok(all)
    }

    /// Runs one check that either holds or does not.
    pub(crate) fn check(command: &mut Command) -> Self {
        match command.status() {
            Ok(status) if status.success() => Self::PASS,
            Ok(_) => Self::FAIL,
            Err(error) => {
                eprintln!("{command:?}: {error}");
                Self::FAIL
            }
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_line_of_libtest() {
        let line = "test result: FAILED. 100 passed; 66 failed; 1 ignored; 0 measured; \
                    1 filtered out; finished in 104.15s";
        let expected = Tally { passed: 100, failed: 66, skipped: 1 };
        assert_eq!(Tally::parse(line), Some(expected));
        assert_eq!(Tally::parse("test a ... ok"), None);
    }

    #[test]
    fn an_unexplained_end_is_a_failure() {
        let tally = Tally::of(Command::new("sh").args(["-c", "echo nothing; exit 3"]));
        assert_eq!(tally, Tally::FAIL);
        let tally = Tally::of(&mut Command::new("/no/such/program"));
        assert_eq!(tally, Tally::FAIL);
    }

    #[test]
    fn results_add_up() {
        let script =
            "for n in 1 2; do echo \"test result: ok. $n passed; 0 failed; 3 ignored; \"; done";
        let tally = Tally::of(Command::new("sh").args(["-c", script]));
        assert_eq!(tally, Tally { passed: 3, failed: 0, skipped: 6 });
    }
}
