//! `cargo xtask backends --overhead`: what a run by us costs beside the same run by the tool alone.
//!
//! A tool by hand gets the very settings that we give it: a run of ours is looked at while it lasts, and the
//! tool's arguments, and the files that we made for it, are copied. All is started by shells that do nothing
//! else, one run of each in turn, so whatever else the machine does hits all alike.

mod capture;
mod engines;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use crate::Outcome;
use crate::build::binary_alone;
use crate::components::{self, find};
use crate::user::{Stage, is_root};

/// Each as ours, and as the tool by hand.
pub(super) struct Pair {
    pub(super) name: &'static str,
    pub(super) ours: String,
    /// `{n}` stands for a number that is never used twice.
    pub(super) hand: String,
}

const RUNS: usize = 30;
const WARM_UP: usize = 3;

/// More than this many hundredths of the tool by hand is too much.
const MOST: u128 = 110;

/// `backends --overhead [--runs N] [NAME...]`
pub(super) fn overhead(args: &[&str]) -> Outcome {
    if !is_root() {
        return Err("only root starts all of the tools by hand".to_owned());
    }
    let (runs, names) = arguments(args)?;
    components::install();
    let binary = std::env::var_os("FUMEHOOD_BIN").map(Into::into);
    let binary = binary.map_or_else(|| binary_alone(&["--release"]), Ok)?;
    let stage = Stage::new()?;
    let binary = stage.copy(&binary, "fumehood")?;
    let payload = stage.copy(Path::new(&find("busybox").ok_or("no busybox")?), "true")?;
    let fumehood = |rest: &str| format!("{} run {rest}", binary.display());
    let shown = format!("-v {}:/payload/true:ro", payload.display());
    let native = fumehood(&format!("{shown} -- /payload/true"));
    let chosen = |name: &str| names.is_empty() || names.contains(&name);
    let mut pairs = Vec::new();
    for name in ["runsc", "crun", "runc", "nsjail"].into_iter().filter(|name| chosen(name)) {
        let run = fumehood(&format!("--backend {name} {shown}"));
        match capture::pair(name, &run, stage.path()) {
            Ok(pair) => pairs.push(pair),
            Err(reason) => println!("{name}: not measured: {reason}"),
        }
    }
    let mut engines = Vec::new();
    for name in ["docker", "podman"].into_iter().filter(|name| chosen(name)) {
        match engines::Engine::start(name, stage.path(), &payload) {
            Ok(engine) => {
                pairs.push(engine.pair(&binary));
                engines.push(engine);
            }
            Err(reason) => println!("{name}: not measured: {reason}"),
        }
    }
    let measured = measure(&native, &pairs, runs);
    drop(engines);
    remove_groups();
    Ok(report(&measured?, &pairs, runs))
}

fn arguments<'a>(args: &[&'a str]) -> Result<(usize, Vec<&'a str>), String> {
    let (mut runs, mut names) = (RUNS, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if *arg == "--runs" {
            let value = args.next().and_then(|value| value.parse().ok()).filter(|runs| *runs > 0);
            runs = value.ok_or("--runs needs a number")?;
        } else {
            names.push(*arg);
        }
    }
    Ok((runs, names))
}

/// A shell that runs one line after another.
struct Shell {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Shell {
    /// With this before its first line.
    fn start(mut command: Command, before: &str) -> Result<Self, String> {
        let script = format!("{before} while read -r line; do $line </dev/null >&2; echo $?; done");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().ok_or("it is piped")?);
        Ok(Self { child, stdin, stdout })
    }

    /// Microseconds of a run that must succeed.
    fn time(&mut self, line: &str) -> Result<u128, String> {
        let started = Instant::now();
        let mut status = String::new();
        self.stdin
            .as_mut()
            .map_or(Ok(()), |stdin| writeln!(stdin, "{line}"))
            .and_then(|()| self.stdout.read_line(&mut status))
            .map_err(|error| format!("{line}: {error}"))?;
        let micros = started.elapsed().as_micros();
        if status.trim() == "0" { Ok(micros) } else { Err(format!("{line}: {}", status.trim())) }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.stdin = None;
        drop(self.child.wait());
    }
}

/// Microseconds: the median, and the least, which other work on the machine touches least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    median: u128,
    least: u128,
}

fn cost(mut micros: Vec<u128>) -> Cost {
    micros.sort_unstable();
    let at = |index: usize| micros.get(index).copied().unwrap_or(0);
    Cost { median: at(micros.len() / 2), least: at(0) }
}

/// Of the native run, and of ours and by hand for each.
struct Measured {
    native: Cost,
    pairs: Vec<(Cost, Cost)>,
}

/// What limits cost is a part of the settings: a tool by hand runs in control groups, too, and as nice as it
/// does for us. On a machine with other work to do, that decides how long it waits for a processor.
const GROUPS: &str = "for c in cpu cpuacct memory pids; do g=/sys/fs/cgroup/$c/fumehood-overhead; \
    test -e /sys/fs/cgroup/$c/tasks && mkdir -p $g && echo $$ >$g/cgroup.procs; done; \
    renice -n 10 $$ >/dev/null;";

/// Removes them when nothing is in them any more.
fn remove_groups() {
    for controller in ["cpu", "cpuacct", "memory", "pids"] {
        drop(fs::remove_dir(format!("/sys/fs/cgroup/{controller}/fumehood-overhead")));
    }
}

fn measure(native: &str, pairs: &[Pair], runs: usize) -> Result<Measured, String> {
    let mut plain = Command::new("sh");
    plain.arg("-c");
    let mut ours = Shell::start(plain, "")?;
    // crun refuses hosts with both versions of control groups, even where it is to leave them alone; a
    // home of ours covers them, too.
    let mut covered = Command::new("unshare");
    covered.args(["-m", "sh", "-c"]);
    let before = format!("{GROUPS} mount -t tmpfs none /sys/fs/cgroup;");
    let mut hand = Shell::start(covered, &before)?;
    let mut plain = Command::new("sh");
    plain.arg("-c");
    let mut plainly = Shell::start(plain, GROUPS)?;
    let mut plain = Command::new("sh");
    plain.arg("-c");
    let mut client = Shell::start(plain, "")?;
    let mut natives = Vec::new();
    let mut all: Vec<_> = pairs.iter().map(|_| (Vec::new(), Vec::new())).collect();
    for round in 0..WARM_UP + runs {
        let native = ours.time(native)?;
        for (pair, (by_us, by_hand)) in pairs.iter().zip(&mut all) {
            let line = pair.hand.replace("{n}", &round.to_string());
            let us = ours.time(&pair.ours)?;
            let tool = match pair.name {
                "runsc" | "crun" => &mut hand,
                // What their clients start is the engine's.
                "docker" | "podman" => &mut client,
                _ => &mut plainly,
            };
            let tool = tool.time(&line)?;
            if round >= WARM_UP {
                by_us.push(us);
                by_hand.push(tool);
            }
        }
        if round >= WARM_UP {
            natives.push(native);
        }
    }
    let pairs = all.into_iter().map(|(us, tool)| (cost(us), cost(tool))).collect();
    Ok(Measured { native: cost(natives), pairs })
}

/// Prints it; whether all is within the target.
fn report(measured: &Measured, pairs: &[Pair], runs: usize) -> bool {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\n{runs} interleaved runs of `true`, load {}", load.trim());
    println!("the least of each in microseconds, and ratios of the least and of the medians");
    let head = ["ours", "by hand", "/ native", "/ by hand", "/ native", "/ by hand"];
    println!("{:<8}{}", "", head.map(|word| format!("{word:>11}")).concat());
    println!("{:<8}{:>11}", "native", measured.native.least);
    let mut good = true;
    for (pair, (ours, hand)) in pairs.iter().zip(&measured.pairs) {
        let ratio = |one: u128, other: u128| one * 100 / other.max(1);
        let shown = |hundredths: u128| format!("{}.{:02}", hundredths / 100, hundredths % 100);
        let least = ratio(ours.least, hand.least);
        let native = measured.native;
        let ratios = [
            ratio(ours.least, native.least),
            least,
            ratio(ours.median, native.median),
            ratio(ours.median, hand.median),
        ];
        let ratios = ratios.map(|ratio| format!("{:>11}", shown(ratio))).concat();
        let mark = if least > MOST { "  too much" } else { "" };
        println!("{:<8}{:>11}{:>11}{ratios}{mark}", pair.name, ours.least, hand.least);
        good &= least <= MOST;
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_runs_and_names() {
        assert_eq!(arguments(&["--runs", "5", "crun"]), Ok((5, vec!["crun"])));
        assert!(arguments(&["--runs"]).is_err() && arguments(&["--runs", "0"]).is_err());
    }

    #[test]
    fn a_shell_times_what_succeeds_and_names_what_does_not() {
        let mut sh = Command::new("sh");
        sh.arg("-c");
        let mut shell = Shell::start(sh, "").unwrap();
        assert!(shell.time("true").is_ok());
        assert!(shell.time("false").unwrap_err().contains("false: 1"));
        assert_eq!(cost(vec![3, 1, 2]), Cost { median: 2, least: 1 });
    }
}
