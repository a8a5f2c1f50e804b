//! The protocol of the Go playground's back end.

use axum::Router;
use serde::{Deserialize, Serialize};

use super::service::Shared;

/// The table `[playground]` of the settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {}

/// Routes that strangers may ask.
pub(crate) fn open() -> Router<Shared> {
    Router::new()
}

/// Routes that know their caller.
pub(crate) fn guarded() -> Router<Shared> {
    Router::new()
}

/// What `/` says to whoever is no browser.
pub(crate) fn greeting() -> &'static str {
    "Hi from sandbox\n"
}
