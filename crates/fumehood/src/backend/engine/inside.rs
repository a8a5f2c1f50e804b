//! Process 1 of a container: this very binary, mounted read-only and executed by the engine.
//!
//! It is there because an engine starts a program the moment that its container exists, looks away
//! when it ends, and knows no way to a directory in memory. So this process writes the inputs as the
//! program's own user, looks at how the container truly is, waits for the word to begin, reaps and
//! signals, and brings files back before everything in memory is gone with it. It has no privilege
//! that the program lacks, and cannot be traced by it (`PR_SET_DUMPABLE`).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::task::Poll;
use std::time::Duration;

use fumehood_child::Fd;
use fumehood_child::stage;
use fumehood_child::wire::Buffer;
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, kill_process_group,
    set_dumpable_behavior, setrlimit, wait,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::facts::Facts;
use super::meter::Counters;
use super::order::{self, Answer, Ending, Failed, GO, KILL_ALL, Order, Step};
use crate::backend::native::script::NO_CORE;
use crate::workspace::collect;

/// First argument of this binary where it is the init of a container.
pub(crate) const INIT: &str = "__fumehood-container-init";

/// First argument of this binary where it is to do nothing, which is a program that runs anywhere.
pub(crate) const NOTHING: &str = "__fumehood-nothing";

/// Signals that are passed on to the program: HUP, INT, QUIT, USR1, USR2, CONT, WINCH.
pub(super) const PASSED_ON: [i32; 7] = [1, 2, 3, 10, 12, 18, 28];

const TERM: i32 = 15;

/// Whether this process is to be the init of a container: only process 1 of one is.
pub(crate) fn is_asked() -> bool {
    std::process::id() == 1 && std::env::args_os().nth(1).is_some_and(|argument| argument == INIT)
}

/// Whether this process is to do nothing.
pub(crate) fn is_nothing() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == NOTHING)
}

/// The life of a container's init. Its exit status means nothing: what it has to say it has said.
pub(crate) fn main() -> ! {
    let status = match serve() {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "fumehood: container init: {error}");
            1
        }
    };
    std::process::exit(status)
}

fn serve() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let order: Order = order::get(&mut stdin)?;
    // Before the inputs: nothing leads out of scratch yet.
    if order.makes_cwd
        && let Err(error) = std::fs::create_dir_all(&order.cwd)
    {
        let errno = error.raw_os_error().unwrap_or(0);
        return order::put(&mut stdout, &Answer::NoDirectory { errno });
    }
    if order.inputs
        && let Err((errno, path)) = write_inputs()
    {
        return order::put(&mut stdout, &Answer::NotStaged { errno, path });
    }
    let facts = Facts::look_and_guard(&order.scratch, &order.asked);
    order::put(&mut stdout, &Answer::Ready(Box::new(facts)))?;
    let mut go = [0];
    if io::Read::read(&mut stdin, &mut go)? == 0 || go != [GO] {
        return Ok(());
    }
    drop(stdin);
    limit(&order);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ending = runtime.block_on(watch(&order))?;
    end_everything();
    finish(&order, &ending, stdout)
}

fn write_inputs() -> Result<(), (i32, Vec<u8>)> {
    let mut failed = Buffer::new();
    stage::stage(Fd(0), &mut failed).map_err(|errno| (errno.0, failed.bytes().to_vec()))
}

/// Limits of single processes that every engine leaves high. Lowering them takes no privilege.
fn limit(order: &Order) {
    let seconds = order.cpu_us.map(|us| us.div_ceil(1_000_000));
    let limits = [
        (Resource::Core, Some(NO_CORE)),
        (Resource::Memlock, Some(64 << 10)),
        (Resource::Msgqueue, Some(0)),
        (Resource::Sigpending, Some(1024)),
        (Resource::Cpu, seconds.map(|seconds| seconds.saturating_add(2))),
    ];
    for (resource, most) in limits {
        let Some(most) = most else { continue };
        let own = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        // SIGXCPU at the soft limit, which says what is up, and SIGKILL a second later.
        let hard = most.saturating_add(u64::from(resource == Resource::Cpu)).min(own);
        // The engine's limit stays where this one cannot be set.
        let _ = setrlimit(resource, Rlimit { current: Some(most.min(own)), maximum: Some(hard) });
    }
}

/// Starts the program and waits until it has ended.
async fn watch(order: &Order) -> io::Result<Ending> {
    let mut signals = Signals::watch()?;
    let mut children = signal(SignalKind::child())?;
    let mut watched = Watched::new(order);
    let child = match start(order) {
        Ok(child) => child,
        Err(failed) => return Ok(Ending { failed: Some(failed), ..Ending::default() }),
    };
    prefer_as_victim(child);
    loop {
        tokio::select! {
            biased;
            // The clock comes first, and stands: the program could put off what waits for it to be quiet.
            () = sleep_until(watched.next_look) => watched.look(),
            _ = children.recv() => if let Some(status) = reap(child) {
                return Ok(watched.ending(status));
            },
            signal = signals.next() => watched.pass_on(signal, child),
        }
    }
}

/// What is kept in mind while a program runs.
struct Watched {
    counters: Counters,
    cpu_us: Option<u64>,
    cpu_before: u64,
    ooms_before: u64,
    cpus: u64,
    deadline: Option<Instant>,
    next_look: Instant,
    ending: Ending,
}

/// Looking more often costs more than being this late, and less often misses what is short.
const FINEST: Duration = Duration::from_millis(5);
const COARSEST: Duration = Duration::from_millis(50);

impl Watched {
    fn new(order: &Order) -> Self {
        let counters = Counters::find(&order.asked);
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
        let mut watched = Self {
            cpu_us: order.cpu_us,
            cpu_before: counters.cpu_us().unwrap_or(0),
            ooms_before: counters.oom_kills(),
            counters,
            cpus,
            deadline: order.deadline_us.map(|us| Instant::now() + Duration::from_micros(us)),
            next_look: Instant::now(),
            ending: Ending::default(),
        };
        watched.look();
        watched
    }

    /// Looks at what is used up and the kernel does not stop by itself.
    fn look(&mut self) {
        let now = Instant::now();
        self.next_look = now + COARSEST;
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            kill_everyone(Signal::KILL);
        }
        if self.counters.oom_kills() > self.ooms_before {
            self.ending.out_of_memory = true;
            kill_everyone(Signal::KILL);
        }
        let Some(limit) = self.cpu_us else { return };
        let used = self.counters.cpu_us().unwrap_or(0).saturating_sub(self.cpu_before);
        let left = limit.saturating_sub(used);
        if left == 0 {
            self.ending.cpu_out = true;
            kill_everyone(Signal::KILL);
        }
        self.next_look = now + Duration::from_micros(left / self.cpus).clamp(FINEST, COARSEST);
    }

    fn pass_on(&mut self, signal: i32, child: Pid) {
        match signal {
            KILL_ALL => kill_everyone(Signal::KILL),
            TERM => {
                self.ending.asked_to_end = true;
                kill_everyone(Signal::TERM);
            }
            _ => {
                if let Some(signal) = Signal::from_named_raw(signal) {
                    let _ = kill_process_group(child, signal);
                }
            }
        }
    }

    fn ending(mut self, status: i32) -> Ending {
        self.ending.status = status;
        self.ending.out_of_memory |= self.counters.oom_kills() > self.ooms_before;
        self.ending.pids_denied = self.counters.pids_denied() > 0;
        self.ending.usage = self.counters.usage();
        self.ending
    }
}

/// The signals that a container's init listens to; the kernel keeps all others from it.
struct Signals(Vec<(i32, tokio::signal::unix::Signal)>);

impl Signals {
    fn watch() -> io::Result<Self> {
        let all = PASSED_ON.into_iter().chain([TERM, KILL_ALL]);
        let watched = all.map(|number| Ok((number, signal(SignalKind::from_raw(number))?)));
        watched.collect::<io::Result<_>>().map(Self)
    }

    async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Tries the places where the program may be, in their order.
fn start(order: &Order) -> Result<Pid, Failed> {
    let failed = |step, errno: i32| Failed { step, errno };
    if let Err(error) = std::env::set_current_dir(&order.cwd) {
        return Err(failed(Step::Chdir, error.raw_os_error().unwrap_or(0)));
    }
    let mut worst = failed(Step::NotFound, 2);
    for candidate in &order.candidates {
        match execute(order, candidate) {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                worst = failed(Step::Execute, error.raw_os_error().unwrap_or(0));
            }
            Err(_) if candidate.exists() => return Err(failed(Step::Interpreter, 2)),
            Err(_) => {}
        }
    }
    Err(worst)
}

fn execute(order: &Order, program: &Path) -> io::Result<Pid> {
    use std::os::unix::ffi::OsStrExt;
    let mut command = Command::new(program);
    command.env_clear().process_group(0);
    if let [name, arguments @ ..] = order.args.as_slice() {
        command.arg0(name).args(arguments);
    }
    for (name, value) in &order.env {
        command.env(name, std::ffi::OsStr::from_bytes(value));
    }
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("the kernel gave no process id"))
}

/// When memory runs out the kernel takes the largest; this process would be the last to tell of it.
fn prefer_as_victim(child: Pid) {
    let file = format!("/proc/{}/oom_score_adj", child.as_raw_nonzero());
    let _ = std::fs::write(file, "500");
}

/// Reaps whoever has ended; the program's wait status if it was among them.
fn reap(child: Pid) -> Option<i32> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            ended = Some(status.as_raw());
        }
    }
    ended
}

/// Signals every process of the container but this one: group 1 means all (`kill(2)`, -1).
fn kill_everyone(signal: Signal) {
    let _ = kill_process_group(Pid::INIT, signal);
}

/// Kills whoever is left and waits until nobody is. Orphans become children of process 1.
fn end_everything() {
    loop {
        kill_everyone(Signal::KILL);
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Says how it ended, and passes files on.
fn finish(order: &Order, ending: &Ending, mut stdout: File) -> io::Result<()> {
    // The program has written to this very pipe, and may have left it in a mode in which nobody waits
    // for room.
    rustix::io::ioctl_fionbio(&stdout, false)?;
    stdout.write_all(&order.seal)?;
    order::put_tagged(&mut stdout, &order.key, ending)?;
    let Some(wanted) = &order.collect else { return Ok(()) };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
    let root = rustix::fs::open("/", flags, rustix::fs::Mode::empty())?;
    collect::pass_on(&root, &wanted.collect(), &order.cwd, stdout)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{OFlags, fcntl_getfl};

    use super::super::meter::Asked;
    use super::super::order::SEAL;
    use super::*;

    fn order() -> Order {
        Order {
            seal: [7; SEAL],
            key: [8; 32],
            args: Vec::new(),
            candidates: Vec::new(),
            env: Vec::new(),
            cwd: "/".into(),
            makes_cwd: false,
            inputs: false,
            collect: None,
            cpu_us: None,
            deadline_us: None,
            asked: Asked::default(),
            scratch: Vec::new(),
        }
    }

    /// As programs of Node.js leave their output: full, and not to be waited for.
    #[test]
    fn the_last_word_comes_through_an_output_that_was_left_full_and_non_blocking() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
        let mode = writer.try_clone().unwrap();
        let done = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            let read = scope.spawn(move || {
                // Nothing is taken out of it for as long as nobody would wait.
                let full = || fcntl_getfl(&mode).unwrap().contains(OFlags::NONBLOCK);
                while full() && !done.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                drop(mode);
                let mut bytes = Vec::new();
                io::Read::read_to_end(&mut File::from(reader), &mut bytes).unwrap();
                bytes
            });
            let said = finish(&order(), &Ending::default(), writer.into());
            done.store(true, Ordering::Relaxed);
            said.unwrap();
            let bytes = read.join().unwrap();
            let at = bytes.iter().position(|byte| *byte != b'x').unwrap();
            let mut said = bytes[at..].strip_prefix(&[7; SEAL]).unwrap();
            assert_eq!(order::get_tagged::<Ending>(&mut said, &[8; 32]).unwrap().status, 0);
        });
    }
}
