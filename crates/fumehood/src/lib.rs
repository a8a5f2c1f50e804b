//! Run a program that nobody should trust, and learn what held while it ran.
//!
//! A [`Job`] says what to run and what it may see and use. A [`Sandbox`] runs it in a confined cell
//! that is used once. The [`Report`] says how it ended, what it printed, what it used, and which
//! [`Guarantee`]s held, by which mechanism.
//!
//! ```no_run
//! use std::time::Duration;
//! use fumehood::{Job, Outcome};
//!
//! fumehood::init(); // first in main, before there are threads
//! let job = Job::new(["python3", "-c", "print(sum(map(int, input().split())))"])
//!     .stdin("1 2 3\n")
//!     .limits(|limits| limits.wall_time = Some(Duration::from_secs(2).into()));
//! let report = fumehood::blocking::run(&job)?;
//! assert_eq!(report.outcome, Outcome::Exited { code: 0 });
//! assert_eq!(report.stdout.data, b"6\n");
//! # Ok::<(), fumehood::Error>(())
//! ```
//!
//! # What a program gets
//!
//! Namespaces of its own, a read-only root by allow-list with an empty `/workspace` and `/tmp`, no
//! network but a loopback, a clean environment, no capability, a filter of system calls, a Landlock
//! fence, and a finite limit on everything but the number of CPUs. A job opens what it needs:
//! [mounts](Job::mount), [variables](Job::env), [the network](Job::network), [limits](Job::limits).
//!
//! # Held, refused, or waived
//!
//! A guarantee that the host cannot hold is refused before anything runs, with the [`Layer`] that
//! stands in the way and what would fix it; unless the job [waives](Job::waive) it by name. There is
//! no other way to run with less, and the report repeats it.
//!
//! ```no_run
//! use fumehood::{ErrorKind, Guarantee, Job, Standing};
//!
//! let job = Job::new(["make", "test"]).require(Guarantee::Memory);
//! match fumehood::blocking::run(&job) {
//!     Ok(report) => {
//!         if let Standing::Held { by } = &report.confinement.guarantees[&Guarantee::Memory] {
//!             println!("memory is limited by {}", by.join(", "));
//!         }
//!     }
//!     Err(error) => match error.kind() {
//!         ErrorKind::Unsupported { missing } => {
//!             for one in missing {
//!                 println!("{}: {}; to fix it: {:?}", one.guarantee, one.reason, one.fix);
//!             }
//!         }
//!         _ => println!("{error}"),
//!     },
//! }
//! ```
//!
//! An [`Error`] means that the program never ran, or that watching it failed. What a program did
//! once it ran is no error but an [`Outcome`].
//!
//! # Three fronts
//!
//! - [`blocking`] for callers without an asynchronous runtime.
//! - [`Sandbox`] on [tokio](https://docs.rs/tokio): [`run`](Sandbox::run) to the end, or
//!   [`spawn`](Sandbox::spawn) with a [`Handle`] to signal, cancel, kill, and resize. Dropping a
//!   [`Running`] kills everything that the program started.
//! - [`Command`], which feels like [`std::process::Command`].
//!
//! ```no_run
//! # async fn example() -> fumehood::Result<()> {
//! use tokio::io::AsyncWriteExt;
//! use fumehood::{Command, Stdio};
//!
//! let mut child = Command::new("wc").arg("-w").stdin(Stdio::piped()).spawn().await?;
//! if let Some(stdin) = child.stdin.as_mut() {
//!     let _ = stdin.write_all(b"one two three").await;
//!     let _ = stdin.shutdown().await; // the end of the input
//! }
//! assert!(child.wait().await?.success());
//! # Ok(())
//! # }
//! ```
//!
//! # The first line of `main`
//!
//! A process with threads cannot be cloned safely, and one with secrets should not be. So the
//! library has a small helper do the cloning: this very program, started once more. [`init`] is
//! where the helper branches off, and must come first in `main`. A program that does not call it
//! needs the `fumehood` binary, in the `PATH` or named by `FUMEHOOD_BIN`; with neither, runs fail
//! with [`ErrorKind::NoLauncher`].
//!
//! # Looking without running
//!
//! [`Plan::new`] resolves a job and runs nothing; [`Job::validate`] does not even look at the host.
//! [`policy::seccomp`] compiles, evaluates and explains filters by themselves.
//!
//! # What it is not
//!
//! A boundary against holes in the kernel: programs share the host's. `THREAT-MODEL.md` in the
//! repository says what each layer stops and what none does. Linux only, on x86-64; the code for
//! aarch64 has not been run.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod apart;
mod backend;
pub mod blocking;
pub mod bundle;
mod command;
pub mod compat;
mod entry;
pub mod env;
mod error;
mod gc;
mod guarantee;
mod host;
pub mod image;
mod job;
mod plan;
pub mod policy;
mod pool;
mod promptness;
mod report;
pub mod runner;
mod sabotage;
mod sandbox;
mod schema;
mod secret;
mod stream;
mod supervise;
mod support;
mod text;
mod units;
mod usage;
mod workspace;
mod zygote;

/// The entrance of the fuzz targets.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::image::import::fuzz::layers;
    pub use crate::workspace::intake::fuzz::archive;
}

pub use apart::run_apart;
#[cfg(feature = "engine")]
pub use backend::engine::on_pull;
pub use command::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Finished, Stdio};
pub use entry::{EntryPoint, init_with};
pub use error::{Error, ErrorKind, Layer, Missing, Result, printable};
pub use gc::{Leftover, gc, leftovers};
pub use guarantee::Guarantee;
pub use host::Host;
pub use job::{
    Access, BackendName, Collect, CollectTo, Cpus, Env, Excess, Input, InputLimits, InputSource,
    Job, Limit, Limits, Mount, Network, Root, Seccomp, Stdin, TarSource, Tmpfs,
};
pub use plan::{Entry, Filter, Identity, Namespaces, Plan};
pub use pool::{Pool, PoolConfig, PoolMetrics};
pub use promptness::be_prompt;
pub use report::{
    Artifact, Confinement, Figure, MountNote, MountNoteKind, Outcome, Output, Report, Skipped,
    SkippedFor, Source, StandardStream, Standing, StepTime, Stream, TimeLimit, Timing, Undelivered,
    Usage, signal_name,
};
pub use sandbox::{Handle, Running, Sandbox, Streams};
pub use schema::{job_schema, report_schema};
pub use support::{
    Ability, Container, Facts, Found, Support, Try, UserNamespace, apparmor_profile, backends,
    support,
};
pub use units::{ByteSize, ParseUnitError, format_duration, parse_duration};
pub use workspace::changes::{
    Applied, Change, ChangeKind, Changes, Diff, FileKind, NotApplied, quoted,
};
#[cfg(feature = "export")]
pub use workspace::export;
pub use zygote::init;
