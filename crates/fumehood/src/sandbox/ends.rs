//! The two ends of a program's streams.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::backend::native::cell::Cell;
use crate::backend::native::script::TerminalSize;
use crate::plan::Plan;
use crate::stream::Feed;
use crate::supervise::{self, Ends};
use crate::{Error, Job, Result, Stdin};

/// Our ends of a program's streams, and those of its own that its init does not have yet.
pub(crate) fn streams(
    cell: &mut Cell,
    plan: &Plan,
    feeds: bool,
    terminal: Option<TerminalSize>,
) -> Result<(Ends, Vec<OwnedFd>)> {
    match cell.take_ends().filter(|_| terminal.is_none()) {
        None => ends(plan, feeds, terminal),
        Some(ends) if !feeds => Ok((ends, Vec::new())),
        Some(mut ends) => {
            let theirs = ends.add_feeder(plan);
            Ok((ends, vec![theirs.map_err(|error| Error::internal("make pipes", error))?]))
        }
    }
}

/// Our ends of a program's streams, and its own; none where it has a terminal.
pub(super) fn ends(
    plan: &Plan,
    feeds: bool,
    terminal: Option<TerminalSize>,
) -> Result<(Ends, Vec<OwnedFd>)> {
    if terminal.is_some() {
        return Ok((Ends::default(), Vec::new()));
    }
    supervise::pipes(plan, feeds).map_err(|error| Error::internal("make pipes", error))
}

/// Where a program's standard input comes from: what the caller chose, or else what the job says.
pub(crate) fn source(job: &Job, chosen: Option<Feed>) -> Result<Feed> {
    if let Some(feed) = chosen {
        return Ok(feed);
    }
    Ok(match &job.stdin {
        Stdin::None if job.tty => Feed::Bytes(Vec::new()),
        Stdin::None => Feed::Nothing,
        Stdin::Bytes(bytes) => Feed::Bytes(bytes.clone()),
        Stdin::File(path) => {
            let invalid = |problem| Error::invalid("stdin.file", path.display(), problem);
            let unreadable = |error| invalid(format!("cannot be read: {error}"));
            let file = open(path).map_err(unreadable)?;
            if file.metadata().map_err(unreadable)?.is_dir() {
                return Err(invalid("is a directory; name a file".to_owned()));
            }
            Feed::Fd(file.into())
        }
        Stdin::Inherit => Feed::Fd(
            io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .map_err(|error| Error::internal("take over standard input", error))?,
        ),
    })
}

/// Opens a file without waiting for anything: a FIFO that nobody writes to would hold us up before any clock
/// runs. Opened like this it has no end before there was a writer (`fifo(7)`, `poll(2)`), so the program
/// waits for one, not we.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::empty())?;
    rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
    Ok(file.into())
}
