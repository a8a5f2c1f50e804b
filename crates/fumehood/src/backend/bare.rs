//! A process of this host with nothing around it but what is done to it from outside: what sandboxes
//! that are no more than a command in front have, and what has no sandbox at all.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::native::cell::exec_error;
use super::native::watch;
use super::{Ending, Foreign, Soon, Started, Tether};
use crate::plan::Plan;
use crate::{Error, ErrorKind, Result};

/// Starts a program by these arguments, the first of which is its path, with the streams and the
/// environment of the plan.
pub(super) fn start(plan: &Plan, argv: &[OsString], stdio: Vec<OwnedFd>) -> Result<Started> {
    let named = plan.job.args.first().cloned().unwrap_or_default();
    let (program, args) = argv.split_first().ok_or_else(|| not_found(&named))?;
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(plan.env.iter()).current_dir(&plan.job.cwd);
    // A group of its own, so that signals reach what it starts.
    command.process_group(0);
    let mut streams = stdio.into_iter();
    if let (Some(stdin), Some(stdout), Some(stderr)) =
        (streams.next(), streams.next(), streams.next())
    {
        command.stdin(stdin).stdout(stdout).stderr(stderr);
    }
    let child = command.spawn().map_err(|source| {
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            // It was there a moment ago.
            Some(Errno::NOENT) => {
                let detail = "its interpreter (the #! line or the ELF loader) is not there".into();
                ErrorKind::ProgramNotFound { program: named, detail }.into()
            }
            Some(errno @ (Errno::ACCESS | Errno::NOEXEC | Errno::TOOBIG)) => {
                exec_error(plan, errno.raw_os_error(), false)
            }
            _ => {
                let step = format!("execute {}", Path::new(program).display());
                Error::from(ErrorKind::Start { step, source })
            }
        }
    })?;
    let watched = Pid::from_child(&child);
    let watched = pidfd_open(watched, PidfdFlags::empty())
        .map_err(|errno| Error::internal("watch the program", errno))?;
    Ok(Started {
        tether: Tether::Foreign(Box::new(Bare { child, watched })),
        group: None,
        changes: None,
        notes: Vec::new(),
        steps: Vec::new(),
        terminal: None,
        since: None,
        found: std::collections::BTreeMap::new(),
    })
}

/// Where the program is that a job names, on the host.
pub(super) fn find(plan: &Plan) -> Result<OsString> {
    let cwd = &plan.job.cwd;
    if !cwd.is_dir() {
        return Err(Error::invalid("cwd", cwd.display(), "is no directory of the host"));
    }
    let places: Vec<_> = plan.candidates.iter().map(|candidate| cwd.join(candidate)).collect();
    if let Some(found) = places.iter().find(|path| super::oci::is_program(path)) {
        return Ok(found.into());
    }
    let named = plan.job.args.first().map_or("", String::as_str);
    Err(if places.iter().any(|path| path.exists()) {
        let (program, detail) = (named.to_owned(), "permission denied, or not a file".to_owned());
        ErrorKind::ProgramNotExecutable { program, detail }.into()
    } else {
        not_found(named)
    })
}

fn not_found(named: &str) -> Error {
    let is_path = named.contains('/');
    let detail = if is_path { "no such file" } else { "it is in none of the directories of PATH" };
    ErrorKind::ProgramNotFound { program: named.to_owned(), detail: detail.to_owned() }.into()
}

/// The whole command: what stands in front, the program, and the job's arguments.
pub(super) fn argv(front: &[&OsStr], program: OsString, plan: &Plan) -> Vec<OsString> {
    let front = front.iter().map(|part| (*part).to_owned());
    let rest = plan.job.args.iter().skip(1).map(OsString::from);
    front.chain([program]).chain(rest).collect()
}

#[derive(Debug)]
struct Bare {
    child: Child,
    watched: OwnedFd,
}

impl Bare {
    fn send(&self, signal: Signal) {
        // What has left the group is out of reach, which no report denies.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Foreign for Bare {
    fn pid(&self) -> i32 {
        Pid::from_child(&self.child).as_raw_nonzero().get()
    }

    fn ended(&mut self) -> Soon<'_, Result<Option<Ending>>> {
        Box::pin(async {
            let failed = |error: std::io::Error| Error::internal("watch the program", error);
            let watched = self.watched.try_clone().map_err(failed)?;
            let watched = watch::owned(watched).map_err(|(_, error)| failed(error))?;
            let _ready = watched.readable().await.map_err(failed)?;
            // What it left behind is not to hold its streams open. Once it was waited for its number may be
            // another's.
            self.send(Signal::KILL);
            let status = self.child.wait().map_err(failed)?;
            Ok(Some(Ending { status: status.into_raw(), ..Ending::default() }))
        })
    }

    fn signal(&mut self, signal: i32, _everyone: bool) -> Soon<'_, ()> {
        if let Some(signal) = Signal::from_named_raw(signal) {
            self.send(signal);
        }
        Box::pin(async {})
    }

    fn kill(&mut self) {
        self.send(Signal::KILL);
    }

    fn remove(self: Box<Self>) -> Soon<'static, ()> {
        Box::pin(async move { drop(self) })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Once it was waited for its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.send(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
