//! Errors of the system.

use std::io;

use fumehood::{Error, ErrorKind};

/// What makes an error of the library from one of the system, by what was being done.
pub(crate) fn internal(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let doing = doing.into();
    move |source| ErrorKind::Internal { doing, source }.into()
}
