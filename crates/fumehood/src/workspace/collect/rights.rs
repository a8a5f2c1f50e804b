//! With whose rights files are read.
//!
//! A program that root started is somebody else, and mounts may hold what it cannot read. What it asks
//! us to bring back is looked at with its own rights (`setfsuid(2)`), so that it gets nothing by us that
//! it could not have had itself. Destinations are ours, and written to as who we are.

use std::io;

use fumehood_child::sys::{self, Errno};
use rustix::process::{getegid, geteuid};

use crate::plan::Identity;

/// With whose rights files are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rights(Option<(u32, u32)>);

impl Rights {
    /// Those of the calling process: the program has the same, or more.
    pub(super) const OURS: Self = Self(None);

    /// Those that the program had on the host.
    pub(crate) fn of(program: Identity) -> Self {
        Self(program.by_root.then_some((program.host_uid, program.host_gid)))
    }

    /// Assumes them for this thread, which is to end afterwards: its groups do not come back. The
    /// kernel also stops writing core files of the process (`PR_SET_DUMPABLE`).
    ///
    /// # Errors
    /// The system said no: nothing may be read.
    pub(super) fn assume(self) -> io::Result<()> {
        let Some(ids) = self.0 else { return Ok(()) };
        sys::clear_groups().and_then(|()| set(ids)).map_err(io_error)
    }

    /// Goes back to who we are.
    ///
    /// # Errors
    /// The system said no: nothing can be written.
    pub(super) fn lay_down(self) -> io::Result<()> {
        let own = (geteuid().as_raw(), getegid().as_raw());
        self.0.map_or(Ok(()), |_| set(own).map_err(io_error))
    }
}

fn set((uid, gid): (u32, u32)) -> Result<(), Errno> {
    sys::set_fs_gid(gid)?;
    sys::set_fs_uid(uid)
}

fn io_error(Errno(errno): Errno) -> io::Error {
    io::Error::from_raw_os_error(errno)
}
