//! The process that a pool belongs to ends, or one of its threads.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fumehood::{Job, Sandbox, Streams, blocking};
use fumehood_child::sys::{self, Cloned};
use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::common::run;
use crate::processes::{Role, descendants, gone, lives, of, own, signal, until, until_inits};
use crate::{pool, prints, shell};

/// Says what this program is to do instead of testing.
const VARIABLE: &str = "FUMEHOOD_TEST_OWNER";

/// Has a cell parked and a program running until it is killed, if it is told to.
pub(crate) fn become_one() {
    let Some(kind) = std::env::var_os(VARIABLE) else { return };
    let pool = pool(1);
    let long = shell("sleep 600; :");
    let waited = blocking::block_on(async {
        pool.warm(&long).await.expect("a cell");
        let _running = pool.spawn(&long, Streams::captured()).await.expect("a program");
        // An init that is stopped before it could ask to die with its parent would wait for ever to do
        // so: the one cell that is kept has to be there, and none that is still being built.
        until("one is parked", || (pool.metrics().parked == 1).then_some(())).await;
        until_inits(2).await;
        let copy = if kind == "copied" { copy() } else { 0 };
        say(copy);
        std::future::pending::<()>().await;
    });
    unreachable!("it waits for ever: {waited:?}");
}

#[expect(clippy::print_stdout, reason = "whoever started it waits for that")]
fn say(copy: i32) {
    println!("{copy}");
}

/// A process that has all that this one has open, and never ends by itself.
fn copy() -> i32 {
    match sys::fork(0, None).expect("a copy") {
        Cloned::Parent { pid, .. } => pid,
        Cloned::Child => loop {
            sys::sleep_ms(1000);
        },
    }
}

/// Another process with a pool, and all that it has started.
struct Owner {
    process: Child,
    below: Vec<i32>,
    copy: i32,
}

impl Owner {
    async fn start(kind: &str) -> Self {
        let own = std::env::current_exe().expect("a program has a name");
        let mut command = Command::new(own);
        command.env(VARIABLE, kind).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("it is this program");
        let mut said = String::new();
        let out = process.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut said).expect("it says something");
        let copy = said.trim().parse().expect("a process id");
        let mut owner = Self { process, below: Vec::new(), copy };
        let pid = owner.process.id();
        let count = |role| of(pid, role).len();
        // One init is parked, and one runs.
        until("its processes", || {
            let each = [count(Role::Warden), count(Role::Zygote), count(Role::Template)];
            (each == [1, 1, 1] && count(Role::Init) >= 2).then_some(())
        })
        .await;
        owner.below = descendants(pid);
        owner
    }

    /// Kills it, and waits for those to end that were started for it.
    async fn killed(mut self) -> Result<(), Failed> {
        let warden = of(self.process.id(), Role::Warden);
        let cells: Vec<_> =
            warden.iter().flat_map(|&pid| descendants(pid.unsigned_abs())).collect();
        self.process.kill()?;
        self.process.wait()?;
        let all_gone = gone([warden, cells].concat()).await;
        if self.copy != 0 {
            signal(self.copy, Signal::KILL);
        }
        let rest_gone = gone(self.below.clone()).await;
        let left: Vec<_> =
            std::mem::take(&mut self.below).into_iter().filter(|&pid| lives(pid)).collect();
        left.iter().for_each(|&pid| signal(pid, Signal::KILL));
        assert!(all_gone && rest_gone, "something outlives it, and at last {left:?}");
        Ok(())
    }
}

/// Nothing is left of a test that failed in between.
impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if self.copy != 0 {
            signal(self.copy, Signal::KILL);
        }
    }
}

pub(crate) fn killed() -> Result<(), Failed> {
    wait_for(async { Owner::start("killed").await.killed().await })
}

/// A copy keeps everything open that the owner had, so nobody's line ends. The janitor waits for just
/// that, and goes with the copy.
pub(crate) fn copied() -> Result<(), Failed> {
    wait_for(async { Owner::start("copied").await.killed().await })
}

/// Nobody reads, looks at a clock, or does anything else.
pub(crate) fn stopped() -> Result<(), Failed> {
    wait_for(async {
        let owner = Owner::start("stopped").await;
        let warden = of(owner.process.id(), Role::Warden);
        let cells = warden.iter().flat_map(|&pid| descendants(pid.unsigned_abs()));
        cells.chain(warden.clone()).for_each(|pid| signal(pid, Signal::STOP));
        owner.killed().await
    })
}

fn wait_for(test: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    blocking::block_on(test).map_err(Failed::from)?
}

/// The kernel kills a child with the thread that is its parent, and here that is none of the caller's.
pub(crate) fn threads_come_and_go() -> Result<(), Failed> {
    run(async {
        // The next one is started by whoever runs something first.
        crate::processes::killed(own(Role::Warden)).await;
        let first = std::thread::spawn(|| {
            blocking::block_on(Sandbox::new().run(&Job::new(["true"]))).map(|run| run.is_ok())
        });
        let first = tokio::task::spawn_blocking(|| first.join()).await.expect("no panic");
        assert!(first.expect("no panic").expect("a runtime"), "it ran");
        let warden = own(Role::Warden);
        let pool = pool(1);
        pool.warm(&Job::new(["true"])).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!((warden.len(), own(Role::Warden)), (1, warden), "it is still the same");
        prints(&pool, &Job::new(["true"])).await?;
        assert_eq!(pool.metrics().hits, 1, "it was parked");
        Ok(())
    })
}
