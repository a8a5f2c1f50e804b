//! What is said about a run.

mod artifact;
mod bytes;
mod ending;
mod mounts;
pub(crate) mod path;
mod verdict;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Applied, Diff, Guarantee};
pub use artifact::{Artifact, Skipped, SkippedFor};
pub use ending::signal_name;
pub use mounts::{MountNote, MountNoteKind};
pub(crate) use verdict::{Counted, Denial, Senders, Stop, verdict};

/// How a program ended, what it printed, what it used, and what held while it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Report {
    /// How the program ended.
    pub outcome: Outcome,
    /// What it printed to standard output.
    pub stdout: Output,
    /// What it printed to standard error.
    pub stderr: Output,
    /// What did not get to the program or from it, and why. That somebody stopped reading what it printed
    /// is not mentioned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undelivered: Vec<Undelivered>,
    /// The files that were brought back, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
    /// What was asked for and not brought back, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// What it used.
    pub usage: Usage,
    /// Which guarantees held.
    pub confinement: Confinement,
    /// What the caller should know of its mounts; what is as asked for is not mentioned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountNote>,
    /// What the program changed, one for each copy-on-write mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<Diff>,
    /// What was made of that on the host, if the caller had it applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applied: Vec<Applied>,
    /// How long each part took.
    pub timing: Timing,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// It ended by itself.
    Exited {
        /// Its exit status, 0 to 255.
        code: u8,
    },
    /// A signal that is not ours ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// It was stopped at a time limit.
    TimedOut {
        /// Which clock ran out.
        limit: TimeLimit,
    },
    /// The kernel killed it or one of its processes at its limit of memory, by the control group's
    /// own count; the rest was killed with it.
    OutOfMemory,
    /// It was stopped because a stream exceeded its limit.
    OutputLimit {
        /// Which stream.
        stream: Stream,
    },
    /// It was stopped for writing more than it may (`SIGXFSZ`).
    DiskLimit,
    /// It was refused a process and the control group counted that.
    PidsLimit,
    /// A process made a system call that the filter kills for, and all were killed.
    Denied {
        /// Name of the call, such as `ptrace`; the number and the architecture of one that has no
        /// name, such as `9999 (x86_64)`; none where it could not be learned.
        syscall: Option<String>,
    },
    /// The caller stopped it.
    Cancelled,
}

/// A clock that a program can exhaust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimeLimit {
    /// Wall-clock time.
    Wall,
    /// CPU time of the whole tree.
    Cpu,
}

/// An output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A stream that broke between the program and the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Undelivered {
    /// Which one.
    pub stream: StandardStream,
    /// What the kernel said, such as `No space left on device (os error 28)`.
    pub reason: String,
}

/// One of the three that a program begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StandardStream {
    /// Standard input.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Undelivered {
    /// What happened, in a line.
    #[must_use]
    pub fn describe(&self) -> String {
        let what = match self.stream {
            StandardStream::Stdin => "standard input could not be read to its end",
            StandardStream::Stdout => "standard output could not be passed on",
            StandardStream::Stderr => "standard error could not be passed on",
        };
        format!("{what}: {}", self.reason)
    }
}

/// What a stream carried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Output {
    /// The bytes that were kept: none if the stream was passed on to the caller as it came.
    #[serde(with = "bytes")]
    #[schemars(with = "bytes::Bytes")]
    pub data: Vec<u8>,
    /// How many bytes were read, those that were not kept included.
    pub total: u64,
    /// Whether the program printed more than was delivered.
    pub truncated: bool,
}

/// What a run used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Usage {
    /// Wall-clock time from the start of the program to its end, in microseconds.
    pub wall_us: Option<Figure>,
    /// User CPU time, in microseconds.
    pub user_us: Option<Figure>,
    /// System CPU time, in microseconds.
    pub system_us: Option<Figure>,
    /// Peak memory, in bytes.
    pub peak_memory: Option<Figure>,
    /// Peak number of processes and threads, the cell's init included.
    pub peak_pids: Option<Figure>,
    /// Bytes that it printed to both streams together, those beyond a limit included.
    pub output: Option<Figure>,
}

/// A measured figure and how it was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Figure {
    /// The value.
    pub value: u64,
    /// How it was measured.
    pub source: Source,
}

/// How a figure was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum Source {
    /// The supervisor's monotonic clock.
    #[serde(rename = "monotonic clock")]
    Clock,
    /// The supervisor's count of what it read.
    #[serde(rename = "supervisor count")]
    Count,
    /// `getrusage(2)` over all reaped processes of the sandbox: what a killed process's children
    /// used is not in it.
    #[serde(rename = "rusage children")]
    Rusage,
    /// `getrusage(2)` `ru_maxrss`: the largest single process, not the sum.
    #[serde(rename = "rusage maxrss")]
    RusageMaxrss,
    /// `memory.peak` of the control group (v2).
    #[serde(rename = "cgroup memory.peak")]
    CgroupMemoryPeak,
    /// `memory.max_usage_in_bytes` of the control group (v1).
    #[serde(rename = "cgroup memory.max_usage_in_bytes")]
    CgroupMemoryMaxUsage,
    /// `cpu.stat` of the control group (v2).
    #[serde(rename = "cgroup cpu.stat")]
    CgroupCpuStat,
    /// `cpuacct.usage_user` and `cpuacct.usage_sys` of the control group (v1).
    #[serde(rename = "cgroup cpuacct")]
    CgroupCpuacct,
    /// `pids.peak` of the control group.
    #[serde(rename = "cgroup pids.peak")]
    CgroupPidsPeak,
}

/// What held while a program ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Confinement {
    /// The backend that confined it.
    pub backend: String,
    /// Every guarantee and where it stands.
    pub guarantees: BTreeMap<Guarantee, Standing>,
    /// What the caller waived, whether or not it held all the same.
    pub waived: Vec<Guarantee>,
}

/// Where a guarantee stands in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Standing {
    /// Held, by these mechanisms.
    Held {
        /// What holds it: `user namespace`, `seccomp filter`, `cgroup memory.max = 268435456`.
        by: Vec<String>,
    },
    /// Not held. Either it was waived, or it was never required.
    NotHeld {
        /// Why it does not hold.
        reason: String,
        /// A weaker mechanism that stood in, such as a per-process resource limit.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        stand_in: Option<String>,
    },
}

/// How long each part of a run took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Timing {
    /// Microseconds from the call to the start of the program. Of a job that was planned ahead, as by the
    /// command line, from when the first was begun for it.
    pub setup_us: u64,
    /// Every step of the set-up, in the order in which they were done.
    pub steps: Vec<StepTime>,
}

/// How long one step of the set-up took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct StepTime {
    /// Name of the step and its object: `mount /usr`.
    pub step: String,
    /// Tenths of microseconds would be noise: whole microseconds.
    pub us: u32,
}

impl Usage {
    /// Wall-clock time from the start of the program to its end.
    #[must_use]
    pub fn wall(&self) -> Option<Duration> {
        self.wall_us.as_ref().map(|figure| Duration::from_micros(figure.value))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn output(data: &[u8]) -> Output {
        Output { data: data.to_vec(), total: 9, truncated: true }
    }

    fn report(outcome: Outcome) -> Report {
        let held = Standing::Held { by: vec!["mount namespace".into()] };
        let not_held = Standing::NotHeld { reason: "no cgroup".into(), stand_in: None };
        Report {
            outcome,
            stdout: output(b"text\n"),
            stderr: output(&[0xff, 0]),
            artifacts: Vec::new(),
            skipped: Vec::new(),
            usage: Usage {
                wall_us: Some(Figure { value: 1500, source: Source::Clock }),
                peak_memory: Some(Figure { value: 4096, source: Source::RusageMaxrss }),
                ..Usage::default()
            },
            confinement: Confinement {
                backend: "native".into(),
                guarantees: [(Guarantee::Filesystem, held), (Guarantee::Memory, not_held)].into(),
                waived: vec![Guarantee::Memory],
            },
            mounts: vec![MountNote::new(Path::new("/a"), MountNoteKind::Skipped, "b".into())],
            diff: Vec::new(),
            applied: Vec::new(),
            undelivered: Vec::new(),
            timing: Timing {
                setup_us: 700,
                steps: vec![StepTime { step: "mount /usr".into(), us: 12 }],
            },
        }
    }

    #[test]
    fn output_is_text_if_it_can_be() {
        for (data, written) in [
            (&b"a\0\n"[..], json!({ "text": "a\0\n" })),
            (b"", json!({ "text": "" })),
            (&[0xff, 0], json!({ "base64": "/wA=" })),
        ] {
            let written = json!({ "data": written, "total": 9, "truncated": true });
            assert_eq!(serde_json::to_value(output(data)).unwrap(), written);
        }
    }

    #[test]
    fn output_that_is_neither_text_nor_base64_is_refused() {
        for data in [json!({ "base64": "?" }), json!({ "text": [] }), json!({}), json!("a")] {
            let written = json!({ "data": data, "total": 0, "truncated": false });
            assert!(serde_json::from_value::<Output>(written).is_err(), "{data}");
        }
    }

    #[test]
    fn a_report_is_read_back_as_it_was_written() {
        for outcome in [
            Outcome::Exited { code: 3 },
            Outcome::Signaled { signal: 9 },
            Outcome::TimedOut { limit: TimeLimit::Cpu },
            Outcome::OutOfMemory,
            Outcome::OutputLimit { stream: Stream::Stderr },
            Outcome::DiskLimit,
            Outcome::PidsLimit,
            Outcome::Denied { syscall: Some("ptrace".into()) },
            Outcome::Denied { syscall: None },
            Outcome::Cancelled,
        ] {
            let report = report(outcome);
            let json = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report, "{json}");
        }
    }

    #[test]
    fn an_outcome_names_its_kind() {
        let json = serde_json::to_value(report(Outcome::OutOfMemory)).unwrap();
        assert_eq!(json["outcome"], json!({ "kind": "out-of-memory" }));
        assert_eq!(json["confinement"]["guarantees"]["memory"]["state"], "not-held");
    }
}
