//! `cargo xtask load`: many clients of one service, some of whom behave badly, and a look at every
//! answer and at what is left.

mod chaos;
mod go_judge;
mod http;
mod kinds;
mod level;
mod random;
mod server;
mod stats;

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Outcome;
use crate::build::binary_alone;
use crate::tally::Tally;
use crate::user::Stage;
use go_judge::GoJudge;
use kinds::Kinds;
use level::{Seen, What};
use server::{Server, Traces};

/// How much is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    seconds: u64,
    levels: &'static [usize],
    hellos: &'static [usize],
    chaos: chaos::Size,
    /// Another service to compare with.
    go_judge: Option<PathBuf>,
    profile: &'static [&'static str],
}

impl Load {
    /// What belongs to all tests: seconds, not minutes.
    pub(crate) const SHORT: Self = Self {
        seconds: 2,
        levels: &[2, 64],
        hellos: &[2],
        chaos: chaos::Size { hang_ups: 100, idle: 1000, others: 20, large: 2 },
        go_judge: None,
        profile: &[],
    };

    const FULL: Self = Self {
        seconds: 60,
        levels: &[1, 2, 16, 64, 256],
        hellos: &[1, 2, 16, 64],
        chaos: chaos::Size { hang_ups: 1000, idle: 10_000, others: 200, large: 8 },
        go_judge: None,
        profile: &["--release"],
    };
}

/// `load [--seconds N] [--short] [--debug] [--go-judge BINARY]`
pub(crate) fn load(args: &[String]) -> Outcome {
    let mut load = if args.iter().any(|arg| arg == "--short") { Load::SHORT } else { Load::FULL };
    let mut args = args.iter().filter(|arg| *arg != "--short");
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--debug" => load.profile = &[],
            "--seconds" => {
                let seconds = args.next().and_then(|text| text.parse().ok());
                load.seconds = seconds.ok_or("--seconds needs a whole number")?;
            }
            "--go-judge" => {
                load.go_judge = Some(args.next().ok_or("--go-judge needs a path")?.into());
            }
            other => return Err(format!("no option {other}")),
        }
    }
    Ok(run(&load)?.failed == 0)
}

/// The binary to try, where it is not to be built.
const BINARY: &str = "FUMEHOOD_BIN";

/// Nobody who waits for as long as the interface allows is refused; the log is of no use here.
const SETTINGS: &str = "log = \"none\"\n[line]\nwaiting = 512\n[http]\nconnections = 12000\n";

/// Puts the service under load, prints what was seen, and counts what is right and wrong.
pub(crate) fn run(load: &Load) -> Result<Tally, String> {
    let stage = Stage::new()?;
    let binary = match env::var_os(BINARY) {
        Some(path) => path.into(),
        None => binary_alone(load.profile)?,
    };
    let kinds = Kinds::compile(&stage.home())?;
    let server = Server::start(&binary, &stage.home(), SETTINGS)?;
    let mut wrong = under_load(load, &server, &kinds, &stage.home())?;
    wrong.extend(server.stop());
    let mut all = Tally::PASS;
    for (index, line) in wrong.iter().enumerate() {
        all = Tally::FAIL;
        if index < MOST_LINES {
            println!("WRONG: {line}");
        }
    }
    println!("{} things are wrong", wrong.len());
    Ok(all)
}

/// How many of the things that are wrong are printed.
const MOST_LINES: usize = 20;

fn under_load(
    load: &Load,
    server: &Server,
    kinds: &Kinds,
    dir: &Path,
) -> Result<Vec<String>, String> {
    let time = Duration::from_secs(load.seconds);
    // The first of everything makes what is kept for later.
    let mut wrong = level::run(server.address, What::Mixed(kinds), 16, time.min(WARM_UP)).wrong;
    wrong.extend(chaos::until_large_body_runs(server.address, kinds));
    let before = server.settled();
    println!("service at rest: {before}, {} MiB", server.memory().0);
    hellos(load, server, kinds, dir, time, &mut wrong)?;
    mixed(load, server, kinds, time, &mut wrong);
    wrong.extend(is_left(server, before, "mixed load"));
    for (name, trick) in chaos::TRICKS {
        let faults = trick(server.address, kinds, load.chaos);
        let now = server.memory().0;
        println!("{name}: {} wrong, service {now} MiB", faults.len());
        wrong.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
        wrong.extend(is_left(server, before, name));
    }
    Ok(wrong)
}

const WARM_UP: Duration = Duration::from_secs(5);

fn is_left(server: &Server, before: Traces, after: &str) -> Option<String> {
    let ready = if server.is_ready() { "" } else { ", and not ready" };
    let left = server.settles_to(before);
    left.err().map(|left| format!("after {after} there are {left} rather than {before}{ready}"))
}

/// The same small program again and again, through both interfaces and, where there is one, at the
/// other service.
fn hellos(
    load: &Load,
    server: &Server,
    kinds: &Kinds,
    dir: &Path,
    time: Duration,
    wrong: &mut Vec<String>,
) -> Result<(), String> {
    let other = load.go_judge.as_deref().map(|path| GoJudge::start(path, dir)).transpose()?;
    let theirs = go_judge::hello();
    let time = time.min(Duration::from_secs(10));
    println!(
        "\n{:>8} {:10} {:>9} {:>9} {:>9} {:>9}",
        "clients", "what", "a second", "p50 ms", "p99 ms", "most ms"
    );
    for &clients in load.hellos {
        let ours = [("hello", server.address), ("echo", server.address)];
        let mut rows: Vec<_> =
            ours.into_iter().map(|(name, address)| (kinds.named(name), address)).collect();
        rows.extend(other.as_ref().map(|other| (&theirs, other.address)));
        for (kind, address) in rows {
            let seen = level::run(address, What::One(kind), clients, time);
            let times = seen.answers.get(kind.name).cloned().unwrap_or_default();
            println!("{clients:>8} {:10} {:>9.0} {times}", kind.name, seen.throughput());
            wrong.extend(judged(seen, clients));
        }
    }
    Ok(())
}

fn mixed(load: &Load, server: &Server, kinds: &Kinds, time: Duration, wrong: &mut Vec<String>) {
    println!(
        "\n{:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "clients",
        "answers",
        "a second",
        "refused",
        "hello p50",
        "p99 ms",
        "most ms",
        "MiB now, most"
    );
    for &clients in load.levels {
        let seen = level::run(server.address, What::Mixed(kinds), clients, time);
        let hello = seen.answers.get("hello").cloned().unwrap_or_default();
        let (now, most) = server.memory();
        println!(
            "{clients:>8} {:>9} {:>9.1} {:>9} {hello} {now:>6} {most:>6}",
            seen.count(),
            seen.throughput(),
            seen.refused
        );
        wrong.extend(judged(seen, clients));
    }
}

/// A level without a single right answer is wrong, too.
fn judged(seen: Seen, clients: usize) -> Vec<String> {
    let nothing = (seen.count() == 0).then(|| "no answer was right".to_owned());
    let all = seen.wrong.into_iter().chain(nothing);
    all.map(|line| format!("{clients} clients: {line}")).collect()
}
