//! Where a caller wants a program's streams to lead.

use std::os::fd::OwnedFd;

use tokio::io::DuplexStream;

use crate::backend::native::script::TerminalSize;
use crate::stream::{Drain, Feed};

/// Where the streams of a program lead.
#[derive(Debug)]
pub struct Streams {
    pub(crate) stdin: Option<Feed>,
    pub(crate) stdout: Drain,
    pub(crate) stderr: Drain,
    pub(super) terminal: Option<TerminalSize>,
}

impl Default for Streams {
    fn default() -> Self {
        Self::captured()
    }
}

impl Streams {
    /// Standard input as the job says; both outputs kept for the report.
    #[must_use]
    pub const fn captured() -> Self {
        Self { stdin: None, stdout: Drain::Capture, stderr: Drain::Capture, terminal: None }
    }

    /// Passes standard output on to a descriptor as it comes. A program with a terminal has no
    /// other output.
    #[must_use]
    pub fn stdout_to(mut self, fd: OwnedFd) -> Self {
        self.stdout = Drain::Fd(fd);
        self
    }

    /// Passes standard error on to a descriptor as it comes.
    #[must_use]
    pub fn stderr_to(mut self, fd: OwnedFd) -> Self {
        self.stderr = Drain::Fd(fd);
        self
    }

    /// The size of the program's terminal, if the job asks for one.
    #[must_use]
    pub const fn terminal_size(mut self, rows: u16, columns: u16) -> Self {
        self.terminal = Some(TerminalSize { rows, columns });
        self
    }

    pub(crate) fn no_stdin(&mut self) {
        self.stdin = Some(Feed::Nothing);
    }

    pub(crate) fn pipe_stdin(&mut self) -> DuplexStream {
        let (feed, writer) = Feed::piped();
        self.stdin = Some(feed);
        writer
    }

    pub(crate) fn feed_stdin(&mut self, fd: OwnedFd) {
        self.stdin = Some(Feed::Fd(fd));
    }
}
