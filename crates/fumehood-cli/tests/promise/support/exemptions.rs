//! Promises that backends other than the native one do not make, each with the reason.

mod containers;
mod tools;

use super::backend::name;

/// Why a promise does not apply to the backend; none if it does.
pub(crate) fn exemption(promise: &str) -> Option<String> {
    let fits = |exempt: &&Exempt| {
        exempt.backends.iter().any(|backend| applies(backend))
            && exempt.promises.iter().any(|one| match one.strip_suffix("::") {
                Some(family) => promise.split("::").next() == Some(family),
                None => *one == promise,
            })
    };
    let found = containers::EXEMPT.iter().chain(tools::EXEMPT).find(fits)?;
    Some(format!("not offered: {}", found.reason))
}

/// Whether a backend is meant that is tried; `NAME/user` is one by an ordinary user.
fn applies(backend: &str) -> bool {
    backend.strip_suffix("/user").map_or(backend == name(), |backend| {
        backend == name() && !rustix::process::geteuid().is_root()
    })
}

/// Promises that backends do not make.
struct Exempt {
    backends: &'static [&'static str],
    /// A whole family ends in `::`.
    promises: &'static [&'static str],
    /// A clause.
    reason: &'static str,
}

const OCI: &[&str] = &["runsc", "crun", "runc"];
const SHARED_KERNEL: &[&str] = &["crun", "runc"];
const ENGINES: &[&str] = &["docker", "podman"];
const OTHERS: &[&str] =
    &["runsc", "crun", "runc", "docker", "podman", "nsjail", "seatbelt", "unconfined"];
