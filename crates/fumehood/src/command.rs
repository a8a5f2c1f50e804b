//! A builder that feels like `std::process::Command`.

mod child;

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use tokio::io::DuplexStream;

use crate::stream::Drain;
use crate::{Error, Job, Limits, Result, Sandbox, Streams};

pub use child::{Child, ChildStderr, ChildStdin, ChildStdout, Finished};

/// Builds and runs a job, with the vocabulary of [`std::process::Command`].
///
/// What differs: the environment starts clean, the working directory is `/workspace` inside, and
/// standard input is empty unless it is set. A command can be run again; descriptors that it was given
/// are open as long as it is. A job is text, so what is no UTF-8 of a program's name, its arguments, or its
/// variables is refused when it is to be run ([`InvalidJob`](crate::ErrorKind::InvalidJob)).
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
    /// The first field that was given what no job can say.
    unsayable: Option<String>,
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

impl Stdio {
    const fn is_piped(&self) -> bool {
        matches!(self.0, Kind::Piped)
    }

    /// Where an output goes, and the end of it that is kept by a child.
    fn drain(&self, own: impl AsFd) -> Result<(Drain, Option<DuplexStream>)> {
        Ok(match &self.0 {
            Kind::Null => (Drain::Fd(null()?), None),
            Kind::Piped => {
                let (drain, reader) = Drain::piped();
                (drain, Some(reader))
            }
            Kind::Inherit => (Drain::Fd(again(own)?), None),
            Kind::Fd(fd) => (Drain::Fd(again(fd)?), None),
        })
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
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Self::from(Job::new::<[String; 0]>([]));
        command.arg(program);
        command
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        let argument = self.text(argument.as_ref(), |job| format!("args[{}]", job.args.len()));
        self.job.args.push(argument);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        for argument in arguments {
            self.arg(argument);
        }
        self
    }

    /// Sets a variable.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        let name = self.text(name.as_ref(), |_| "env.set".to_owned());
        let value = self.text(value.as_ref(), |_| format!("env.set.{name}"));
        self.job.env.set.insert(name, value);
        self
    }

    /// Sets variables.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> &mut Self {
        for (name, value) in variables {
            self.env(name, value);
        }
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

    /// Runs to the end and captures both outputs, but for one that was led elsewhere.
    ///
    /// # Errors
    /// Only if the program could not be run: see [`ErrorKind`](crate::ErrorKind).
    pub async fn output(&mut self) -> Result<Finished> {
        self.is_sayable()?;
        let mut streams = Streams::captured();
        self.wire_stdin(&mut streams)?;
        if let Some(stdio) = self.stdout.as_ref().filter(|stdio| !stdio.is_piped()) {
            streams.stdout = stdio.drain(std::io::stdout())?.0;
        }
        if let Some(stdio) = self.stderr.as_ref().filter(|stdio| !stdio.is_piped()) {
            streams.stderr = stdio.drain(std::io::stderr())?.0;
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
        self.is_sayable()?;
        let mut streams = Streams::captured();
        let stdin = self.wire_stdin(&mut streams)?;
        let (stdout, stderr);
        let inherited = &Stdio::inherit();
        let [out, err] = [&self.stdout, &self.stderr].map(|set| set.as_ref().unwrap_or(inherited));
        (streams.stdout, stdout) = out.drain(std::io::stdout())?;
        (streams.stderr, stderr) = err.drain(std::io::stderr())?;
        let running = self.sandbox.spawn(&self.job, streams).await?;
        Ok(Child::new(running, stdin, stdout, stderr))
    }

    /// As text, which is all that a job has.
    fn text(&mut self, given: &OsStr, field: impl FnOnce(&Job) -> String) -> String {
        if given.to_str().is_none() && self.unsayable.is_none() {
            self.unsayable = Some(field(&self.job));
        }
        given.to_string_lossy().into_owned()
    }

    fn is_sayable(&self) -> Result<()> {
        match &self.unsayable {
            Some(field) => Err(Error::invalid(field, "(value not shown)", "must be UTF-8")),
            None => Ok(()),
        }
    }

    fn wire_stdin(&self, streams: &mut Streams) -> Result<Option<DuplexStream>> {
        match self.stdin.as_ref().map(|stdio| &stdio.0) {
            None => {}
            Some(Kind::Null) => streams.no_stdin(),
            Some(Kind::Piped) => return Ok(Some(streams.pipe_stdin())),
            Some(Kind::Inherit) => streams.feed_stdin(again(std::io::stdin())?),
            Some(Kind::Fd(fd)) => streams.feed_stdin(again(fd)?),
        }
        Ok(None)
    }
}

impl From<Job> for Command {
    fn from(job: Job) -> Self {
        Self {
            sandbox: Sandbox::new(),
            job,
            unsayable: None,
            stdin: None,
            stdout: None,
            stderr: None,
        }
    }
}

/// The descriptor once more: a command can be run again.
fn again(stream: impl AsFd) -> Result<OwnedFd> {
    let owned = stream.as_fd().try_clone_to_owned();
    owned.map_err(|error| Error::internal("take over a stream of the caller", error))
}

fn null() -> Result<OwnedFd> {
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null");
    null.map(Into::into).map_err(|error| Error::internal("open /dev/null", error))
}
