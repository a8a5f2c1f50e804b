//! Starting the binary and taking in all that it leaves behind.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Process, TempDir, backend, marker, slowness};

/// How much of a stream is kept for assertions; the rest is only counted.
const KEPT: usize = 4 << 20;

/// What `fumehood` is given as its own standard input.
#[derive(Debug, Default)]
pub(crate) enum Feed {
    /// `/dev/null`.
    #[default]
    Null,
    /// These bytes, then end of file.
    Bytes(Vec<u8>),
    /// A pipe that stays open until the run is finished.
    Held,
}

/// A `fumehood run` to be started.
#[derive(Debug)]
pub(crate) struct Fumehood {
    wrap: Vec<OsString>,
    flags: Vec<OsString>,
    program: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    feed: Feed,
    cwd: Option<PathBuf>,
    patience: Duration,
    report: Option<TempDir>,
}

/// Runs the program with these flags.
pub(crate) fn run(flags: &[&str], program: &[&str]) -> Ran {
    Fumehood::new(flags, program).run()
}

/// Runs the program with these flags and a report.
pub(crate) fn run_reported(flags: &[&str], program: &[&str]) -> Ran {
    Fumehood::new(flags, program).reported().run()
}

impl Fumehood {
    /// `fumehood run FLAGS -- PROGRAM`, with no standard input.
    pub(crate) fn new(flags: &[&str], program: &[&str]) -> Self {
        Self {
            wrap: Vec::new(),
            flags: flags.iter().map(OsString::from).collect(),
            program: program.iter().map(OsString::from).collect(),
            env: Vec::new(),
            feed: Feed::Null,
            cwd: None,
            patience: Duration::from_secs(60) * slowness(),
            report: None,
        }
    }

    /// The binary under test: `FUMEHOOD_BIN` where the suite was moved away from its build.
    pub(crate) fn binary() -> PathBuf {
        std::env::var_os("FUMEHOOD_BIN")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_fumehood")), PathBuf::from)
    }

    /// Adds a flag that is not text.
    pub(crate) fn flag(mut self, flag: impl Into<OsString>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Puts a command in front of the binary: it must end by executing its arguments.
    pub(crate) fn under(mut self, wrap: &[&str]) -> Self {
        self.wrap = wrap.iter().map(OsString::from).collect();
        self
    }

    /// Sets a variable in the environment of the binary, not of the program.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the standard input of the binary.
    pub(crate) fn feed(mut self, feed: Feed) -> Self {
        self.feed = feed;
        self
    }

    /// Sets the working directory of the binary.
    pub(crate) fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// How long the run may take before it counts as hung.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asks for a report.
    pub(crate) fn reported(mut self) -> Self {
        self.report = Some(TempDir::new());
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Ran {
        self.spawn().finish()
    }

    /// The whole command line.
    pub(crate) fn argv(&self) -> Vec<OsString> {
        let mut argv = self.wrap.clone();
        argv.extend([Self::binary().into(), OsString::from("run")]);
        argv.extend(backend::flags(&self.flags));
        argv.extend(self.flags.iter().cloned());
        argv.extend(backend::more_flags(&self.flags));
        argv.extend(self.more_time());
        if let Some(dir) = &self.report {
            argv.extend([OsString::from("--report"), dir.join("report.json").into()]);
        }
        if !self.program.is_empty() {
            argv.push("--".into());
            argv.extend(self.program.iter().cloned());
        }
        argv
    }

    /// On a slow machine, what has no limit of time of its own gets more than the default; of CPU
    /// time only where there must be control groups, or it would be refused.
    fn more_time(&self) -> Vec<OsString> {
        let has = |own: &str| self.flags.iter().any(|flag| flag.to_string_lossy().starts_with(own));
        let mut more = Vec::new();
        if slowness() == 1 || has("--job") {
            return more;
        }
        if !has("--timeout") {
            more.extend(["--timeout".into(), format!("{}s", 10 * slowness()).into()]);
        }
        if !has("--cpu-time") && std::env::var_os("FUMEHOOD_NO_SKIP").is_some() {
            more.extend(["--cpu-time".into(), format!("{}s", 10 * slowness()).into()]);
        }
        more
    }

    /// Starts it.
    pub(crate) fn spawn(mut self) -> Live {
        let argv = self.argv();
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]);
        if let Some(Ok((name, value))) = super::engine::variable() {
            command.env(name, value);
        }
        command.envs(self.env.drain(..));
        // Of its own, so that a signal that escapes to a whole group does not hit the tests.
        command.process_group(0);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if matches!(self.feed, Feed::Null) { Stdio::null() } else { Stdio::piped() });
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{argv:?}: {error}"));
        let stdin = feed(child.stdin.take(), self.feed);
        let stdout = collect(child.stdout.take().expect("stdout is piped"));
        let stderr = collect(child.stderr.take().expect("stderr is piped"));
        let (program, report, patience) = (self.program, self.report, self.patience);
        Live { child, stdin, stdout, stderr, program, report, patience, started }
    }
}

/// Writes what the child is to read; a pipe that is to be held is handed back.
fn feed(stdin: Option<ChildStdin>, feed: Feed) -> Option<ChildStdin> {
    let mut stdin = stdin?;
    let Feed::Bytes(bytes) = feed else { return Some(stdin) };
    // A program that does not read all of it breaks the pipe, which is its right.
    thread::spawn(move || drop(stdin.write_all(&bytes)));
    None
}

/// Reads a stream to its end on a thread of its own.
fn collect(mut stream: impl Read + Send + 'static) -> Receiver<Stream> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut all = Stream::default();
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let room = KEPT.saturating_sub(all.kept.len()).min(count);
            all.kept.extend_from_slice(&buffer[..room]);
            all.total += count as u64;
        }
        // The test is over if nobody listens any more.
        drop(sender.send(all));
    });
    receiver
}

/// What came out of a stream.
#[derive(Debug, Default)]
struct Stream {
    kept: Vec<u8>,
    total: u64,
}

/// A `fumehood run` under way; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Live {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<Stream>,
    stderr: Receiver<Stream>,
    program: Vec<OsString>,
    report: Option<TempDir>,
    patience: Duration,
    started: Instant,
}

impl Live {
    /// The confined program, seen from outside: the process whose arguments are the program's.
    /// The arguments must hold a [`marker`] for that.
    pub(crate) fn confined(&self) -> Process {
        let end = Instant::now() + Duration::from_secs(60) * slowness();
        while Instant::now() < end {
            if let Some(process) = Process::with_argv(&self.program) {
                return process;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("{:?} did not appear among the processes", self.program)
    }

    /// Process id of the outermost command, which is that of the supervisor.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last argument of the program, which is a [`marker`] where it has to be found.
    pub(crate) fn word(&self) -> String {
        self.program.last().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Whether the confined program has been executed by now.
    pub(crate) fn has_started(&self) -> bool {
        Process::with_argv(&self.program).is_some()
    }

    /// Sends `SIGKILL` to the outermost command.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the child was not waited for yet");
    }

    /// Sends a signal by name to the outermost command.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the child was not waited for yet");
    }

    /// Ends a held standard input and waits for the end of everything.
    pub(crate) fn finish(mut self) -> Ran {
        drop(self.stdin.take());
        let end = self.started + self.patience;
        let status = self.wait(end);
        let elapsed = self.started.elapsed();
        // After the end of fumehood nobody may hold its streams: a moment is for our own threads.
        let moment = Duration::from_secs(30) * slowness();
        let stdout = self.stdout.recv_timeout(moment).expect("stdout is held open after the end");
        let stderr = self.stderr.recv_timeout(moment).expect("stderr is held open after the end");
        let report = self.report.as_ref().and_then(|dir| read_report(&dir.join("report.json")));
        Ran {
            pid: self.child.id(),
            status,
            stdout: stdout.kept,
            stdout_total: stdout.total,
            stderr: String::from_utf8_lossy(&stderr.kept).into_owned(),
            report,
            elapsed,
        }
    }

    fn wait(&mut self, end: Instant) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(Instant::now() < end, "{:?} hung for {:?}", self.program, self.patience);
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Both fail harmlessly once the child has been waited for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read_report(path: &std::path::Path) -> Option<Value> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("report: {error}: {text}")))
}

/// What a finished run left.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Process id of the outermost command, which is that of the supervisor.
    pub(crate) pid: u32,
    pub(crate) status: ExitStatus,
    /// The first mebibytes of it.
    pub(crate) stdout: Vec<u8>,
    /// How many bytes there were.
    pub(crate) stdout_total: u64,
    pub(crate) stderr: String,
    report: Option<Value>,
    pub(crate) elapsed: Duration,
}

impl Ran {
    /// Holds the exit code to `code`.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "\n{self}");
        self
    }

    /// Holds the exit code to 0 and gives standard output without the space around it.
    #[track_caller]
    pub(crate) fn prints(self) -> String {
        self.exits(0).text()
    }

    /// Standard output without the space around it.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Holds that standard error names `text`.
    #[track_caller]
    pub(crate) fn complains(self, text: &str) -> Self {
        let holds = self.stderr.to_lowercase().contains(&text.to_lowercase());
        assert!(holds, "standard error does not name {text:?}\n{self}");
        self
    }

    /// Holds that standard error is one line that names every one of `texts`.
    #[track_caller]
    pub(crate) fn complains_in_one_line(self, texts: &[&str]) -> Self {
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "not one line\n{self}");
        texts.iter().fold(self, |ran, text| ran.complains(text))
    }

    /// The report that was asked for.
    #[track_caller]
    pub(crate) fn report(&self) -> &Value {
        self.report.as_ref().unwrap_or_else(|| panic!("no report was written\n{self}"))
    }

    /// The report's outcome, such as `exited`.
    #[track_caller]
    pub(crate) fn outcome(&self) -> &str {
        self.report()["outcome"]["kind"].as_str().unwrap_or_else(|| panic!("no outcome\n{self}"))
    }

    /// Where the report says that a guarantee stands: `held` or `not-held`.
    #[track_caller]
    pub(crate) fn standing(&self, guarantee: &str) -> &str {
        self.report()["confinement"]["guarantees"][guarantee]["state"]
            .as_str()
            .unwrap_or_else(|| panic!("{guarantee} is not in the report\n{self}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stdout = self.text();
        let shown: String = stdout.chars().take(1000).collect();
        writeln!(f, "{} after {:?}", self.status, self.elapsed)?;
        writeln!(f, "stdout ({} bytes): {shown}", self.stdout_total)?;
        write!(f, "stderr: {}", self.stderr)
    }
}

/// A shell that waits for its standard input to end: `[sh, -c, …, marker]`.
pub(crate) fn waiting_shell() -> [String; 4] {
    ["sh".into(), "-c".into(), "echo ready; read line; exit 0".into(), marker()]
}
