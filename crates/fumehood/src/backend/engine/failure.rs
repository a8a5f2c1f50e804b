//! What an engine's failures mean to a caller.

use std::io;

use super::http::Failure;
use super::socket::start_command;
use crate::{BackendName, Error, ErrorKind};

/// The error for something that was asked of an engine.
pub(super) fn failed(engine: BackendName, doing: &str, failure: Failure) -> Error {
    match failure {
        Failure::Connect(error) => not_there(engine, &error),
        Failure::Broken(source) if source.kind() == io::ErrorKind::TimedOut => {
            Error::internal(format!("{doing}, by {engine}"), source)
        }
        Failure::Broken(source) => {
            let source = io::Error::new(
                io::ErrorKind::ConnectionAborted,
                format!("the engine went away: {source}"),
            );
            Error::internal(format!("{doing}, by {engine}"), source)
        }
        Failure::Refused { message, .. } => {
            let step = format!("{doing}, by {engine}");
            ErrorKind::Start { step, source: io::Error::new(kind(&message), message) }.into()
        }
    }
}

/// Engines know no error numbers, only sentences; what the kernel said is in them.
fn kind(message: &str) -> io::ErrorKind {
    let has = |text: &str| message.to_lowercase().contains(text);
    if has("no space left on device") {
        io::ErrorKind::StorageFull
    } else if has("permission denied") {
        io::ErrorKind::PermissionDenied
    } else {
        io::ErrorKind::Other
    }
}

/// Nobody listens.
pub(super) fn not_there(engine: BackendName, error: &io::Error) -> Error {
    let (reason, fix) = match error.kind() {
        io::ErrorKind::NotFound => ("is not running: its socket is not there", true),
        io::ErrorKind::ConnectionRefused => ("is not running: nobody listens at its socket", true),
        io::ErrorKind::PermissionDenied => {
            ("cannot be asked: its socket is for root and its own group", false)
        }
        _ => ("cannot be asked", true),
    };
    let fix = fix.then(|| start_command(engine));
    let reason = format!("{reason} ({error})");
    ErrorKind::NoBackend { backend: engine, reason, fix }.into()
}
