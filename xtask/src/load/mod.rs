//! `cargo xtask load`: many clients of one service, some of whom behave badly, and a look at every
//! answer and at what is left.

mod chaos;
mod floor;
mod go_judge;
mod http;
mod kinds;
mod level;
mod overhead;
mod random;
mod server;
mod slowest;
mod stats;
mod verdict;

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Outcome;
use crate::build::{binary_alone, launch_bench};
use crate::tally::Tally;
use crate::user::Stage;
use floor::Floor;
use go_judge::GoJudge;
use kinds::Kinds;
use level::What;
use server::{Server, Traces};
use stats::Times;
use verdict::Verdicts;

/// How much is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    seconds: u64,
    levels: &'static [usize],
    hellos: &'static [usize],
    chaos: chaos::Size,
    /// Runs that are compared with those of the library.
    overhead: usize,
    /// Whether figures are to keep promises, too: not in a build without optimization.
    measures: bool,
    /// Another service to compare with.
    go_judge: Option<PathBuf>,
    profile: &'static [&'static str],
    /// Mixed load of so many clients, and nothing else.
    only: Option<usize>,
    /// Whether programs share all processors, to compare with.
    shared: bool,
}

impl Load {
    /// What belongs to all tests: seconds, not minutes.
    pub(crate) const SHORT: Self = Self {
        seconds: 2,
        levels: &[2, 64],
        hellos: &[2],
        chaos: chaos::Size { hang_ups: 100, idle: 1000, others: 20, large: 2 },
        overhead: 0,
        measures: false,
        go_judge: None,
        profile: &[],
        only: None,
        shared: false,
    };

    const FULL: Self = Self {
        seconds: 60,
        levels: &[1, 2, 16, 64, 256],
        hellos: &[1, 2, 16, 64],
        chaos: chaos::Size { hang_ups: 1000, idle: 10_000, others: 200, large: 8 },
        overhead: 500,
        measures: true,
        go_judge: None,
        profile: &["--release"],
        only: None,
        shared: false,
    };
}

/// `load [--seconds N] [--clients N] [--shared] [--short] [--debug] [--go-judge BINARY]`
pub(crate) fn load(args: &[String]) -> Outcome {
    let mut load = if args.iter().any(|arg| arg == "--short") { Load::SHORT } else { Load::FULL };
    let mut args = args.iter().filter(|arg| *arg != "--short");
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--shared" => load.shared = true,
            "--debug" => (load.profile, load.measures, load.overhead) = (&[], false, 0),
            "--seconds" => {
                let seconds = args.next().and_then(|text| text.parse().ok());
                load.seconds = seconds.ok_or("--seconds needs a whole number")?;
            }
            "--go-judge" => {
                load.go_judge = Some(args.next().ok_or("--go-judge needs a path")?.into());
            }
            "--clients" => {
                let clients = args.next().and_then(|text| text.parse().ok());
                load.only = Some(clients.ok_or("--clients needs a whole number")?);
            }
            other => return Err(format!("no option {other}")),
        }
    }
    Ok(run(&load)?.failed == 0)
}

/// The binary to try, where it is not to be built.
const BINARY: &str = "FUMEHOOD_BIN";

/// The benchmark `launch` of the library, likewise.
const BENCH: &str = "FUMEHOOD_LAUNCH";

/// Nobody who waits for as long as the interface allows is refused; the log is of no use here.
fn settings(apart: bool) -> String {
    format!("log = \"none\"\n[line]\nwaiting = 512\napart = {apart}\n[http]\nconnections = 12000\n")
}

/// Puts the service under load, prints what was seen, and counts the promises that are kept.
pub(crate) fn run(load: &Load) -> Result<Tally, String> {
    let stage = Stage::new()?;
    let binary = match env::var_os(BINARY) {
        Some(path) => path.into(),
        None => binary_alone(load.profile)?,
    };
    let kinds = Kinds::compile(&stage.home())?;
    let server = Server::start(&binary, &stage.home(), &settings(!load.shared))?;
    let mut trial = Trial { load, server: &server, kinds: &kinds, seen: Seen::default() };
    trial.run(&stage.home())?;
    let mut all = trial.seen;
    all.left.extend(server.stop());
    for line in
        all.wrong.iter().chain(&all.lost).chain(&all.chaos).chain(&all.left).take(MOST_LINES)
    {
        println!("WRONG: {line}");
    }
    let verdicts = all.verdicts(load);
    print!("\n{verdicts}");
    let failure = || Tally::failure(format!("the service under load:\n{verdicts}"));
    Ok(if verdicts.are_kept() { Tally::PASS } else { failure() })
}

/// How many of the things that are wrong are printed.
const MOST_LINES: usize = 20;

const WARM_UP: Duration = Duration::from_secs(5);

/// How often connections come and go until memory must not grow any more.
const AGAIN: usize = 5;

/// A service, what it is tried with, and what was seen of it.
struct Trial<'a> {
    load: &'a Load,
    server: &'a Server,
    kinds: &'a Kinds,
    seen: Seen,
}

impl Trial<'_> {
    fn run(&mut self, dir: &Path) -> Result<(), String> {
        let time = Duration::from_secs(self.load.seconds);
        // The first of everything makes what is kept for later.
        let warm_up = What::Mixed(self.kinds);
        self.note(16, level::run(self.server.address, warm_up, 16, time.min(WARM_UP)));
        self.seen.chaos.extend(chaos::until_large_body_runs(self.server.address, self.kinds));
        if let Some(clients) = self.load.only {
            self.mixed_of(&[clients], time);
            self.mixed_elsewhere(dir, clients, time)?;
            return if clients == 2 { self.floor(dir, time) } else { Ok(()) };
        }
        let before = self.server.settled();
        self.seen.memory.push(self.server.memory().0);
        println!("service at rest: {before}, {} MiB", self.server.memory().0);
        self.overhead()?;
        self.hellos(dir, time.min(Duration::from_secs(10)))?;
        self.mixed(time);
        self.look(before, "mixed load");
        if self.load.measures {
            self.floor(dir, time)?;
        }
        for (name, trick) in chaos::TRICKS {
            let faults = trick(self.server.address, self.kinds, self.load.chaos);
            println!("{name}: {} wrong, service {} MiB", faults.len(), self.server.memory().0);
            self.seen.chaos.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
            self.look(before, name);
        }
        // What fragments the heap does so less and less, what leaks does so every time.
        let (name, again) = chaos::TRICKS[chaos::TRICKS.len() - 1];
        for _ in 0..AGAIN {
            let faults = again(self.server.address, self.kinds, self.load.chaos);
            self.seen.chaos.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
            self.look(before, name);
            println!("{name} again: service {} MiB", self.server.memory().0);
        }
        Ok(())
    }

    /// Looks at what there is with nothing to do.
    fn look(&mut self, before: Traces, after: &str) {
        let left = self.server.settles_to(before).err();
        let left = left.map(|left| format!("after {after} there are {left} rather than {before}"));
        let not_ready = (!self.server.is_ready()).then(|| format!("after {after}: not ready"));
        self.seen.left.extend(left.into_iter().chain(not_ready));
        self.seen.looks += 1;
        self.seen.memory.push(self.server.memory().0);
    }

    /// A level without a single right answer is wrong, too.
    fn note(&mut self, clients: usize, seen: level::Seen) {
        let nothing = (seen.count() == 0).then(|| "no answer was right".to_owned());
        let named = |line: String| format!("{clients} clients: {line}");
        self.seen.answers += seen.count();
        self.seen.wrong.extend(seen.wrong.into_iter().chain(nothing).map(named));
        self.seen.lost.extend(seen.lost.into_iter().map(named));
    }

    /// The same run by the library, which is built for it.
    fn overhead(&mut self) -> Result<(), String> {
        let runs = self.load.overhead;
        if runs == 0 {
            return Ok(());
        }
        let bench = match env::var_os(BENCH) {
            Some(path) => path.into(),
            None => launch_bench()?,
        };
        let both = overhead::measure(self.server, &bench, self.kinds, runs)?;
        overhead::print(&both);
        self.seen.more = both.more();
        self.seen.wrong.extend(both.wrong);
        Ok(())
    }

    /// The same small program again and again, through both interfaces and, where there is one, at
    /// the other service.
    fn hellos(&mut self, dir: &Path, time: Duration) -> Result<(), String> {
        let other = self.load.go_judge.as_deref();
        let other = other.map(|path| GoJudge::start(path, dir)).transpose()?;
        let theirs = go_judge::hello();
        println!(
            "\n{:>8} {:10} {:>9} {:>9} {:>9} {:>9}",
            "clients", "what", "a second", "p50 ms", "p99 ms", "most ms"
        );
        for &clients in self.load.hellos {
            let ours = ["hello", "echo"].map(|name| (self.kinds.named(name), self.server.address));
            let others = other.as_ref().map(|other| (&theirs, other.address));
            for (kind, address) in ours.into_iter().chain(others) {
                let seen = level::run(address, What::One(kind), clients, time);
                let times = seen.answers.get(kind.name).cloned().unwrap_or_default();
                println!("{clients:>8} {:10} {:>9.0} {times}", kind.name, seen.throughput());
                if clients == 2 && kind.name == "hello" {
                    self.seen.alone = times;
                }
                self.note(clients, seen);
            }
        }
        Ok(())
    }

    /// What two clients get, and a bare process in the place of one of them.
    fn floor(&mut self, dir: &Path, time: Duration) -> Result<(), String> {
        let program = dir.join("hello");
        let mut floor = Floor::measure(self.server.address, self.kinds, &program, time / 2)?;
        print!("{floor}");
        for beside in std::mem::take(&mut floor.beside) {
            self.note(2, beside);
        }
        self.seen.floor = Some(floor);
        Ok(())
    }

    /// The same mixed load of another service.
    fn mixed_elsewhere(
        &mut self,
        dir: &Path,
        clients: usize,
        time: Duration,
    ) -> Result<(), String> {
        let Some(path) = self.load.go_judge.as_deref() else { return Ok(()) };
        let other = GoJudge::start(path, dir)?;
        let kinds = go_judge::all(self.kinds, dir);
        level::run(other.address, What::Mixed(&kinds), 16, time.min(WARM_UP));
        let seen = level::run(other.address, What::Mixed(&kinds), clients, time);
        let hello = seen.answers.get("hello").cloned().unwrap_or_default();
        println!(
            "go-judge {:>9} {:>9.1} {:>9} {hello}",
            seen.count(),
            seen.throughput(),
            seen.refused
        );
        print!("{}", slowest::Company::of("hello", &seen.spans));
        self.note(clients, seen);
        Ok(())
    }

    fn mixed(&mut self, time: Duration) {
        // What the heap keeps of a crowd it has for the next one; what leaks does so every time.
        let levels = [self.load.levels, self.load.levels.last().map_or(&[], std::slice::from_ref)];
        self.mixed_of(&levels.concat(), time);
    }

    fn mixed_of(&mut self, levels: &[usize], time: Duration) {
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
        for &clients in levels {
            let seen = level::run(self.server.address, What::Mixed(self.kinds), clients, time);
            let hello = seen.answers.get("hello").cloned().unwrap_or_default();
            let (now, most) = self.server.memory();
            println!(
                "{clients:>8} {:>9} {:>9.1} {:>9} {hello} {now:>6} {most:>6}",
                seen.count(),
                seen.throughput(),
                seen.refused
            );
            self.seen.levels.push((clients, seen.throughput(), hello));
            if self.load.only.is_some() {
                print!("{}", slowest::Company::of("hello", &seen.spans));
            }
            self.seen.crowded.push(self.server.memory().0);
            self.note(clients, seen);
        }
    }
}

/// All that was seen.
#[derive(Debug, Default)]
struct Seen {
    answers: usize,
    wrong: Vec<String>,
    lost: Vec<String>,
    chaos: Vec<String>,
    /// What was left, in so many looks.
    left: Vec<String>,
    looks: usize,
    /// MiB of the service after each level of mixed load, of which the last came twice.
    crowded: Vec<u64>,
    /// MiB of the service at rest, in the beginning and after everything.
    memory: Vec<u64>,
    /// Clients, right answers a second, and the times of a hello among them.
    levels: Vec<(usize, f64, Times)>,
    /// Times of a hello at two clients that ask for nothing else.
    alone: Times,
    /// Milliseconds of a run that the library does not take.
    more: Option<f64>,
    /// What a bare process gets in the place of a client.
    floor: Option<Floor>,
}

/// How many MiB more the service may have than before: fragments of the heap.
const GROWTH: u64 = 24;

impl Seen {
    fn verdicts(&self, load: &Load) -> Verdicts {
        let mut all = Verdicts::default();
        all.none("no wrong answer", self.wrong.len(), &format!("in {} right ones", self.answers));
        all.none("no lost answer", self.lost.len(), "requests without one");
        all.none("clients that behave badly hurt nobody", self.chaos.len(), "faults");
        all.none(
            "nothing is left behind",
            self.left.len(),
            &format!("faults in {} looks", self.looks),
        );
        if load.only.is_some() {
            let hello = self.levels.first().map(|level| &level.2);
            all.tail("p99 of a hello among all other programs <= 3 medians", hello);
            self.note_floor(&mut all);
            return all;
        }
        for (promise, what, memory) in [
            ("memory is flat under mixed load", "most clients", &self.crowded),
            ("memory is flat in the end", "many connections", &self.memory),
        ] {
            let last = |back: usize| memory.iter().rev().nth(back).copied().unwrap_or(u64::MAX);
            let [once, twice] = [last(1), last(0)];
            let seen = format!("{once} MiB after {what}, {twice} MiB after as many more");
            all.add(promise, seen, twice != u64::MAX && twice <= once.saturating_add(GROWTH));
        }
        if !load.measures {
            return all;
        }
        let best = self.levels.iter().map(|level| level.1).fold(0.0, f64::max);
        let most_clients = self.levels.last().map_or(0.0, |level| level.1);
        let keeps = |ratio| ratio >= 0.85;
        all.ratio(
            "throughput at most clients >= 0.85 of the best",
            [most_clients, best],
            keeps,
            "a second",
        );
        let among = self.levels.iter().find(|level| level.0 == 2).map(|level| &level.2);
        all.tail("p99 of a hello at 2 clients <= 3 medians", Some(&self.alone));
        all.tail("the same among all other programs", among);
        self.note_floor(&mut all);
        let more = self.more.unwrap_or(f64::NAN);
        all.add(
            "a run costs <= 1 ms more than in the library",
            format!("{more:.3} ms at the median"),
            more <= 1.0,
        );
        all
    }

    /// What the promise of a hello among others is to be held against.
    fn note_floor(&self, all: &mut Verdicts) {
        let Some(floor) = &self.floor else { return };
        all.note("the same in turn with bare processes", floor.served.ratio());
        all.note("bare processes in its place, in the same minute", floor.bare.ratio());
    }
}
