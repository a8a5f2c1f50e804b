//! The page at `/` for people.

use axum::Router;
use axum::response::{Html, IntoResponse, Response};

use super::service::{Service, Shared};

/// What the page consists of, which strangers may see.
pub(crate) fn open() -> Router<Shared> {
    Router::new()
}

/// What the page asks for, of which the caller must be known.
pub(crate) fn guarded() -> Router<Shared> {
    Router::new()
}

/// The page itself.
pub(crate) fn index(_service: &Service) -> Response {
    Html("<!doctype html><title>Fumehood</title><p>Fumehood</p>").into_response()
}
