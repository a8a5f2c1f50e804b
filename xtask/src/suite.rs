//! All tests of the project in one command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::build::{Built, cargo, root};
use crate::tally::Tally;
use crate::user::{Stage, is_root};
use crate::{Outcome, backends, components, guest, load, page, soak, style};

/// Suites that run as root and as an unprivileged user, like the promises.
const OTHERS: [&str; 1] = ["serve"];

/// What a part that cannot be tried at all on this machine counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As skipped.
    Lenient,
    /// As failed.
    Strict,
}

/// Everything, with a summary as the last line.
pub(crate) fn test(mode: Mode) -> Outcome {
    components::install();
    let mut all = Tally::default();
    all += style::tally();
    all += units();
    all += promises(mode, &[])?;
    all += by_others()?;
    heading("the page");
    all += page::tally(mode)?;
    heading("many runs");
    all += soak::run(soak::SHORT)?;
    heading("many runs by gVisor, and a part of them killed with it");
    all += crowd()?;
    heading("the service under load");
    all += load::run(&load::Load::SHORT)?;
    heading("control groups version 2");
    all += guest::tally();
    all.print_failures();
    println!("\n{all}");
    Ok(all.failed == 0)
}

/// Only the promises, with arguments for the suite.
pub(crate) fn promises_only(args: &[String]) -> Outcome {
    let all = promises(Mode::Lenient, args)?;
    all.print_failures();
    println!("\n{all}");
    Ok(all.failed == 0)
}

pub(crate) fn heading(text: &str) {
    println!("\n== {text}");
}

/// Unit, documentation and integration tests: all but the promises.
fn units() -> Tally {
    heading("unit and documentation tests");
    let mut all = Tally::of(cargo().args([
        "test",
        "--workspace",
        "--no-fail-fast",
        "--exclude",
        "fumehood-cli",
    ]));
    let mut command = cargo();
    command.args(["test", "--package", "fumehood-cli", "--no-fail-fast", "--bins"]);
    for name in other_tests() {
        command.args(["--test", &name]);
    }
    all += Tally::of(&mut command);
    all
}

/// The integration tests of the binary that say nothing about users.
fn other_tests() -> Vec<String> {
    let entries = fs::read_dir(root().join("crates/fumehood-cli/tests")).into_iter().flatten();
    let paths = entries.flatten().map(|entry| entry.path());
    let tests = paths.filter(|path| path.extension().is_some() || path.join("main.rs").exists());
    let names = tests.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    names.filter(|name| name != "promise" && !OTHERS.contains(&name.as_str())).collect()
}

/// The promises as root and as an unprivileged user.
fn promises(mode: Mode, args: &[String]) -> Result<Tally, String> {
    let built = Built::with(&OTHERS, &[])?;
    let mut half = Half { mode, args, built, stage: None };
    let mut all = half.run("root", is_root().then_some(()).ok_or("we are not root"));
    if is_root() {
        let stage = Stage::new()?;
        half.built.binary = stage.copy(&half.built.binary, "fumehood")?;
        half.built.suite = stage.copy(&half.built.suite, "promise")?;
        for (suite, name) in half.built.others.iter_mut().zip(OTHERS) {
            *suite = stage.copy(suite, name)?;
        }
        half.stage = Some(stage);
    }
    all += half.run("an unprivileged user", Ok(()));
    Ok(all)
}

/// Families of promises that are tried by every backend each time; `cargo xtask backends` tries all.
const BY_OTHERS: [&str; 3] = ["exit_codes::", "network::", "breakdowns::"];

/// gVisor, where this machine has it.
fn crowd() -> Result<Tally, String> {
    match backends::missing(&Built::new(&[])?, "runsc") {
        None => soak::run_by(soak::CROWD, Some("runsc".to_owned())),
        Some(reason) => {
            println!("skipped: {reason}");
            Ok(Tally::skipped(1))
        }
    }
}

/// Some promises by the other backends that this machine has, and the table of them all.
fn by_others() -> Result<Tally, String> {
    let built = Built::new(&[])?;
    heading("the table of promises and backends");
    let mut all = backends::check(&built);
    for backend in ["runsc", "crun", "runc", "nsjail", "docker", "podman"] {
        heading(&format!("promises by {backend}"));
        if let Some(reason) = backends::missing(&built, backend) {
            println!("skipped: {reason}");
            all += Tally::skipped(1);
            continue;
        }
        for family in BY_OTHERS {
            let mut command = Command::new(&built.suite);
            command.arg(family).env("FUMEHOOD_BACKEND", backend);
            all += Tally::of(command.env("FUMEHOOD_BIN", &built.binary)).of_whom(backend);
        }
    }
    Ok(all)
}

/// The promises as one kind of user.
struct Half<'a> {
    mode: Mode,
    args: &'a [String],
    built: Built,
    /// Where we drop privileges, if we do.
    stage: Option<Stage>,
}

impl Half<'_> {
    fn run(&self, who: &str, possible: Result<(), &str>) -> Tally {
        heading(&format!("promises as {who}"));
        if let Err(reason) = possible {
            println!("skipped: {reason}");
            return Tally::skipped(self.count());
        }
        if let Some(reason) = self.refusal() {
            println!("this host cannot confine programs of {who}, so nothing is tried: {reason}");
            let strict = self.mode == Mode::Strict;
            let failure = || Tally::failure(format!("promises as {who}: {reason}"));
            return if strict { failure() } else { Tally::skipped(self.count()) };
        }
        let mut all = Tally::default();
        for suite in self.suites() {
            all += Tally::of(self.command(suite).args(self.args));
        }
        all.of_whom(who)
    }

    fn suites(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.built.suite].into_iter().chain(&self.built.others)
    }

    /// A command as the user of this half.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(stage) = &self.stage {
            stage.drop_privileges(&mut command);
        }
        command.env("FUMEHOOD_BIN", &self.built.binary);
        command
    }

    /// What the binary says if it refuses to run anything at all: exit 99 is that and only that.
    fn refusal(&self) -> Option<String> {
        let mut command = self.command(&self.built.binary);
        let output = command.args(["run", "--", "true"]).stdin(Stdio::null()).output().ok()?;
        let refused = output.status.code() == Some(99);
        refused.then(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// How many promises there are.
    fn count(&self) -> u32 {
        self.suites().map(|suite| listed(suite, self.args)).sum()
    }
}

fn listed(suite: &Path, args: &[String]) -> u32 {
    let output = Command::new(suite).arg("--list").args(args).output();
    let listed = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let listed = listed.unwrap_or_default();
    let tests = listed.lines().filter(|line| line.ends_with(": test")).count();
    u32::try_from(tests).unwrap_or(u32::MAX)
}
