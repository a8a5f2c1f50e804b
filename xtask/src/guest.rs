//! `cargo xtask test-v2`: tests on a kernel that has control groups version 2 and nothing else.
//!
//! A Debian cloud kernel under qemu's plain emulation, with statically linked test binaries and
//! busybox as its whole file system. Good for correctness, never for figures: everything is ten
//! to twenty times slower in there.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its caller")]

mod apparmor;
mod cpio;
mod debian;
mod promises;
mod systemd;

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use cpio::Archive;

use crate::tally::{Failures, Tally};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Target of the statically linked binaries.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What the guest has besides busybox, and what it runs.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    /// Files and directories of this machine and their paths in the guest.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// What is run, one after the other.
    pub(crate) runs: Vec<Run>,
}

/// A command that is run in the guest, alone in a control group of its own.
#[derive(Debug)]
pub(crate) struct Run {
    /// One word, for the summary.
    pub(crate) name: String,
    pub(crate) user: User,
    /// The group that it starts in, which exists or is made.
    pub(crate) group: String,
    /// A shell command without quotes of its own.
    pub(crate) command: String,
}

/// Who runs a command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum User {
    Root,
    /// An unprivileged user to whom the group is delegated.
    Tester,
}

impl User {
    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Tester => "tester",
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    /// How long the guest may take.
    pub(crate) timeout: Duration,
    /// Another kernel than the one of this Debian.
    pub(crate) kernel: Option<PathBuf>,
    /// What the test binaries are told: filters and options of the test harness.
    arguments: Vec<String>,
    guest: Guest,
}

/// What the guests have besides their kernel.
#[derive(Clone, Copy, Debug)]
enum Guest {
    Busybox,
    Systemd,
    AppArmor,
}

/// How many of this machine's processors emulate the guest's.
#[derive(Clone, Copy, Debug)]
enum Threads {
    One,
    Many,
}

/// `test-v2 [--timeout SECONDS] [--kernel VMLINUZ] [FILTER…] [-- OPTION…]`: the unit tests and the
/// promises whose names contain a filter, by default those about control groups, as root and as a
/// user with a delegated group. `--systemd`: what `fumehood check` advises under systemd.
/// `--apparmor`: what it advises where AppArmor denies, and the packaged profile.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let outcome = parse(args).and_then(|options| match options.guest {
        Guest::Busybox => test(&options, &machine(&options)?),
        Guest::Systemd => systemd::test(&options, &machine(&options)?),
        Guest::AppArmor => prepare().and_then(|_| apparmor::test(&options)),
    });
    match outcome {
        Ok(tally) => {
            println!("{tally}");
            ExitCode::from(u8::from(tally.failed > 0))
        }
        Err(error) => {
            eprintln!("test-v2: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The same, as a part of all tests; skipped where there is no machine to be had.
pub(crate) fn tally() -> Tally {
    let tried = parse(&[]).and_then(|options| match machine(&options) {
        Ok(kernel) => test(&options, &kernel),
        Err(error) => {
            println!("skipped: no guest can be had: {error}");
            Ok(Tally::skipped(1))
        }
    });
    tried.unwrap_or_else(|error| {
        eprintln!("test-v2: {error}");
        Tally::failure(format!("test-v2: {error}"))
    })
}

/// What runs the guest: the emulator is there, and the kernel's path.
fn machine(options: &Options) -> Result<PathBuf> {
    let cache = prepare()?;
    options.kernel.clone().map_or_else(|| kernel(&cache), Ok)
}

/// The emulator is there, and the directory of what guests are made of.
fn prepare() -> Result<PathBuf> {
    let cache = target_dir()?.join("guest");
    fs::create_dir_all(&cache)?;
    require_tools()?;
    Ok(cache)
}

fn parse(args: &[String]) -> Result<Options> {
    let timeout = Duration::from_secs(1800);
    let mut options =
        Options { timeout, kernel: None, arguments: Vec::new(), guest: Guest::Busybox };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--timeout" => options.timeout = Duration::from_secs(value()?.parse()?),
            "--systemd" => options.guest = Guest::Systemd,
            "--apparmor" => options.guest = Guest::AppArmor,
            "--kernel" => options.kernel = Some(value()?.into()),
            "--" => {
                options.arguments.extend(args.by_ref().cloned());
            }
            option if option.starts_with('-') => return Err(format!("unknown: {option}").into()),
            filter => options.arguments.push(filter.to_owned()),
        }
    }
    Ok(options)
}

fn test(options: &Options, kernel: &Path) -> Result<Tally> {
    let start = Instant::now();
    let mut payload = Payload::default();
    for binary in &build_tests(&["--package", "fumehood", "--lib"])? {
        payload.add_tests(binary, &unit_arguments(&options.arguments))?;
    }
    promises::add(&mut payload, &options.arguments)?;
    let built = start.elapsed();
    let Console { outcomes, tally } = boot(&payload, kernel, options)?;
    println!(
        "built in {:.1} s, {:.1} s in all",
        built.as_secs_f32(),
        start.elapsed().as_secs_f32()
    );
    let unexplained = !summarize(&payload, &outcomes) && tally.failed == 0;
    let mut all = tally.of_whom("in a guest");
    if unexplained {
        all += Tally::failure(format!("in a guest: not all ended well: {outcomes:?}"));
    }
    Ok(all)
}

/// Without a filter, the unit tests of the control groups: most others need more than busybox.
fn unit_arguments(arguments: &[String]) -> Vec<String> {
    let mut arguments = arguments.to_vec();
    if arguments.first().is_none_or(|first| first.starts_with('-')) {
        arguments.insert(0, "cgroup".to_owned());
    }
    arguments
}

impl Payload {
    /// Runs a test binary three ways: as root in the root group, as root in a group that it has
    /// to divide, and as a user to whom such a group is delegated.
    fn add_tests(&mut self, binary: &Path, arguments: &[String]) -> Result<()> {
        let name = binary.file_name().ok_or("a test binary without a name")?.to_string_lossy();
        let guest = format!("/tests/{name}");
        let command = format!("env FUMEHOOD_NO_SKIP=1 {guest} {}", arguments.join(" "));
        let ways = [("root-group", User::Root, "/"), ("inner-group", User::Root, "/inner")];
        for (way, user, group) in ways.into_iter().chain([("delegated", User::Tester, "/user")]) {
            self.runs.push(Run {
                name: format!("{name}:{way}"),
                user,
                group: group.to_owned(),
                command: command.clone(),
            });
        }
        self.files.push((binary.to_owned(), guest));
        Ok(())
    }
}

/// Builds tests that need no shared library; their paths.
fn build_tests(selection: &[&str]) -> Result<Vec<PathBuf>> {
    build(&["test", "--no-run"], selection)
}

/// Builds programs that need no shared library; their paths.
fn build(command: &[&str], selection: &[&str]) -> Result<Vec<PathBuf>> {
    let output = Command::new(env!("CARGO"))
        .args(command)
        .args(["--message-format=json", "--target", TARGET])
        .args(selection)
        .args(["--target-dir".as_ref(), target_dir()?.join("static").as_os_str()])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_TEST_DEBUG", "false")
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_PROFILE_DEV_STRIP", "true")
        .stderr(Stdio::inherit())
        .output()?;
    let binaries = executables(&String::from_utf8(output.stdout)?);
    if !output.status.success() || binaries.is_empty() {
        return Err("the tests could not be built".into());
    }
    Ok(binaries)
}

/// The executables in cargo's messages, which are a JSON object a line.
fn executables(messages: &str) -> Vec<PathBuf> {
    let executable = |line: &str| {
        let (_, rest) = line.split_once(r#""executable":""#)?;
        Some(PathBuf::from(rest.split_once('"')?.0))
    };
    messages.lines().filter_map(executable).collect()
}

/// The target directory of the workspace: that of this very program.
fn target_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("CARGO_TARGET_DIR") {
        return Ok(dir.into());
    }
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(2).ok_or("this program is in no target directory")?.to_owned())
}

/// What the guest said.
#[derive(Debug, Default)]
struct Console {
    /// How each run ended, in the order of the runs; fewer than there were if the guest died.
    outcomes: Vec<(String, i32)>,
    /// What all tests came to.
    tally: Tally,
}

fn boot(payload: &Payload, kernel: &Path, options: &Options) -> Result<Console> {
    let initrd = target_dir()?.join("guest/initrd.cpio");
    pack(payload, &initrd)?;
    watch(start_qemu(kernel, &initrd, Threads::Many)?, options.timeout)
}

/// What is needed and the Debian package that has it.
const TOOLS: [(&str, &str); 2] =
    [("/usr/bin/qemu-system-x86_64", "qemu-system-x86"), ("/bin/busybox", "busybox-static")];

fn require_tools() -> Result<()> {
    let missing: Vec<_> =
        TOOLS.iter().filter(|(path, _)| !Path::new(path).exists()).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends"]).args(&missing);
    if output(&mut install).is_err() {
        update_lists()?;
        output(&mut install)
            .map_err(|_| format!("{} missing: install as root", missing.join(" and ")))?;
    }
    Ok(())
}

/// A fresh container has no lists of packages.
fn update_lists() -> Result<()> {
    output(Command::new("apt-get").arg("update")).map(|_| ())
}

/// The cloud kernel of this Debian, downloaded once and not installed.
fn kernel(cache: &Path) -> Result<PathBuf> {
    if let Some(kernel) = find_kernel(cache) {
        return Ok(kernel);
    }
    let package = kernel_package().or_else(|_| {
        update_lists()?;
        kernel_package()
    })?;
    output(Command::new("apt-get").args(["download", &package]).current_dir(cache))?;
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            output(Command::new("dpkg").arg("-x").arg(&path).arg(cache.join("kernel")))?;
            fs::remove_file(path)?;
        }
    }
    find_kernel(cache).ok_or_else(|| format!("{package} has no kernel in it").into())
}

/// The package that the newest cloud kernel is in.
fn kernel_package() -> Result<String> {
    let depends = output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| name.starts_with("linux-image-"))
        .ok_or("no package linux-image-cloud-amd64: is this a Debian?")?;
    Ok(package.to_owned())
}

fn find_kernel(cache: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(cache.join("kernel/boot")).ok()?.flatten();
    let is_kernel = |name: &fs::DirEntry| name.file_name().to_string_lossy().starts_with("vmlinuz");
    entries.find(is_kernel).map(|entry| entry.path())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

const PASSWD: &str = "root:x:0:0::/:/bin/sh\ntester:x:1000:1000::/tmp:/bin/sh\n";
const GROUP: &str = "root:x:0:\ntester:x:1000:\n";

fn pack(payload: &Payload, path: &Path) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(File::create(path)?));
    for dir in ["bin", "etc", "tests"] {
        archive.directory(dir)?;
    }
    archive.copy(Path::new("/bin/busybox"), "bin/busybox")?;
    archive.file("init", 0o755, include_bytes!("guest/init.sh"))?;
    archive.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
    archive.file("etc/group", 0o644, GROUP.as_bytes())?;
    archive.file("runs", 0o644, script(&payload.runs).as_bytes())?;
    for (source, target) in &payload.files {
        archive.copy(source, target)?;
    }
    Ok(archive.finish()?)
}

fn script(runs: &[Run]) -> String {
    let line = |run: &Run| {
        format!("run '{}' {} '{}' {}\n", run.name, run.user.name(), run.group, run.command)
    };
    runs.iter().map(line).collect()
}

/// `q35` and not `microvm`, which now and then hangs at boot; `-accel tcg` because a `/dev/kvm`
/// that is there need not run a stock kernel.
fn start_qemu(kernel: &Path, initrd: &Path, threads: Threads) -> Result<Child> {
    let accelerator = match threads {
        Threads::One => "tcg,thread=single",
        Threads::Many => "tcg",
    };
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", accelerator, "-cpu", "max", "-M", "q35", "-smp", "2", "-m", "2048"]);
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    qemu.args(["-serial", "stdio", "-append", "console=ttyS0 quiet panic=-1 reboot=t"]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    Ok(qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
}

/// Passes the console on and reads the results from it, until the guest ends or is late.
fn watch(mut qemu: Child, timeout: Duration) -> Result<Console> {
    let lines = lines_of(&mut qemu)?;
    let deadline = Instant::now() + timeout;
    let (mut console, mut failures) = (Console::default(), Failures::default());
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("{line}");
                console.outcomes.extend(outcome(&line));
                console.tally += Tally::parse(&line).unwrap_or_default();
                failures.read(&line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                eprintln!("test-v2: the guest is not done after {} s", timeout.as_secs());
                qemu.kill()?;
                break;
            }
        }
    }
    qemu.wait()?;
    console.tally.failures.extend(failures.all());
    Ok(console)
}

fn lines_of(qemu: &mut Child) -> Result<Receiver<String>> {
    let console = qemu.stdout.take().ok_or("qemu has no output")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(std::result::Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// `TEST-RC=n name`, wherever in a line it stands: the kernel may have begun the line.
fn outcome(line: &str) -> Option<(String, i32)> {
    let (_, rest) = line.split_once("TEST-RC=")?;
    let (status, name) = rest.split_once(' ')?;
    Some((name.to_owned(), status.parse().ok()?))
}

/// Says how each run ended; whether all did well. A run that the guest said nothing about failed.
fn summarize(payload: &Payload, outcomes: &[(String, i32)]) -> bool {
    let mut all_well = true;
    for run in &payload.runs {
        let outcome = outcomes.iter().find(|(name, _)| *name == run.name);
        let verdict = match outcome {
            Some((_, 0)) => "ok".to_owned(),
            Some((_, status)) => format!("FAILED with exit status {status}"),
            None => "FAILED: it never ended".to_owned(),
        };
        println!("{:6} {} {verdict}", run.user.name(), run.name);
        all_well &= verdict == "ok";
    }
    all_well
}

#[cfg(test)]
mod tests {
    use super::{Payload, Run, User, executables, outcome, script, summarize};

    fn payload(names: &[&str]) -> Payload {
        let run = |name: &&str| Run {
            name: (*name).to_owned(),
            user: User::Tester,
            group: "/g".to_owned(),
            command: "/tests/a x".to_owned(),
        };
        Payload { files: Vec::new(), runs: names.iter().map(run).collect() }
    }

    #[test]
    fn a_run_that_said_nothing_failed() {
        let ok = ("a".to_owned(), 0);
        assert!(summarize(&payload(&["a"]), std::slice::from_ref(&ok)));
        assert!(!summarize(&payload(&["a", "b"]), std::slice::from_ref(&ok)));
        assert!(!summarize(&payload(&["a"]), &[("a".to_owned(), 101)]));
    }

    #[test]
    fn outcomes_are_found_in_a_console() {
        assert_eq!(outcome("TEST-RC=0 a"), Some(("a".to_owned(), 0)));
        assert_eq!(outcome("[ 3.1] oops TEST-RC=101 a b"), Some(("a b".to_owned(), 101)));
        assert_eq!(outcome("TEST-RC= a"), None);
    }

    #[test]
    fn runs_become_a_script() {
        assert_eq!(script(&payload(&["a"]).runs), "run 'a' tester '/g' /tests/a x\n");
    }

    #[test]
    fn executables_are_read_from_messages() {
        let messages = r#"{"reason":"x","executable":null}
{"reason":"y","executable":"/t/a-1","fresh":true}"#;
        assert_eq!(executables(messages), [std::path::PathBuf::from("/t/a-1")]);
    }
}
