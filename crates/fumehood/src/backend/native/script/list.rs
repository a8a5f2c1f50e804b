//! A list of steps, as it is written down for the child.

use std::borrow::Cow;
use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;

use fumehood_child::Step;
use fumehood_child::step::Sink;

use super::READ_ONLY;
use crate::sabotage::leaves_out;
use crate::{Error, Result};

/// A list of steps, compiled for the child.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// What the child reads.
    pub(crate) bytes: Vec<u8>,
    /// What each step is called in messages: its name and its object.
    pub(crate) labels: Vec<Cow<'static, str>>,
    /// Descriptors that go along.
    pub(crate) fds: Vec<OwnedFd>,
    /// How many of the bytes are steps that can be done before the rest is known.
    ahead: usize,
    /// What there is on the new root.
    mounts: Mounts,
}

/// What is mounted on a new root so far. What a system shows of the host comes first, and is made
/// read-only all at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mounts {
    #[default]
    Nothing,
    /// Something of the host, which is not read-only yet.
    Host,
    /// Other things, too.
    Various,
}

struct Bytes<'a>(&'a mut Vec<u8>);

impl Sink for Bytes<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl Script {
    pub(super) fn push(&mut self, step: &Step<'_>) {
        self.push_for(step, "");
    }

    pub(super) fn push_for(&mut self, step: &Step<'_>, object: impl AsRef<OsStr>) {
        let object = object.as_ref();
        let label = if object.is_empty() {
            Cow::Borrowed(step.name())
        } else {
            Cow::Owned([step.name(), &object.to_string_lossy()].join(" "))
        };
        self.push_as(step, label);
    }

    pub(super) fn push_as(&mut self, step: &Step<'_>, label: Cow<'static, str>) {
        if mounts_another(step) {
            self.settle();
        }
        if !leaves_out(step.name()) {
            step.encode(&mut Bytes(&mut self.bytes));
            self.labels.push(label);
        }
    }

    /// Whether what is there by now is nothing but the host's.
    pub(super) fn shows_the_host_alone(&self) -> bool {
        self.mounts != Mounts::Various
    }

    /// Notes that there is something of the host which is not read-only yet.
    pub(super) fn shows_the_host(&mut self) {
        self.mounts = Mounts::Host;
    }

    /// Makes what is there of the host read-only, before there is anything that is not to be.
    fn settle(&mut self) {
        if std::mem::replace(&mut self.mounts, Mounts::Various) == Mounts::Host {
            self.push(&Step::ReadOnly { attributes: u64::from(READ_ONLY) });
        }
    }

    /// Notes that the steps so far can be done before the rest is known.
    pub(super) const fn end_ahead(&mut self) {
        self.ahead = self.bytes.len();
    }

    /// The steps that can be done before the rest is known, and the rest.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(self.ahead)
    }

    /// The same list for another child, where nothing goes along.
    pub(crate) fn without_descriptors(&self) -> Self {
        let Self { bytes, labels, fds: _, ahead, mounts } = self;
        let mut copy = Self { ahead: *ahead, mounts: *mounts, ..Self::default() };
        // The execution is still to come.
        copy.bytes.reserve(bytes.len() + 1024);
        copy.bytes.extend_from_slice(bytes);
        copy.labels.reserve(labels.len() + 1);
        copy.labels.extend_from_slice(labels);
        copy
    }

    /// The name of a step without its object.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|label| label.split(' ').next().unwrap_or_default())
    }
}

/// Whether there is more on the new root after a step than what is shown of the host, or it is done.
const fn mounts_another(step: &Step<'_>) -> bool {
    use Step::{Bind, BindFd, Devpts, Mask, Overlay, SealRoot, ShowProc, Tmpfs};
    match step {
        Bind { attributes, .. } => *attributes != 0,
        BindFd { .. } | Tmpfs { .. } | Overlay { .. } | ShowProc { .. } => true,
        Devpts { .. } | Mask { .. } | SealRoot {} => true,
        _ => false,
    }
}

/// Adds a string to strings of a step.
pub(super) fn append(strings: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    let string = c_string(bytes)?;
    fumehood_child::step::Field::put(&string.as_c_str(), &mut Bytes(strings));
    Ok(())
}

/// # Errors
/// If there is a NUL byte in it.
pub(super) fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        Error::invalid("job", format!("{shown:?}"), "contains a NUL byte")
    })
}
