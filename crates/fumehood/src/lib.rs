//! Run a program that nobody should trust, and learn what held while it ran.
//!
//! A [`Job`] says what to run, a [`Sandbox`] runs it in a confined single-use cell, and the
//! [`Report`] says how it ended, what it printed, what it used, and which [`Guarantee`]s held.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod backend;
pub mod blocking;
mod command;
pub mod env;
mod error;
mod guarantee;
mod host;
mod job;
mod plan;
pub mod policy;
mod report;
mod sandbox;
mod schema;
mod stream;
mod supervise;
mod support;
mod units;
mod usage;
mod zygote;

pub use command::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Finished, Stdio};
pub use error::{Error, ErrorKind, Layer, Missing, Result};
pub use guarantee::Guarantee;
pub use host::Host;
pub use job::{
    Access, BackendName, Cpus, Env, Excess, Job, Limit, Limits, Mount, Network, Root, Seccomp,
    Stdin,
};
pub use plan::{Entry, Filter, Identity, Namespaces, Plan};
pub use report::{
    Confinement, Figure, Outcome, Output, Report, Source, Standing, StepTime, Stream, TimeLimit,
    Timing, Usage, signal_name,
};
pub use sandbox::{Handle, Running, Sandbox, Streams};
pub use schema::{job_schema, report_schema};
pub use support::{
    Ability, Container, Facts, Support, Try, UserNamespace, apparmor_profile, support,
};
pub use units::{ByteSize, ParseUnitError, format_duration, parse_duration};
pub use zygote::init;
