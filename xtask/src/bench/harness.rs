//! The process that starts everything, so that all is timed by the same clock and the same caller.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::scene::{Scene, Who};

/// The benchmark `launch` of the library, with `--serve`. What it is asked and how it answers is
/// described there.
#[derive(Debug)]
pub(crate) struct Harness {
    child: Child,
    /// Closed to end it.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// Runs that were completed in a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Completed {
    pub(super) runs: u64,
    pub(super) failed: u64,
    pub(super) micros: u64,
}

impl Completed {
    pub(super) fn per_second(self) -> u64 {
        (self.runs - self.failed.min(self.runs)) * 1_000_000 / self.micros.max(1)
    }
}

impl Harness {
    pub(crate) fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("the harness has no output")?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// That of a scene, started as whoever measures.
    pub(super) fn of(scene: &Scene, who: Who) -> Result<Self, String> {
        let dir = scene.dir();
        let argv = [format!("{dir}/launch"), "--serve".into(), format!("{dir}/payload/true")];
        Self::start(scene.command(who, &argv))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The microseconds of one run, and whether it succeeded.
    pub(crate) fn run(&mut self, request: &str) -> Result<(u64, bool), String> {
        let answer = self.ask(request)?;
        run(&answer).ok_or_else(|| unexpected(request, &answer))
    }

    pub(super) fn throughput(&mut self, request: &str) -> Result<Completed, String> {
        let answer = self.ask(request)?;
        completed(&answer).ok_or_else(|| unexpected(request, &answer))
    }

    /// One line for one line.
    pub(crate) fn ask(&mut self, request: &str) -> Result<String, String> {
        let mut answer = String::new();
        let input = self.input.as_mut().ok_or("the harness was told to end")?;
        writeln!(input, "{request}")
            .and_then(|()| self.output.read_line(&mut answer))
            .map_err(|error| format!("the harness, asked for {request}: {error}"))?;
        match answer.trim_end().strip_prefix("error ") {
            Some(reason) => Err(reason.to_owned()),
            None if answer.is_empty() => Err(format!("the harness ended, asked for {request}")),
            None => Ok(answer.trim_end().to_owned()),
        }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.input = None;
        if let Err(error) = self.child.wait() {
            eprintln!("the harness: {error}");
        }
    }
}

fn unexpected(request: &str, answer: &str) -> String {
    format!("the harness, asked for {request}, answered {answer:?}")
}

fn run(answer: &str) -> Option<(u64, bool)> {
    let (micros, how) = answer.split_once(' ')?;
    let good = match how {
        "ok" => true,
        "failed" => false,
        _ => return None,
    };
    Some((micros.parse().ok()?, good))
}

fn completed(answer: &str) -> Option<Completed> {
    let mut numbers = answer.split(' ').map(|word| word.parse().ok());
    let mut number = || numbers.next().flatten();
    let completed = Completed { runs: number()?, failed: number()?, micros: number()? };
    numbers.next().is_none().then_some(completed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        assert_eq!(run("120 ok"), Some((120, true)));
        assert_eq!(run("7 failed"), Some((7, false)));
        assert_eq!([run("120"), run("ok 120"), run("120 fine")], [None; 3]);
        let expected = Completed { runs: 30, failed: 10, micros: 2_000_000 };
        assert_eq!(completed("30 10 2000000"), Some(expected));
        assert_eq!([completed("30 10"), completed("1 2 3 4"), completed("a b c")], [None; 3]);
    }

    #[test]
    fn only_what_succeeded_counts_as_throughput() {
        let rate = |runs, failed, micros| Completed { runs, failed, micros }.per_second();
        assert_eq!(rate(30, 10, 2_000_000), 10);
        assert_eq!(rate(30, 0, 0), 30_000_000);
    }

    #[test]
    fn a_harness_that_errs_or_ends_is_an_error() {
        let mut sed = Command::new("sed");
        sed.args(["-u", "s/one/1 ok/; s/two/error no request/; /end/Q"]);
        let mut harness = Harness::start(sed).unwrap();
        assert_eq!(harness.run("one").unwrap(), (1, true));
        assert_eq!(harness.ask("two").unwrap_err(), "no request");
        assert!(harness.run("three").unwrap_err().contains("three"));
        assert!(harness.ask("end").unwrap_err().contains("ended"));
    }
}
