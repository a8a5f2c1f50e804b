//! Leaving a mechanism out, for tests that see a promise break.
//!
//! Only in builds with the feature `sabotage`, which no release has: there `FUMEHOOD_SABOTAGE` names
//! the steps and other mechanisms to leave out, separated by commas. In all other builds nothing can
//! be left out, and asking costs nothing.

/// Whether a test wants this mechanism left out.
#[cfg(feature = "sabotage")]
pub(crate) fn leaves_out(mechanism: &str) -> bool {
    let named = std::env::var("FUMEHOOD_SABOTAGE").unwrap_or_default();
    named.split(',').any(|name| name == mechanism)
}

#[cfg(not(feature = "sabotage"))]
pub(crate) const fn leaves_out(_mechanism: &str) -> bool {
    false
}

/// Mechanisms that are no step of a cell: what an init does unasked, and templates, stay without them.
#[cfg(feature = "sabotage")]
const NO_STEPS: [&str; 5] = ["", "siblings", "die-with-owner", "template", "network-witnesses"];

/// Whether a test wants any step left out.
#[cfg(feature = "sabotage")]
pub(crate) fn leaves_something_out() -> bool {
    let named = std::env::var("FUMEHOOD_SABOTAGE").unwrap_or_default();
    named.split(',').any(|name| !NO_STEPS.contains(&name))
}

#[cfg(not(feature = "sabotage"))]
pub(crate) const fn leaves_something_out() -> bool {
    false
}
