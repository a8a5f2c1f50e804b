//! A program that a command has started.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::supervise::Order;
use crate::{Error, Handle, Report, Result, Running};

/// A program that has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finished {
    /// Everything about it.
    pub report: Report,
}

impl Finished {
    /// Whether it exited by itself with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code() == Some(0)
    }

    /// Its exit status, if it exited by itself.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self.report.outcome {
            crate::Outcome::Exited { code } => Some(code.into()),
            _ => None,
        }
    }
}

/// A running program. Dropping it kills the program and everything it started.
#[derive(Debug)]
pub struct Child {
    /// Standard input, if it was piped.
    pub stdin: Option<ChildStdin>,
    /// Standard output, if it was piped.
    pub stdout: Option<ChildStdout>,
    /// Standard error, if it was piped.
    pub stderr: Option<ChildStderr>,
    handle: Handle,
    /// A place in the line of orders, which others may fill.
    kill: Mutex<Option<mpsc::OwnedPermit<Order>>>,
    task: JoinHandle<Result<Report>>,
    /// What became of it, once it was waited for.
    ended: Option<Finished>,
    failed: bool,
}

impl Child {
    pub(super) fn new(
        mut running: Running,
        stdin: Option<DuplexStream>,
        stdout: Option<DuplexStream>,
        stderr: Option<DuplexStream>,
    ) -> Self {
        let handle = running.handle();
        let kill = Mutex::new(handle.reserve());
        let task = tokio::spawn(async move { running.wait().await });
        let stdin = stdin.map(ChildStdin);
        let (stdout, stderr) = (stdout.map(ChildStdout), stderr.map(ChildStderr));
        Self { stdin, stdout, stderr, handle, kill, task, ended: None, failed: false }
    }

    /// Steers the program.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Kills the program and everything it started, without waiting for the end.
    pub fn start_kill(&self) {
        let kill = self.kill.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(kill) = kill {
            kill.send(Order::Kill);
        }
    }

    /// Closes standard input and waits for the end. It can be given up and waited for again; once the program
    /// has ended, it says the same each time.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the supervision itself failed.
    pub async fn wait(&mut self) -> Result<Finished> {
        drop(self.stdin.take());
        poll_fn(|cx| self.poll_ended(cx)).await
    }

    /// What became of the program if it has ended; none if it still runs. Standard input stays open.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> Result<Option<Finished>> {
        match self.poll_ended(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ended) => ended.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Result<Finished>> {
        if let Some(ended) = &self.ended {
            return Poll::Ready(Ok(ended.clone()));
        }
        let failed = |error| Error::internal("supervise the program", error);
        if self.failed {
            let said = std::io::Error::other("its supervision failed, as was said before");
            return Poll::Ready(Err(failed(said)));
        }
        let joined = ready!(Pin::new(&mut self.task).poll(cx));
        let ended = joined.map_err(|error| failed(std::io::Error::other(error))).flatten();
        self.failed = ended.is_err();
        Poll::Ready(ended.map(|report| self.ended.insert(Finished { report }).clone()))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The task owns the running program, whose end is its own.
        self.task.abort();
    }
}

/// The writing end of a program's standard input.
#[derive(Debug)]
pub struct ChildStdin(DuplexStream);

/// The reading end of a program's standard output, within its limit.
#[derive(Debug)]
pub struct ChildStdout(DuplexStream);

/// The reading end of a program's standard error, within its limit.
#[derive(Debug)]
pub struct ChildStderr(DuplexStream);

impl AsyncWrite for ChildStdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

macro_rules! reads {
    ($($name:ident)*) => {$(
        impl AsyncRead for $name {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<std::io::Result<()>> {
                Pin::new(&mut self.0).poll_read(cx, buffer)
            }
        }
    )*};
}

reads!(ChildStdout ChildStderr);
