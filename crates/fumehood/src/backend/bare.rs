//! A process of this host with nothing around it but what is done to it from outside: what sandboxes
//! that are no more than a command in front have, and what has no sandbox at all.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command};

use fumehood_child::sys::execve;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::native::cell::exec_error;
use super::native::watch;
use super::{Ending, Foreign, Soon, Started, Tether};
use crate::env::Environment;
use crate::plan::Plan;
use crate::{Error, ErrorKind, Result};

/// Starts a program by these arguments, the first of which is its path, with the streams and the
/// environment of the plan.
pub(super) fn start(plan: &Plan, argv: &[OsString], stdio: Vec<OwnedFd>) -> Result<Started> {
    let program = argv.first().ok_or_else(|| not_found(""))?;
    let mut command = Command::new(program);
    command.current_dir(&plan.job.cwd);
    // A group of its own, so that signals reach what it starts.
    command.process_group(0);
    execute_only(&mut command, argv, &plan.env)?;
    let mut streams = stdio.into_iter();
    if let (Some(stdin), Some(stdout), Some(stderr)) =
        (streams.next(), streams.next(), streams.next())
    {
        command.stdin(stdin).stdout(stdout).stderr(stderr);
    }
    let mut child = command.spawn().map_err(|source| not_started(plan, program, source))?;
    let pid = Pid::from_child(&child);
    let watched = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| {
        // Nobody else would end it.
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = child.wait();
        Error::internal("watch the program", errno)
    })?;
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

fn not_started(plan: &Plan, program: &OsStr, source: io::Error) -> Error {
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        // It was there a moment ago.
        Some(Errno::NOENT) => {
            let program = plan.job.args.first().cloned().unwrap_or_default();
            let detail = "its interpreter (the #! line or the ELF loader) is not there".into();
            ErrorKind::ProgramNotFound { program, detail }.into()
        }
        Some(errno @ (Errno::ACCESS | Errno::NOEXEC | Errno::TOOBIG)) => {
            exec_error(plan, errno.raw_os_error(), false)
        }
        _ => {
            let step = format!("execute {}", Path::new(program).display());
            ErrorKind::Start { step, source }.into()
        }
    }
}

/// Has a command execute what the kernel takes for a program, with this environment. By itself it would give
/// anything else to a shell (`execvp(3)`).
#[expect(unsafe_code, reason = "what a command does in its child is ours to answer for")]
fn execute_only(command: &mut Command, argv: &[OsString], env: &Environment) -> Result<()> {
    let variable =
        |(name, value): (&str, &OsStr)| [name.as_bytes(), b"=", value.as_bytes()].concat();
    let strings = |strings: Vec<Vec<u8>>| {
        let strings: Result<Vec<_>, _> = strings.into_iter().map(CString::new).collect();
        strings.map_err(|error| Error::internal("execute the program", error))
    };
    let args = strings(argv.iter().cloned().map(OsString::into_vec).collect())?;
    let env = strings(env.iter().map(variable).collect())?;
    let addresses = |strings: &[CString]| {
        let each = strings.iter().map(|string| string.as_ptr().expose_provenance());
        each.chain([0]).collect::<Vec<_>>()
    };
    let (argv, envp) = (addresses(&args), addresses(&env));
    let execute = move || {
        // What `envp` points to, as `argv` does to the arguments.
        let _kept = &env;
        let program = args.first().ok_or(io::ErrorKind::NotFound)?;
        Err(io::Error::from_raw_os_error(execve(program, &argv, &envp).0))
    };
    // SAFETY: in the child, which may take no lock and no memory, this makes one system call, of what was laid
    // out before and lives as long as the command does.
    unsafe { command.pre_exec(execute) };
    Ok(())
}

/// Where the program is that a job names, on the host.
pub(super) fn find(plan: &Plan) -> Result<OsString> {
    let cwd = &plan.job.cwd;
    if !cwd.is_dir() {
        return Err(Error::invalid("cwd", cwd.display(), "is no directory of the host"));
    }
    if access(cwd, Access::EXEC_OK).is_err() {
        return Err(Error::invalid("cwd", cwd.display(), "may not be entered by who calls"));
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
            let failed = |error: io::Error| Error::internal("watch the program", error);
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
