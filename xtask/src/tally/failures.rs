//! What harnesses say about the tests that failed.

/// How many lines of what a test said are kept: enough for both sides of an assertion.
const LINES: usize = 8;

/// How many characters of each.
const WIDTH: usize = 400;

/// Reads what a harness prints, a line at a time, for the names of failed tests and what each said:
/// a heading such as `---- NAME stdout ----`, and all up to the next one.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    found: Vec<String>,
    /// How many more lines the last one takes.
    room: usize,
}

impl Failures {
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(name) = heading(line) {
            self.found.push(name.to_owned());
            self.room = LINES;
        } else if is_end(line) {
            self.room = 0;
        } else if self.room > 0
            && !line.trim().is_empty()
            && let Some(last) = self.found.last_mut()
        {
            last.push_str("\n    ");
            last.extend(line.trim_end().chars().take(WIDTH));
            self.room -= 1;
        }
    }

    pub(crate) fn all(self) -> Vec<String> {
        self.found
    }
}

/// The name of a test in the heading of what it said.
fn heading(line: &str) -> Option<&str> {
    let name = line.strip_prefix("---- ")?.trim_end().strip_suffix(" ----")?;
    Some(name.strip_suffix(" stdout").unwrap_or(name))
}

/// A list of names or a trace follows, or the result.
fn is_end(line: &str) -> bool {
    let ends = ["failures:", "stack backtrace:", "note: run with", "test result: "];
    ends.iter().any(|end| line.starts_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let mut failures = Failures::default();
        text.lines().for_each(|line| failures.read(line));
        failures.all()
    }

    #[test]
    fn both_harnesses_name_what_failed() {
        let libtest = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n\n\
            thread 'a::b' (7) panicked at src/a.rs:1:2:\nassertion failed: x\n\
            stack backtrace:\n   0: rust_begin_unwind\n\n\nfailures:\n    a::b\n\n\
            test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let panicked =
            "a::b\n    thread 'a::b' (7) panicked at src/a.rs:1:2:\n    assertion failed: x";
        assert_eq!(read(libtest), [panicked]);
        let mimic = "failures:\n\n---- c ----\ntest panicked: never\n\n\n---- d ----\nno\n\n\n\
            failures:\n    c\n    d\n";
        assert_eq!(read(mimic), ["c\n    test panicked: never", "d\n    no"]);
    }

    #[test]
    fn what_a_test_said_is_cut_short() {
        let said = format!("---- a ----\n{}\n{}", "x".repeat(9999), "more\n".repeat(99));
        let found = read(&said);
        assert_eq!(found[0].lines().count(), 1 + LINES);
        assert!(found[0].len() < 2 * WIDTH, "{}", found[0].len());
    }
}
