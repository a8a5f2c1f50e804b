//! Switches off one mechanism after another and sees that the promises behind it turn red: a test
//! that stays green without the mechanism that it is about tests nothing.

mod table;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::build::{Built, pool_suite};
use table::{MECHANISMS, Mechanism, SECOND_FENCES, Suite};

/// The variable that a binary built for this reads, and no other binary does.
const VARIABLE: &str = "FUMEHOOD_SABOTAGE";

/// What the command line asks for.
#[derive(Debug, Default)]
struct Options {
    full: bool,
    list: bool,
    names: Vec<String>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        for arg in args {
            match arg.as_str() {
                "--full" => options.full = true,
                "--list" => options.list = true,
                flag if flag.starts_with('-') => return Err(format!("sabotage has no {flag}")),
                name => options.names.push(name.to_owned()),
            }
        }
        let known = |name: &&String| MECHANISMS.iter().any(|mechanism| mechanism.name == *name);
        match options.names.iter().find(|name| !known(name)) {
            Some(name) => Err(format!("no mechanism {name}; --list shows them")),
            None => Ok(options),
        }
    }

    fn mechanisms(&self) -> impl Iterator<Item = &'static Mechanism> {
        let chosen = |name: &str| self.names.is_empty() || self.names.iter().any(|own| own == name);
        MECHANISMS.iter().filter(move |mechanism| chosen(mechanism.name))
    }
}

/// `sabotage [--full] [--list] [NAME...]`
pub(crate) fn sabotage(args: &[String]) -> Outcome {
    let options = Options::parse(args)?;
    if options.list {
        for mechanism in options.mechanisms() {
            let Mechanism { name, backend, red, .. } = mechanism;
            println!("{name:<20} {backend:<7} {}", red.join(" "));
        }
        return Ok(true);
    }
    // A directory of its own: this binary must never be taken for one that confines.
    let own = ["--features", "fumehood/sabotage", "--target-dir", "target/sabotage"];
    let wants = |suite| options.mechanisms().any(|it| it.suite == suite);
    let built = Suites {
        promises: wants(Suite::Promises).then(|| Built::new(&own)).transpose()?,
        pool: wants(Suite::Pool).then(|| pool_suite(&own)).transpose()?,
    };
    let wrong: Vec<_> =
        options.mechanisms().filter(|it| !noticed(&built, it, options.full)).collect();
    let total = options.mechanisms().count();
    println!("\n{} of {total} mechanisms are missed when they are gone", total - wrong.len());
    for (name, reason) in SECOND_FENCES {
        println!("not tried alone: {name}: {reason}");
    }
    Ok(wrong.is_empty())
}

/// What was built to be tried: that which is asked for.
#[derive(Debug)]
struct Suites {
    promises: Option<Built>,
    pool: Option<PathBuf>,
}

impl Suites {
    fn command(&self, suite: Suite) -> Command {
        match (suite, &self.pool, &self.promises) {
            (Suite::Pool, Some(pool), _) => Command::new(pool),
            (Suite::Promises, _, Some(built)) => {
                let mut command = Command::new(&built.suite);
                command.env("FUMEHOOD_BIN", &built.binary);
                command
            }
            _ => unreachable!("a suite is built before anything of it is tried"),
        }
    }

    /// Why promises cannot be tried by that backend.
    fn missing(&self, backend: &str) -> Option<String> {
        crate::backends::missing(self.promises.as_ref()?, backend)
    }
}

/// Whether every promise of the mechanism is green with it and red without.
fn noticed(built: &Suites, mechanism: &Mechanism, full: bool) -> bool {
    if let Some(reason) = built.missing(mechanism.backend) {
        println!("{:<20} not tried: {}: {reason}", mechanism.name, mechanism.backend);
        return true;
    }
    let mut good = true;
    for test in mechanism.red {
        let verdict = |without| verdict(built, mechanism, test, without);
        let (with, without) = (verdict(None), verdict(Some(mechanism.name)));
        let fine = matches!((with, without), (Verdict::Green, Verdict::Red));
        println!("{:<20} {test}: {with:?} with it, {without:?} without", mechanism.name);
        // A test that this machine cannot try says nothing for or against.
        good &= fine || with == Verdict::Skipped;
    }
    if full {
        println!("{:<20} all that turn red: {}", mechanism.name, all_red(built, mechanism));
    }
    good
}

/// How a test came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Green,
    Red,
    Skipped,
    /// There is no test of that name.
    Missing,
}

fn verdict(built: &Suites, of: &Mechanism, test: &str, without: Option<&str>) -> Verdict {
    let lines = lines(built, of, &["--exact", test], without);
    lines.iter().find_map(|line| parse(line)).map_or(Verdict::Missing, |(_, verdict)| verdict)
}

fn all_red(built: &Suites, mechanism: &Mechanism) -> String {
    let lines = lines(built, mechanism, &[], Some(mechanism.name));
    let results = lines.iter().filter_map(|line| parse(line));
    let red: Vec<_> =
        results.filter(|(_, verdict)| *verdict == Verdict::Red).map(|(name, _)| name).collect();
    red.join(" ")
}

/// What the suite prints.
fn lines(built: &Suites, of: &Mechanism, args: &[&str], without: Option<&str>) -> Vec<String> {
    let mut command = built.command(of.suite);
    command.args(args).args(["--color", "never"]);
    command.stderr(Stdio::null()).env_remove(VARIABLE).env("FUMEHOOD_BACKEND", of.backend);
    if let Some(name) = without {
        command.env(VARIABLE, name);
    }
    match command.output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
        Err(error) => vec![format!("{command:?}: {error}")],
    }
}

/// Reads a line such as `test exit_codes::a_name   ... ok`.
fn parse(line: &str) -> Option<(&str, Verdict)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let verdict = match result.split_whitespace().next()? {
        "ok" => Verdict::Green,
        "FAILED" => Verdict::Red,
        "ignored" => Verdict::Skipped,
        _ => return None,
    };
    Some((name.trim(), verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_of_the_suite() {
        assert_eq!(parse("test a::b   ... ok"), Some(("a::b", Verdict::Green)));
        assert_eq!(parse("test a::b ... FAILED"), Some(("a::b", Verdict::Red)));
        assert_eq!(parse("test a::b ... ignored (no cc)"), Some(("a::b", Verdict::Skipped)));
        assert_eq!(parse("test result: ok. 1 passed"), None);
    }

    #[test]
    fn unknown_mechanisms_are_refused() {
        assert!(Options::parse(&["no-such-thing".into()]).is_err());
        assert!(Options::parse(&["--what".into()]).is_err());
        assert!(Options::parse(&["--full".into(), "seccomp".into()]).is_ok());
    }

    #[test]
    fn every_mechanism_has_a_promise_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = MECHANISMS.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), MECHANISMS.len());
        assert!(MECHANISMS.iter().all(|it| !it.red.is_empty()));
    }

    /// The table names tests of another crate: a test that is renamed there must be here too.
    #[test]
    fn every_promise_of_the_table_exists() {
        let of = |suite| MECHANISMS.iter().filter(move |it| it.suite == suite);
        let pool = crate::build::root().join("crates/fumehood/tests/pool/main.rs");
        let pool = std::fs::read_to_string(pool).unwrap();
        for test in of(Suite::Pool).flat_map(|mechanism| mechanism.red) {
            assert!(pool.contains(&format!("(\"{test}\", ")), "{test} is not there");
        }
        let dir = crate::build::root().join("crates/fumehood-cli/tests/promise");
        for test in of(Suite::Promises).flat_map(|mechanism| mechanism.red) {
            let (family, name) = test.split_once("::").expect("a family and a name");
            let source = std::fs::read_to_string(dir.join(family).with_extension("rs"));
            let source = source.unwrap_or_else(|error| panic!("{family}: {error}"));
            assert!(source.contains(&format!("fn {name}()")), "{test} is not there");
        }
    }
}
