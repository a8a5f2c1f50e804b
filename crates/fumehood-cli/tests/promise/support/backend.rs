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

/// What stands behind the flags of such a run, so that its own mounts come first.
pub(crate) fn more_flags(given: &[OsString]) -> Vec<OsString> {
    let says = given.iter().any(|flag| flag.to_string_lossy().starts_with("--backend"));
    if !says && is_engine() { super::engine::flags(given) } else { Vec::new() }
}

/// Whether it is one that runs images.
pub(crate) fn is_engine() -> bool {
    matches!(name(), "docker" | "podman")
}

/// The user and group of programs.
pub(crate) fn user() -> &'static str {
    if is_engine() { "65532" } else { "1000" }
}
