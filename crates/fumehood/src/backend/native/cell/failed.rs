//! Why there is no cell, or no program in it.

use std::borrow::Cow;
use std::io;

use fumehood_child::launch::LaunchStep;
use fumehood_child::wire;

use super::super::diagnose::{self, Namespace, Refusal};
use super::super::launch::{Launcher, NotLaunched, PATIENCE};
use super::super::overlay;
use super::Script;
use crate::plan::Plan;
use crate::plan::without::Blocked;
use crate::support::Facts;
use crate::{Error, ErrorKind, format_duration};

/// Why there is no cell or no program in it.
#[derive(Debug)]
pub(crate) enum NotBuilt {
    /// The host refuses; a weaker plan may do.
    Blocked(Blocked),
    /// The init ended, and no program was started.
    Lost(Error),
    /// Something else.
    Failed(Error),
}

impl From<Error> for NotBuilt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Where a clone is refused, each kind of namespace is tried alone: no errno says which it was.
pub(super) async fn not_launched(launcher: &Launcher, error: NotLaunched) -> NotBuilt {
    match error {
        NotLaunched::Died => NotBuilt::Failed(NotLaunched::died()),
        NotLaunched::Other(error) => NotBuilt::Failed(error),
        NotLaunched::Refused { step, errno } => {
            let kind = match step {
                LaunchStep::Clone => refused_kind(launcher).await,
                _ => None,
            };
            refused(&Refusal { step: step.name(), errno: errno.0, kind }, step.name())
        }
    }
}

async fn refused_kind(launcher: &Launcher) -> Option<Namespace> {
    for kind in Namespace::ALL {
        if let Err(NotLaunched::Refused { step: LaunchStep::Clone, .. }) =
            launcher.try_kind(kind).await
        {
            return Some(kind);
        }
    }
    None
}

fn refused(refusal: &Refusal<'_>, label: &str) -> NotBuilt {
    match diagnose::diagnose(refusal, &Facts::gather()) {
        Some(blocked) => NotBuilt::Blocked(blocked),
        None => NotBuilt::Failed(start_error(label.to_owned(), refusal.errno)),
    }
}

pub(super) fn sending(error: io::Error) -> Error {
    Error::internal("send to the init", error)
}

pub(super) fn listening(error: io::Error) -> Error {
    Error::internal("listen to the init", error)
}

pub(super) fn no_layers() -> Error {
    Error::internal("start the program", io::Error::other("its changes cannot be looked at"))
}

pub(super) fn died() -> Error {
    Error::internal("start the program", io::Error::other("the init died"))
}

pub(super) fn silent() -> Error {
    let said = "the init did not say in time whether the program runs, and was killed";
    Error::internal("start the program", io::Error::other(said))
}

pub(super) fn unfinished() -> Error {
    let said = format!(
        "the init did not finish its steps within {}, and was killed; a mount's file system may hang",
        format_duration(PATIENCE)
    );
    Error::internal("build the cell", io::Error::other(said))
}

pub(super) fn start_error(step: String, errno: i32) -> Error {
    ErrorKind::Start { step, source: io::Error::from_raw_os_error(errno) }.into()
}

pub(super) fn failure(body: &[u8]) -> wire::Failure {
    wire::Failure::decode(body).unwrap_or_default()
}

pub(super) fn label(labels: &[Cow<'static, str>], index: u32) -> String {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    labels.get(index).map_or_else(|| "an unknown step".to_owned(), ToString::to_string)
}

pub(super) fn cell_failed(labels: &[Cow<'static, str>], body: &[u8]) -> NotBuilt {
    let failure = failure(body);
    step_failed(&label(labels, failure.index), failure.errno)
}

fn step_failed(label: &str, errno: i32) -> NotBuilt {
    let (step, object) = label.split_once(' ').unwrap_or((label, ""));
    if step == "overlay" {
        return NotBuilt::Failed(overlay::refused(object, errno));
    }
    refused(&Refusal { step, errno, kind: None }, label)
}

pub(crate) fn program_failed(plan: &Plan, script: &Script, body: &[u8]) -> NotBuilt {
    let failure = failure(body);
    let label = label(&script.labels, failure.index);
    if !label.starts_with("exec") {
        return step_failed(&label, failure.errno);
    }
    NotBuilt::Failed(exec_error(plan, failure.errno, failure.interpreter))
}

/// The error for a program that `execve(2)` refused.
pub(crate) fn exec_error(plan: &Plan, errno: i32, interpreter: bool) -> Error {
    let program = plan.job.args.first().cloned().unwrap_or_default();
    let source = io::Error::from_raw_os_error(errno);
    match source.kind() {
        io::ErrorKind::NotFound if interpreter => {
            let detail = "its interpreter (the #! line or the ELF loader) is not in the sandbox";
            ErrorKind::ProgramNotFound { program, detail: detail.to_owned() }.into()
        }
        io::ErrorKind::NotFound => {
            let detail = looked_in(plan);
            ErrorKind::ProgramNotFound { program, detail }.into()
        }
        _ => ErrorKind::ProgramNotExecutable { program, detail: reason(errno) }.into(),
    }
}

fn reason(errno: i32) -> String {
    match rustix::io::Errno::from_raw_os_error(errno) {
        rustix::io::Errno::ACCESS => "permission denied, or not a file".to_owned(),
        rustix::io::Errno::NOEXEC => "neither an ELF file nor a script with a #! line".to_owned(),
        rustix::io::Errno::TOOBIG => "arguments and environment are too long".to_owned(),
        _ => io::Error::from_raw_os_error(errno).to_string(),
    }
}

fn looked_in(plan: &Plan) -> String {
    if plan.candidates.len() == 1 {
        return "no such file in the sandbox".to_owned();
    }
    let path = plan.env.get("PATH").unwrap_or_default().to_string_lossy();
    format!("not in the sandbox's PATH ({path})")
}
