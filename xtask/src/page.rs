//! The service's page: whether its bundle is what the sources give, and what a browser makes of it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::build::{binary_alone, root};
use crate::suite::Mode;
use crate::tally::Tally;
use crate::{Outcome, components};

/// The oldest Node that the browser's driver runs on.
const NODE: u32 = 20;

/// `build` makes the bundle; without it everything is checked and tried.
pub(crate) fn page(args: &[String]) -> Outcome {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["build"] => {
            install()?;
            Ok(script("build").status().is_ok_and(|status| status.success()))
        }
        [] => {
            components::install();
            let all = tally(Mode::Lenient)?;
            println!("\n{all}");
            Ok(all.failed == 0)
        }
        _ => Err("page takes nothing, or build".into()),
    }
}

/// What the page's own tests say, and those in a browser.
pub(crate) fn tally(mode: Mode) -> Result<Tally, String> {
    if let Err(reason) = install() {
        return Ok(untried(mode, "the page", &reason, tests("unit") + tests("browser") + 1));
    }
    let mut all = Tally::check(&mut script("check"));
    all += Tally::of(&mut script("test"));
    let Some(browser) = components::find("chromium") else {
        let reason = "there is no chromium";
        all += untried(mode, "the page in a browser", reason, tests("browser"));
        return Ok(all);
    };
    let mut command = script("test:browser");
    command.env("FUMEHOOD_BIN", binary_alone(&[])?).env("CHROMIUM", browser);
    all += Tally::of(&mut command);
    Ok(all)
}

fn untried(mode: Mode, what: &str, reason: &str, count: u32) -> Tally {
    println!("not tried: {what}: {reason}");
    let failure = || Tally::failure(format!("{what}: {reason}"));
    if mode == Mode::Strict { failure() } else { Tally::skipped(count) }
}

/// Gets the packages that the lock file names.
fn install() -> Result<(), String> {
    let version = Command::new("node").arg("--version").output();
    let version = version.map_err(|error| format!("there is no Node: {error}"))?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let major =
        version.trim_start_matches('v').split('.').next().and_then(|text| text.parse().ok());
    if major.is_none_or(|major: u32| major < NODE) {
        return Err(format!("Node is {version:?}, and {NODE} is needed"));
    }
    let mut command = npm();
    command.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).stdout(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("npm could not get the packages".into()),
        Err(error) => Err(format!("there is no npm: {error}")),
    }
}

/// A script of the page's `package.json`.
fn script(name: &str) -> Command {
    let mut command = npm();
    command.args(["run", "--silent", name]);
    command
}

fn npm() -> Command {
    let mut command = Command::new("npm");
    command.current_dir(dir()).stdin(Stdio::null());
    command
}

fn dir() -> PathBuf {
    root().join("crates/fumehood-cli/page")
}

/// How many tests of this kind there are at least: those of a loop count as one.
fn tests(kind: &str) -> u32 {
    let files = fs::read_dir(dir().join("test").join(kind)).into_iter().flatten().flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let count = |text: String| text.lines().filter(|line| line.trim().starts_with("test(")).count();
    u32::try_from(texts.map(count).sum::<usize>()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn tests_are_counted() {
        assert!(super::tests("unit") >= 12);
        assert!(super::tests("browser") >= 17);
    }
}
