//! Inputs on their way into a cell.
//!
//! Here, in the supervisor, whatever is given is read and judged: archives with every trick that
//! they may hold, directories with links and pipes in them. What passes is lowered to a stream of
//! plain records, which the cell's own init writes. Nothing is written on this side.

mod archive;
mod compress;
mod dir;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod header;
mod lower;
mod name;
mod pax;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read, Write};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::job::files::{Input, InputLimits, InputSource, TarSource};
use crate::{Error, Result};
use lower::Lower;

/// Why an input is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// An entry breaks a rule; the cell's end of the stream has not seen it.
    Entry {
        /// Its name.
        name: Vec<u8>,
        /// What is wrong with it.
        problem: String,
    },
    /// The source as a whole.
    Source(String),
    /// Nobody takes the records any more: the cell has its own reason.
    Stream,
}

impl Refusal {
    pub(crate) fn entry(name: &[u8], problem: impl Into<String>) -> Self {
        Self::Entry { name: name.to_vec(), problem: problem.into() }
    }
}

/// A name in a message: no control character gets to a terminal, and no name is too long for one.
#[derive(Debug)]
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 200;
        let shown = self.0.get(..LONGEST).unwrap_or(self.0);
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if self.0.len() > LONGEST { write!(f, "… ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

/// What went wrong on this side of the stream.
#[derive(Debug)]
pub(crate) enum NotFed {
    /// The input itself, with everything that its caller needs.
    Refused(Error),
    /// The other end of the stream is gone; it has said why, or died.
    HungUp,
}

/// Whether one of them comes from standard input, which can be read once.
pub(crate) fn reads_stdin(inputs: &[Input]) -> bool {
    inputs.iter().any(|input| matches!(input.source, InputSource::Tar(TarSource::Stdin)))
}

/// Lowers all inputs to records.
///
/// # Errors
/// The first input that is refused, with its entry.
pub(crate) fn feed(
    inputs: &[Input],
    limits: InputLimits,
    stream: impl Write,
) -> Result<(), NotFed> {
    let mut lower = Lower::new(stream, limits);
    for (index, input) in inputs.iter().enumerate() {
        one(input, limits, &mut lower).map_err(|refusal| named(refusal, index, input))?;
    }
    lower.finish().map_err(|_| NotFed::HungUp)
}

fn one(input: &Input, limits: InputLimits, lower: &mut Lower<impl Write>) -> Result<(), Refusal> {
    match &input.source {
        InputSource::Dir { path, exclude } => {
            lower.base(&input.to)?;
            dir::copy(path, exclude, lower)
        }
        InputSource::File(path) => {
            let name = lower.base_above(&input.to)?;
            dir::copy_file(path, &name, lower)
        }
        InputSource::Bytes { data, mode } => {
            let name = lower.base_above(&input.to)?;
            lower.file(&name, *mode, 0, data.len() as u64, &mut data.as_slice())
        }
        InputSource::Tar(source) => {
            lower.base(&input.to)?;
            match source {
                TarSource::Bytes(bytes) => archive::unpack(bytes.as_slice(), limits, lower),
                TarSource::Stdin => archive::unpack(io::stdin().lock(), limits, lower),
                TarSource::File(path) => {
                    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
                    let file = openat(CWD, path, flags, Mode::empty());
                    let file = file.map_err(|errno| Refusal::Source(unreadable(errno)))?;
                    archive::unpack(std::fs::File::from(file), limits, lower)
                }
            }
        }
    }
}

pub(crate) fn unreadable(error: impl Into<io::Error>) -> String {
    let error = error.into();
    match error.kind() {
        io::ErrorKind::NotFound => "cannot be read: no such file or directory".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

fn named(refusal: Refusal, index: usize, input: &Input) -> NotFed {
    let (name, value) = match &input.source {
        InputSource::Dir { path, .. } => ("dir", path.display().to_string()),
        InputSource::File(path) => ("file", path.display().to_string()),
        InputSource::Tar(TarSource::File(path)) => ("tar", path.display().to_string()),
        InputSource::Tar(TarSource::Stdin) => ("tar", "stdin".to_owned()),
        InputSource::Tar(TarSource::Bytes(bytes)) => ("tar", format!("{} bytes", bytes.len())),
        InputSource::Bytes { data, .. } => ("bytes", format!("{} bytes", data.len())),
    };
    let field = format!("inputs[{index}].{name}");
    match refusal {
        Refusal::Source(problem) => NotFed::Refused(Error::invalid(field, value, problem)),
        Refusal::Entry { name, problem } => {
            let value = format!("{value}: entry {}", Shown(&name));
            NotFed::Refused(Error::invalid(field, value, problem))
        }
        Refusal::Stream => NotFed::HungUp,
    }
}

/// Fills a buffer as far as the source goes; how far that was.
fn fill(source: &mut impl Read, mut buffer: &mut [u8]) -> io::Result<usize> {
    let whole = buffer.len();
    while !buffer.is_empty() {
        match source.read(buffer) {
            Ok(0) => break,
            Ok(len) => buffer = &mut buffer[len..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(whole - buffer.len())
}
