//! The backend that the promises are tried with: `FUMEHOOD_BACKEND`, or the native one.

use std::ffi::OsString;
use std::sync::OnceLock;

/// Its name.
pub(crate) fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("FUMEHOOD_BACKEND").unwrap_or_else(|_| "native".to_owned()))
}

/// What has to be added to the flags of a run that does not say itself.
pub(crate) fn flags(given: &[OsString]) -> Vec<OsString> {
    let says = given.iter().any(|flag| flag.to_string_lossy().starts_with("--backend"));
    if says || name() == "native" {
        return Vec::new();
    }
    vec!["--backend".into(), name().into()]
}

/// Why a promise does not apply to the backend; none if it does.
pub(crate) fn exemption(_promise: &str) -> Option<&'static str> {
    None
}
