//! Counting what tests say about themselves.

mod failures;

use std::fmt;
use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

pub(crate) use failures::Failures;

/// How many tests passed, failed and were skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
    /// The names of those that failed, each with what it said.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    pub(crate) const PASS: Self = Self { passed: 1, failed: 0, skipped: 0, failures: Vec::new() };

    /// So many tests that could not be tried.
    pub(crate) const fn skipped(skipped: u32) -> Self {
        Self { passed: 0, failed: 0, skipped, failures: Vec::new() }
    }

    /// One failure, and what is to be said of it.
    pub(crate) fn failure(said: impl Into<String>) -> Self {
        Self { failed: 1, failures: vec![said.into()], ..Self::default() }
    }

    /// The same with whose failures they are.
    pub(crate) fn of_whom(mut self, who: &str) -> Self {
        self.failures.iter_mut().for_each(|failure| *failure = format!("{who}: {failure}"));
        self
    }

    /// All failures, which are far up in what was printed: for the end of it.
    pub(crate) fn print_failures(&self) {
        if self.failed > 0 {
            println!("\n== what failed");
        }
        self.failures.iter().for_each(|failure| println!("FAILED {failure}"));
    }

    /// Reads a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let part = counts.split(';').find(|part| part.trim().ends_with(what))?;
            part.trim().strip_suffix(what)?.trim().parse().ok()
        };
        let (passed, failed, skipped) = (count("passed")?, count("failed")?, count("ignored")?);
        Some(Self { passed, failed, skipped, failures: Vec::new() })
    }

    /// Runs tests, passes on what they print and adds up their results. An end that is not
    /// explained by a failed test counts as one.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::try_of(command).unwrap_or_else(|error| Self::failure(format!("{command:?}: {error}")))
    }

    fn try_of(command: &mut Command) -> std::io::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let (mut all, mut failures) = (Self::default(), Failures::default());
        for line in BufReader::new(child.stdout.take().expect("it is piped")).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            all += Self::parse(&line).unwrap_or_default();
            failures.read(&line);
        }
        all.failures.extend(failures.all());
        let status = child.wait()?;
        if !status.success() && all.failed == 0 {
            all += Self::failure(format!("{command:?}: {status}"));
        }
        Ok(all)
    }

    /// Runs one check that either holds or does not.
    pub(crate) fn check(command: &mut Command) -> Self {
        match command.status() {
            Ok(status) if status.success() => Self::PASS,
            Ok(status) => Self::failure(format!("{command:?}: {status}")),
            Err(error) => Self::failure(format!("{command:?}: {error}")),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
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
        let expected = Tally { passed: 100, failed: 66, ..Tally::skipped(1) };
        assert_eq!(Tally::parse(line), Some(expected));
        assert_eq!(Tally::parse("test a ... ok"), None);
    }

    #[test]
    fn an_unexplained_end_is_a_failure() {
        let tally = Tally::of(Command::new("sh").args(["-c", "echo nothing; exit 3"]));
        assert_eq!((tally.passed, tally.failed), (0, 1));
        assert!(tally.failures[0].ends_with("exit status: 3"), "{tally:?}");
        let tally = Tally::of(&mut Command::new("/no/such/program"));
        assert_eq!((tally.passed, tally.failed), (0, 1));
        assert!(tally.failures[0].contains("/no/such/program"), "{tally:?}");
    }

    #[test]
    fn results_add_up() {
        let script =
            "for n in 1 2; do echo \"test result: ok. $n passed; 0 failed; 3 ignored; \"; done";
        let tally = Tally::of(Command::new("sh").args(["-c", script]));
        assert_eq!(tally, Tally { passed: 3, ..Tally::skipped(6) });
    }
}
