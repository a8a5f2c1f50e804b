//! Run a program that nobody should trust, and learn what held while it ran.
//!
//! A [`Job`] says what to run, a [`Sandbox`] runs it in a confined single-use cell, and the
//! [`Report`] says how it ended, what it printed, what it used, and which [`Guarantee`]s held.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod backend;
pub mod env;
mod error;
mod guarantee;
mod job;
pub mod policy;
mod report;
mod schema;
mod units;

pub use error::{Error, ErrorKind, Layer, Missing, Result};
pub use guarantee::Guarantee;
pub use job::{
    Access, BackendName, Cpus, Env, Excess, Job, Limit, Limits, Mount, Network, Root, Seccomp,
    Stdin,
};
pub use report::{
    Confinement, Figure, Outcome, Output, Report, Source, Standing, StepTime, Stream, TimeLimit,
    Timing, Usage,
};
pub use schema::{job_schema, report_schema};
pub use units::{ByteSize, ParseUnitError, format_duration, parse_duration};
