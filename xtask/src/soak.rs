//! `cargo xtask soak`: many runs, a part of them killed together with their supervisor, and then a
//! look at what is left.

mod endure;
mod traces;

pub(crate) use traces::descendants;

use std::env;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::build::{binary_alone, cargo};
use crate::tally::Tally;
use crate::user::Stage;
use crate::{Outcome, options};
use traces::Traces;

/// How much is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) runs: u32,
    /// Supervisors at one time.
    pub(crate) concurrency: u32,
    /// Each so many'th supervisor is killed; 0 for none.
    pub(crate) kill_every: u32,
}

/// What belongs to all tests: seconds, not minutes.
pub(crate) const SHORT: Load = Load { runs: 300, concurrency: 4, kill_every: 10 };

/// What belongs to all tests of gVisor, all at once.
pub(crate) const CROWD: Load = Load { runs: 10, concurrency: 10, kill_every: 5 };

/// `soak [--runs N] [--concurrency C] [--kill-every K] [--seconds S]`
pub(crate) fn soak(args: &[String]) -> Outcome {
    let mut load = Load { runs: 1000, concurrency: 1, kill_every: 10 };
    let mut seconds = 0;
    options::numbers(
        args,
        &mut [
            ("--runs", &mut load.runs),
            ("--concurrency", &mut load.concurrency),
            ("--kill-every", &mut load.kill_every),
            ("--seconds", &mut seconds),
        ],
    )?;
    if seconds > 0 {
        return endure::endure(seconds, load.concurrency);
    }
    Ok(run(load)?.failed == 0)
}

/// Runs the load, prints what is left of it, and counts what is right and wrong.
pub(crate) fn run(load: Load) -> Result<Tally, String> {
    run_by(load, env::var(BACKEND).ok())
}

/// The same by a backend.
pub(crate) fn run_by(load: Load, backend: Option<String>) -> Result<Tally, String> {
    let stage = Stage::new()?;
    let soak = Soak {
        binary: env::var_os(BINARY).map_or_else(|| binary_alone(&[]), |path| Ok(path.into()))?,
        slowness: slowness(),
        backend,
        word: format!("soak-{}", std::process::id()),
        scratch: stage.home(),
        load,
        next: AtomicU32::new(0),
        done: Mutex::default(),
    };
    let before = soak.traces();
    let started = Instant::now();
    soak.run_all();
    let elapsed = started.elapsed();
    let next = soak.start(&[], ":").wait().expect("it is our child");
    soak.wait_until_quiet();
    let unclean = soak.traces();
    let found = soak.gc();
    let after = soak.traces();
    let done = soak.done.lock().map_err(|_| "a worker panicked")?;
    println!(
        "{} runs, {} at a time, {} of them killed, in {:.1} s",
        load.runs,
        load.concurrency,
        done.killed,
        elapsed.as_secs_f32()
    );
    println!("{}", Traces::table(&[("before", &before), ("then", &unclean), ("after gc", &after)]));
    println!("gc removed {} groups of killed supervisors", found.len());
    let mut wrong = done.wrong.clone();
    if !next.success() {
        wrong.push(format!("the next run, at once, ended with {next}"));
    }
    if after != before {
        wrong.push("something is left".to_owned());
    }
    if found.len() != unclean.groups {
        wrong.push("gc did not find exactly what was left".to_owned());
    }
    if soak.backend.is_none() {
        wrong.extend(descriptors(load)?);
    }
    wrong.iter().for_each(|line| println!("WRONG: {line}"));
    let failure = || Tally::failure(format!("many runs: {}", wrong.join("; ")));
    Ok(if wrong.is_empty() { Tally::PASS } else { failure() })
}

/// Names the binary, and the example of one supervisor for many runs, where there is no cargo to
/// build them.
const BINARY: &str = "FUMEHOOD_BIN";
const EXAMPLE: &str = "FUMEHOOD_MANY";

/// Names another backend than the native one, as for the promises.
const BACKEND: &str = "FUMEHOOD_BACKEND";

/// How many times slower than usual this machine is, as for the promises.
fn slowness() -> u32 {
    let named = env::var("FUMEHOOD_SLOWNESS").ok();
    named.and_then(|text| text.parse().ok()).unwrap_or(1)
}

struct Soak {
    binary: PathBuf,
    slowness: u32,
    backend: Option<String>,
    /// In the arguments of every process of ours.
    word: String,
    scratch: PathBuf,
    load: Load,
    next: AtomicU32,
    done: Mutex<Done>,
}

#[derive(Debug, Default)]
struct Done {
    killed: u32,
    wrong: Vec<String>,
    supervisors: Vec<u32>,
}

/// A program, flags for it and how a run of it must end.
struct Kind {
    flags: &'static [&'static str],
    script: &'static str,
    code: i32,
}

const KINDS: [Kind; 5] = [
    Kind { flags: &[], script: ":", code: 0 },
    Kind { flags: &[], script: "sleep 600 & (setsid sleep 600 &) ; exit 3", code: 3 },
    Kind {
        flags: &["--timeout", "100ms", "--grace", "10ms"],
        script: "trap '' TERM; sleep 600; :",
        code: 124,
    },
    Kind { flags: &["--output-limit", "4KiB"], script: "head -c 9999 /dev/zero", code: 153 },
    Kind {
        flags: &["--workspace-size", "1MiB"],
        script: "head -c 9M /dev/zero >/workspace/a || exit 4",
        code: 4,
    },
];

impl Soak {
    fn run_all(&self) {
        thread::scope(|scope| {
            for _ in 0..self.load.concurrency {
                scope.spawn(|| self.work());
            }
        });
    }

    fn work(&self) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.load.runs {
                return;
            }
            let every = self.load.kill_every;
            if every > 0 && index % every == every - 1 { self.kill_one() } else { self.one(index) }
        }
    }

    fn start(&self, flags: &[&str], script: &str) -> Child {
        let mut command = Command::new(&self.binary);
        command.arg("run");
        if !flags.contains(&"--timeout") {
            command.args(["--timeout", &format!("{}s", 30 * self.slowness)]);
        }
        if let Some(backend) = &self.backend {
            command.args(["--backend", backend]);
        }
        command.args(flags).args(["--", "sh", "-c", script, &self.word]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("TMPDIR", &self.scratch);
        let child = command.spawn().expect("the binary was just built");
        self.note(|done| done.supervisors.push(child.id()));
        child
    }

    fn note(&self, what: impl FnOnce(&mut Done)) {
        what(&mut self.done.lock().expect("no worker panics while it notes something"));
    }

    fn one(&self, index: u32) {
        let kind = &KINDS[index as usize % KINDS.len()];
        let status = self.start(kind.flags, kind.script).wait().expect("it is our child");
        if status.code() != Some(kind.code) {
            let line = format!("{}: {status} rather than {}", kind.script, kind.code);
            self.note(|done| done.wrong.push(line));
        }
    }

    /// From the first instant to well after the program has started. A slow machine may be slower
    /// still while there are many runs.
    fn kill_one(&self) {
        let mut child = self.start(&[], "sleep 600 & (setsid sleep 600 &) ; sleep 600; :");
        let slow = self.slowness > 1 || self.backend.is_some();
        let longest = if slow { 400_000 } else { 40_000 };
        thread::sleep(Duration::from_micros(random() % longest) * self.slowness);
        // Of another backend the tool, too: what it would still do itself must be done by others.
        let tools = if self.backend.is_some() { descendants(child.id()) } else { Vec::new() };
        child.kill().expect("it is our child");
        traces::kill(&tools);
        child.wait().expect("it is our child");
        self.note(|done| done.killed += 1);
    }

    /// The kernel takes a moment to tear namespaces down.
    fn wait_until_quiet(&self) {
        let deadline = Instant::now() + Duration::from_secs(60) * self.slowness;
        while traces::processes_naming(&self.word) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn traces(&self) -> Traces {
        let done = self.done.lock().expect("no worker panics while it notes something");
        Traces::look(&self.word, &done.supervisors, &self.scratch)
    }

    /// What `gc` says it removed of ours, a line each.
    fn gc(&self) -> Vec<String> {
        let output = Command::new(&self.binary).arg("gc").output();
        let output = output.expect("the binary was just built");
        let done = self.done.lock().expect("no worker panics while it notes something");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let ours = |line: &&str| {
            traces::supervisor(line).is_some_and(|pid| done.supervisors.contains(&pid))
        };
        text.lines().filter(ours).map(str::to_owned).collect()
    }
}

/// Not for secrets.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// The example of one supervisor for many runs.
fn many() -> Command {
    if let Some(path) = env::var_os(EXAMPLE) {
        return Command::new(path);
    }
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "fumehood", "--example", "many", "--"]);
    command
}

/// One supervisor that lives long: whether it has as many descriptors as before, and what it says.
fn descriptors(load: Load) -> Result<Option<String>, String> {
    let mut command = many();
    command.args([load.runs.to_string(), load.concurrency.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    println!("{text}");
    Ok((!output.status.success()).then_some(format!("one supervisor for all: {text}")))
}
