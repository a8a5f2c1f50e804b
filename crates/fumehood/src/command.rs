//! A builder that feels like `std::process::Command`.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::task::JoinHandle;

use crate::{Error, Handle, Job, Limits, Report, Result, Sandbox, Streams};

/// Builds and runs a job, with the vocabulary of [`std::process::Command`].
///
/// What differs: the environment starts clean, the working directory is `/workspace` inside, and
/// standard input is empty unless it is set.
///
/// ```no_run
/// # async fn example() -> fumehood::Result<()> {
/// let done = fumehood::Command::new("sh").args(["-c", "echo hi; exit 3"]).output().await?;
/// assert_eq!(done.code(), Some(3));
/// assert_eq!(done.report.stdout.data, b"hi\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Command {
    sandbox: Sandbox,
    job: Job,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
}

/// Where one of a child's streams leads.
#[derive(Debug)]
pub struct Stdio(Kind);

#[derive(Debug)]
enum Kind {
    Null,
    Piped,
    Inherit,
    Fd(OwnedFd),
}

impl Stdio {
    /// Nowhere.
    #[must_use]
    pub const fn null() -> Self {
        Self(Kind::Null)
    }

    /// To a pipe whose other end is in the [`Child`]. Once that is dropped, the program's next write gets
    /// `SIGPIPE` (`signal(7)`).
    #[must_use]
    pub const fn piped() -> Self {
        Self(Kind::Piped)
    }

    /// To the caller's own stream. The program does not get the caller's descriptor: bytes are
    /// copied, counted and limited.
    #[must_use]
    pub const fn inherit() -> Self {
        Self(Kind::Inherit)
    }
}

impl<T: Into<OwnedFd>> From<T> for Stdio {
    fn from(fd: T) -> Self {
        Self(Kind::Fd(fd.into()))
    }
}

impl Command {
    /// A command that runs `program`, which is resolved inside the sandbox.
    #[must_use]
    pub fn new(program: impl Into<String>) -> Self {
        Self::from(Job::new([program.into()]))
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl Into<String>) -> &mut Self {
        self.job.args.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> &mut Self {
        self.job.args.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    pub fn env(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.job.env.set.insert(name.into(), value.into());
        self
    }

    /// Sets the working directory inside.
    pub fn current_dir(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.job.cwd = path.into();
        self
    }

    /// Changes the limits.
    pub fn limits(&mut self, change: impl FnOnce(&mut Limits)) -> &mut Self {
        change(&mut self.job.limits);
        self
    }

    /// Changes anything else of the job.
    pub fn job(&mut self, change: impl FnOnce(&mut Job)) -> &mut Self {
        change(&mut self.job);
        self
    }

    /// Runs in this sandbox rather than a new one.
    pub fn sandbox(&mut self, sandbox: Sandbox) -> &mut Self {
        self.sandbox = sandbox;
        self
    }

    /// Where standard input comes from; by default what the job says, which is nowhere.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdin = Some(stdio.into());
        self
    }

    /// Where standard output goes; by default to the caller's, with [`output`](Self::output) to
    /// the report.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdout = Some(stdio.into());
        self
    }

    /// Where standard error goes; by default as for standard output.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stderr = Some(stdio.into());
        self
    }

    /// Runs to the end and captures both outputs.
    ///
    /// # Errors
    /// Only if the program could not be run: see [`ErrorKind`](crate::ErrorKind).
    pub async fn output(&mut self) -> Result<Finished> {
        let mut streams = Streams::captured();
        if let Some(stdin) = self.stdin.take() {
            wire_stdin(&mut streams, stdin)?;
        }
        let mut running = self.sandbox.spawn(&self.job, streams).await?;
        Ok(Finished { report: running.wait().await? })
    }

    /// Runs to the end with the caller's own outputs.
    ///
    /// # Errors
    /// Only if the program could not be run: see [`ErrorKind`](crate::ErrorKind).
    pub async fn status(&mut self) -> Result<Finished> {
        self.spawn().await?.wait().await
    }

    /// Starts the program. It is supervised by a task of the current runtime until it has ended
    /// or the child is dropped.
    ///
    /// # Errors
    /// Only if the program could not be started: see [`ErrorKind`](crate::ErrorKind).
    pub async fn spawn(&mut self) -> Result<Child> {
        let mut streams = Streams::captured();
        let stdin = match self.stdin.take() {
            Some(stdio) => wire_stdin(&mut streams, stdio)?,
            None => None,
        };
        let inherit = || Stdio::inherit();
        let (streams, stdout) = wire_stdout(streams, self.stdout.take().unwrap_or_else(inherit))?;
        let (streams, stderr) = wire_stderr(streams, self.stderr.take().unwrap_or_else(inherit))?;
        let mut running = self.sandbox.spawn(&self.job, streams).await?;
        let handle = running.handle();
        let task = tokio::spawn(async move { running.wait().await });
        Ok(Child { stdin, stdout, stderr, handle, task })
    }
}

impl From<Job> for Command {
    fn from(job: Job) -> Self {
        Self { sandbox: Sandbox::new(), job, stdin: None, stdout: None, stderr: None }
    }
}

fn wire_stdin(streams: &mut Streams, stdio: Stdio) -> Result<Option<ChildStdin>> {
    match stdio.0 {
        Kind::Null => streams.no_stdin(),
        Kind::Piped => return Ok(Some(ChildStdin(streams.pipe_stdin()))),
        Kind::Inherit => streams.feed_stdin(own(&std::io::stdin())?),
        Kind::Fd(fd) => streams.feed_stdin(fd),
    }
    Ok(None)
}

fn wire_stdout(mut streams: Streams, stdio: Stdio) -> Result<(Streams, Option<ChildStdout>)> {
    Ok(match stdio.0 {
        Kind::Null => (streams.stdout_to(null()?), None),
        Kind::Piped => {
            let stdout = ChildStdout(streams.pipe_stdout());
            (streams, Some(stdout))
        }
        Kind::Inherit => (streams.stdout_to(own(&std::io::stdout())?), None),
        Kind::Fd(fd) => (streams.stdout_to(fd), None),
    })
}

fn wire_stderr(mut streams: Streams, stdio: Stdio) -> Result<(Streams, Option<ChildStderr>)> {
    Ok(match stdio.0 {
        Kind::Null => (streams.stderr_to(null()?), None),
        Kind::Piped => {
            let stderr = ChildStderr(streams.pipe_stderr());
            (streams, Some(stderr))
        }
        Kind::Inherit => (streams.stderr_to(own(&std::io::stderr())?), None),
        Kind::Fd(fd) => (streams.stderr_to(fd), None),
    })
}

fn own(stream: &impl std::os::fd::AsFd) -> Result<OwnedFd> {
    let owned = stream.as_fd().try_clone_to_owned();
    owned.map_err(|error| Error::internal("take over a stream of the caller", error))
}

fn null() -> Result<OwnedFd> {
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null");
    null.map(Into::into).map_err(|error| Error::internal("open /dev/null", error))
}

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
    task: JoinHandle<Result<Report>>,
}

impl Child {
    /// Steers the program.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Kills the program and everything it started, without waiting for the end.
    pub fn start_kill(&self) {
        self.handle.start_kill();
    }

    /// Closes standard input and waits for the end.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the supervision itself failed.
    pub async fn wait(&mut self) -> Result<Finished> {
        drop(self.stdin.take());
        let joined = Pin::new(&mut self.task).await;
        let report = joined.map_err(|error| {
            Error::internal("supervise the program", std::io::Error::other(error))
        })?;
        Ok(Finished { report: report? })
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
