//! Why a job could not be run: the caller's fault, the host's limit, or ours.

use std::fmt::{self, Write};

use serde::Serialize;

use crate::{BackendName, Guarantee};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a job could not be run. What a program did once it ran is never an error but an
/// [`Outcome`](crate::Outcome).
pub struct Error(Box<ErrorKind>);

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The job is not valid: the caller's fault. Nothing was started.
    InvalidJob {
        /// Path of the field in the job, such as `limits.memory` or `mounts[1].target`.
        field: String,
        /// The value that was refused, as the caller wrote it.
        value: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// The host cannot hold guarantees that were required. Nothing was started.
    Unsupported {
        /// Every guarantee that is missing, with its reason; never empty.
        missing: Vec<Missing>,
    },
    /// The backend that the job names cannot be used on this host: its program or its service is
    /// missing or does not work. Nothing was started.
    NoBackend {
        /// Which.
        backend: BackendName,
        /// Why, in a clause that goes on from its name: `is not installed`.
        reason: String,
        /// The command that fixes it, if there is one.
        fix: Option<String>,
    },
    /// The program was not found inside the sandbox.
    ProgramNotFound {
        /// The program as the caller named it.
        program: String,
        /// Where it was looked for, or that its interpreter is missing.
        detail: String,
    },
    /// The program exists inside the sandbox but cannot be executed.
    ProgramNotExecutable {
        /// The program as the caller named it.
        program: String,
        /// The reason: permission, format.
        detail: String,
    },
    /// A step of the set-up failed; the program never ran.
    Start {
        /// Name of the step, with its object: `mount /usr`.
        step: String,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// Files cannot be exported as asked. What was written of an archive is of no use.
    Export {
        /// The file or directory that is in the way.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An image cannot be imported, found or used.
    Image {
        /// The image, the archive that it is in, or the store.
        image: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The process has no launcher: [`init`](crate::init) was not called first in `main`, and no
    /// installed `fumehood` binary was found.
    NoLauncher,
    /// Something outside the program's control failed while it ran.
    Internal {
        /// What was being done.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// The layer of the host that keeps a guarantee from being held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Layer {
    /// The kernel lacks the feature.
    Kernel,
    /// A sysctl forbids it.
    Sysctl,
    /// AppArmor forbids it.
    Apparmor,
    /// SELinux or another security module forbids it.
    SecurityModule,
    /// The seccomp filter of an outer container forbids it.
    OuterSeccomp,
    /// An outer container masks `/proc`.
    MaskedProc,
    /// The caller is in a chroot, where the kernel makes no user namespaces.
    Chroot,
    /// The caller's own user namespace maps too few ids, or the caller may not map them.
    IdMap,
    /// Control groups are not delegated to this user.
    Cgroup,
    /// The backend cannot give it on any host.
    Backend,
    /// A helper program is missing or too old.
    Tool,
    /// The layer could not be told.
    Unknown,
}

/// A guarantee that the host cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Missing {
    /// The guarantee.
    pub guarantee: Guarantee,
    /// The layer that blocks it.
    pub layer: Layer,
    /// Why, in one sentence.
    pub reason: String,
    /// The command or setting that fixes it, if there is one.
    pub fix: Option<String>,
}

impl Error {
    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// An invalid job: `field` holds `value`, and `problem` says what would be right.
    pub fn invalid(
        field: impl Into<String>,
        value: impl fmt::Display,
        problem: impl Into<String>,
    ) -> Self {
        Self::from(ErrorKind::InvalidJob {
            field: field.into(),
            value: value.to_string(),
            problem: problem.into(),
        })
    }

    /// A failure of ours, or of the host while the program ran.
    pub(crate) fn internal(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::from(ErrorKind::Internal { doing: doing.into(), source: source.into() })
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Errors repeat what others wrote, and are read on terminals.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tell(&mut Printable(f))
    }
}

/// Text in one line, in which whatever would not be seen as what it is stands as an escape of Rust's: control
/// characters, and those that turn the direction of writing or take no room.
///
/// ```
/// assert_eq!(fumehood::printable("a\u{1b}[31m\nb"), r"a\u{1b}[31m\nb");
/// assert_eq!(fumehood::printable(r#""é" \"#), r#""é" \"#);
/// ```
#[must_use]
pub fn printable(text: &str) -> String {
    let mut printable = String::new();
    // Into memory nothing fails.
    let _ = Printable(&mut printable).write_str(text);
    printable
}

struct Printable<W>(W);

impl<W: Write> Write for Printable<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(KEPT) {
            let (plain, kept) = piece.split_at(piece.trim_end_matches(KEPT).len());
            write!(self.0, "{}{kept}", plain.escape_debug())?;
        }
        Ok(())
    }
}

/// What only has to be escaped between quotes.
const KEPT: [char; 3] = ['"', '\'', '\\'];

impl Error {
    fn tell(&self, f: &mut impl Write) -> fmt::Result {
        match &*self.0 {
            ErrorKind::InvalidJob { field, value, problem } => {
                write!(f, "invalid job: {field}: {value}: {problem}")
            }
            ErrorKind::Unsupported { missing } => {
                f.write_str("this host cannot hold")?;
                for (index, missing) in missing.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ";" };
                    write!(f, "{comma} {}: {}", missing.guarantee, missing.reason)?;
                }
                Ok(())
            }
            ErrorKind::NoBackend { backend, reason, fix } => {
                write!(f, "backend {backend} {reason}")?;
                fix.as_ref().map_or(Ok(()), |fix| write!(f, "; to fix it: {fix}"))
            }
            ErrorKind::ProgramNotFound { program, detail } => {
                write!(f, "program {program:?} not found: {detail}")
            }
            ErrorKind::ProgramNotExecutable { program, detail } => {
                write!(f, "program {program:?} cannot be executed: {detail}")
            }
            ErrorKind::Start { step, source } => {
                write!(f, "failed to start: {step}{}", meaning(step, source))
            }
            ErrorKind::Export { path, problem } => write!(f, "cannot export: {path}: {problem}"),
            ErrorKind::Image { image, problem } => write!(f, "image {image}: {problem}"),
            ErrorKind::NoLauncher => f.write_str(
                "no launcher: call fumehood::init() first in main, or install the fumehood binary",
            ),
            ErrorKind::Internal { doing, .. } => write!(f, "failed to {doing}"),
        }
    }
}

/// What an error of a step means where that is not what the kernel says (clone(2), and sched(7) of
/// deadlines, which are not passed on).
fn meaning(step: &str, source: &std::io::Error) -> &'static str {
    if step == "clone" && source.kind() == std::io::ErrorKind::WouldBlock {
        return " (this user or its control group may have no more processes: ulimit -u, pids.max; or the \
                caller is of SCHED_DEADLINE)";
    }
    ""
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            ErrorKind::Start { source, .. } | ErrorKind::Internal { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_clone(errno: i32) -> String {
        let source = std::io::Error::from_raw_os_error(errno);
        Error::from(ErrorKind::Start { step: "clone".to_owned(), source }).to_string()
    }

    #[test]
    fn nothing_that_is_repeated_reaches_a_terminal_raw() {
        const FOREIGN: &str = "\u{1b}[31mX\u{7}\n\u{9b}\u{202e}\u{200b}é";
        const SHOWN: &str = r"\u{1b}[31mX\u{7}\n\u{9b}\u{202e}\u{200b}é";
        let text = || FOREIGN.to_owned();
        for kind in [
            ErrorKind::InvalidJob { field: text(), value: text(), problem: text() },
            ErrorKind::Image { image: text(), problem: text() },
            ErrorKind::Export { path: text(), problem: text() },
            ErrorKind::ProgramNotFound { program: text(), detail: text() },
            ErrorKind::Internal { doing: text(), source: std::io::ErrorKind::Other.into() },
        ] {
            let said = Error::from(kind).to_string();
            assert!(said.contains(SHOWN) && !said.contains(char::is_control), "{said}");
            assert!(!said.contains(['\u{202e}', '\u{200b}']), "{said}");
        }
        let said = Error::invalid("cwd", format_args!("{:?}", "a\"\u{1b}"), "'b'").to_string();
        assert_eq!(said, r#"invalid job: cwd: "a\"\u{1b}": 'b'"#);
    }

    #[test]
    fn who_may_have_no_more_processes_is_told_so() {
        const EAGAIN: i32 = 11;
        const ENOMEM: i32 = 12;
        assert!(of_clone(EAGAIN).contains("ulimit -u"), "{}", of_clone(EAGAIN));
        assert_eq!(of_clone(ENOMEM), "failed to start: clone");
    }
}
