//! Inputs on their way from this side, which reads and judges them, to the init, which writes them.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use fumehood_child::wire::Kind;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::cell::{Cell, NotBuilt};
use crate::plan::Plan;
use crate::workspace::intake::{self, NotFed, Shown};
use crate::{Error, Result, StepTime};

impl Cell {
    /// Writes the inputs of a job into a cell that has no program yet. The cell is waited for
    /// before anything is read: what can be read only once is not spent on a cell that fails.
    pub(crate) async fn stage(&mut self, plan: &Plan) -> Result<(), NotBuilt> {
        if plan.job.inputs.is_empty() {
            return Ok(());
        }
        self.stand().await?;
        let began = Instant::now();
        let failed = |error: io::Error| Error::internal("make a socket", error);
        let flags = SocketFlags::CLOEXEC;
        let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let (ours, theirs) = pair.map_err(|errno| failed(errno.into()))?;
        self.send_stage(theirs.as_fd()).await?;
        drop(theirs);
        let mut feeding = feeder(plan, ours).map_err(failed)?;
        let staged = tokio::select! {
            biased;
            Ok(Err(NotFed::Refused(error))) = &mut feeding => return Err(error.into()),
            staged = self.staged(plan) => staged,
        };
        if let Err(error) = staged {
            // What this side had to say about an input was said before the stream broke off, and is
            // better than that it did.
            return Err(match feeding.try_recv() {
                Ok(Err(NotFed::Refused(refused))) => refused.into(),
                _ => error,
            });
        }
        let us = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.note(StepTime { step: "inputs".to_owned(), us });
        Ok(())
    }

    /// Waits until the init has written everything.
    async fn staged(&mut self, plan: &Plan) -> Result<(), NotBuilt> {
        let Some(message) = self.next_unless_dead().await? else {
            return Err(self.died_with_inputs(plan));
        };
        match message.kind {
            Kind::Staged => Ok(()),
            Kind::StageFailed => {
                let (errno, path) = message
                    .body
                    .split_first_chunk::<4>()
                    .map_or((0, message.body.as_slice()), |(errno, path)| {
                        (i32::from_le_bytes(*errno), path)
                    });
                Err(not_written(plan, errno, path).into())
            }
            _ => {
                Err(Error::internal("write the inputs", io::Error::other("the init is lost"))
                    .into())
            }
        }
    }

    /// The kernel kills the init when the inputs alone are more than the limit of memory.
    fn died_with_inputs(&self, plan: &Plan) -> NotBuilt {
        if self.out_of_memory() {
            let memory = plan.job.limits.memory();
            let problem = "is too small for the inputs alone, which count as memory of the sandbox";
            return Error::invalid("limits.memory", memory.to_string(), problem).into();
        }
        let source = io::Error::other("the init died");
        NotBuilt::Lost(Error::internal("write the inputs", source))
    }
}

/// Reads and judges the inputs on a thread of its own: they may come from a slow disk, or from
/// somebody who keeps us waiting. When the cell is gone the thread ends with its next write.
fn feeder(
    plan: &Plan,
    stream: OwnedFd,
) -> io::Result<oneshot::Receiver<std::result::Result<(), NotFed>>> {
    let (inputs, limits) = (plan.job.inputs.clone(), plan.job.input_limits);
    let (done, receiver) = oneshot::channel();
    std::thread::Builder::new().name("inputs".to_owned()).spawn(move || {
        let line = Line(stream);
        let fed = intake::feed(&inputs, limits, &line);
        // Said before the line is closed, which ends the init. Nobody listens any more if the run
        // was given up.
        let _ = done.send(fed);
    })?;
    Ok(receiver)
}

/// A socket that raises no signal when its other end is gone.
struct Line(OwnedFd);

impl Write for &Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The init's word on an entry that it could not write, for whoever gave the entry.
pub(crate) fn not_written(plan: &Plan, errno: i32, path: &[u8]) -> Error {
    let limits = &plan.job.limits;
    let entry = format!("entry {}", Shown(path));
    let problem = match Errno::from_raw_os_error(errno) {
        Errno::NOSPC => format!(
            "does not fit; limits.workspace is {}, limits.tmp {}, limits.inodes {}",
            limits.workspace(),
            limits.tmp(),
            limits.inodes()
        ),
        Errno::EXIST => "is there already; an archive may hold a name once".to_owned(),
        Errno::LOOP => "lies behind a symbolic link".to_owned(),
        Errno::NOTDIR => "lies behind something that is no directory".to_owned(),
        Errno::XDEV => "lies on another mount; inputs never change what is mounted".to_owned(),
        Errno::NOENT => "is a hard link to a file that does not come before it".to_owned(),
        _ => format!("cannot be written: {}", io::Error::from_raw_os_error(errno)),
    };
    Error::invalid("inputs", entry, problem)
}
