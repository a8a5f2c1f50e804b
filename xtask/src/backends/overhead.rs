//! `cargo xtask backends --overhead`: what a run by us costs beside the same run by the tool alone.
//!
//! A tool by hand gets the very settings that we give it: a run of ours is looked at while it lasts, and the
//! tool's arguments, and the files that we made for it, are copied. The limit that we hold for it by a control
//! group of every run it is told to hold itself; besides, it is measured without any. All is started by shells
//! that do nothing else, one run of each in turn, so whatever else the machine does hits all alike.

mod capture;
mod engines;
mod shells;

use std::fs;
use std::path::Path;

use crate::Outcome;
use crate::build::binary_alone;
use crate::components::{self, find};
use crate::user::{Stage, is_root};
use shells::Shells;

/// Each as ours, and as the tool by hand.
pub(super) struct Pair {
    pub(super) name: &'static str,
    pub(super) ours: String,
    /// `{n}` stands for a number that is never used twice.
    pub(super) hand: String,
    /// The same without a limit of memory, in control groups that are there already.
    pub(super) unlimited: Option<String>,
}

const RUNS: usize = 30;
const WARM_UP: usize = 3;

/// More than this many hundredths of the tool by hand is too much, by the medians: the least of a few runs that
/// differ by a third is luck.
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
    shells::remove_groups();
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

/// Of runs by us, by hand, and by hand without limits.
#[derive(Clone, Copy, Debug)]
struct Costs {
    ours: Cost,
    hand: Cost,
    unlimited: Option<Cost>,
}

/// Of the native run, and of each pair.
struct Measured {
    native: Cost,
    pairs: Vec<Costs>,
}

fn measure(native: &str, pairs: &[Pair], runs: usize) -> Result<Measured, String> {
    let mut shells = Shells::start()?;
    let mut natives = Vec::new();
    let mut all: Vec<_> = pairs.iter().map(|_| [Vec::new(), Vec::new(), Vec::new()]).collect();
    for round in 0..WARM_UP + runs {
        let micros = |times: &mut Vec<u128>, micros| {
            if round >= WARM_UP {
                times.push(micros);
            }
        };
        micros(&mut natives, shells.plain.time(native)?);
        for (pair, [ours, hand, unlimited]) in pairs.iter().zip(&mut all) {
            micros(ours, shells.plain.time(&pair.ours)?);
            micros(hand, shells.by_hand(pair.name).time(&numbered(&pair.hand, round))?);
            if let Some(line) = &pair.unlimited {
                let line = numbered(line, WARM_UP + runs + round);
                micros(unlimited, shells.without_limits(pair.name).time(&line)?);
            }
        }
    }
    let costs = all.into_iter().map(|[ours, hand, unlimited]| Costs {
        ours: cost(ours),
        hand: cost(hand),
        unlimited: (!unlimited.is_empty()).then(|| cost(unlimited)),
    });
    Ok(Measured { native: cost(natives), pairs: costs.collect() })
}

fn numbered(line: &str, number: usize) -> String {
    line.replace("{n}", &number.to_string())
}

/// Prints it; whether all is within the target.
fn report(measured: &Measured, pairs: &[Pair], runs: usize) -> bool {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\n{runs} interleaved runs of `true`, load {}", load.trim());
    println!("the least of each in microseconds, ratios of the least, and ratios of the medians");
    let costs = ["ours", "by hand", "no limit"];
    let ratios = ["/ native", "/ by hand", "/ no limit"];
    let head = costs.into_iter().chain(ratios).chain(ratios);
    println!("{:<8}{}", "", head.map(|word| format!("{word:>11}")).collect::<String>());
    println!("{:<8}{:>11}", "native", measured.native.least);
    let mut good = true;
    for (pair, costs) in pairs.iter().zip(&measured.pairs) {
        let least = hundredths(costs, measured.native, |cost| cost.least);
        let medians = hundredths(costs, measured.native, |cost| cost.median);
        let micros = [Some(costs.ours), Some(costs.hand), costs.unlimited];
        let micros = micros.map(|cost| cell(cost.map(|cost| cost.least.to_string()))).concat();
        let shown = |hundredths: u128| format!("{}.{:02}", hundredths / 100, hundredths % 100);
        let ratios = least.into_iter().chain(medians).map(|ratio| cell(ratio.map(shown)));
        let is_much = medians[1].is_none_or(|ratio| ratio > MOST);
        let mark = if is_much { "  too much" } else { "" };
        println!("{:<8}{micros}{}{mark}", pair.name, ratios.collect::<String>());
        good &= !is_much;
    }
    good
}

/// Of ours to the native run, to the tool by hand, and to that without limits.
fn hundredths(costs: &Costs, native: Cost, of: impl Fn(Cost) -> u128) -> [Option<u128>; 3] {
    [Some(native), Some(costs.hand), costs.unlimited]
        .map(|other| other.map(|other| of(costs.ours) * 100 / of(other).max(1)))
}

fn cell(text: Option<String>) -> String {
    format!("{:>11}", text.unwrap_or_default())
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
    fn ratios_are_to_each_other() {
        let cost = |least| Cost { median: 2 * least, least };
        let costs = Costs { ours: cost(110), hand: cost(100), unlimited: None };
        let ratios = hundredths(&costs, cost(50), |cost| cost.least);
        assert_eq!(ratios, [Some(220), Some(110), None]);
    }

    #[test]
    fn the_median_and_the_least_count() {
        assert_eq!(cost(vec![3, 1, 2]), Cost { median: 2, least: 1 });
    }
}
