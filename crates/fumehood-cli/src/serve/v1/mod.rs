//! The native interface: a job in, a report out.

mod address;
mod asked;
mod idempotency;
mod jobs;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod remote;
mod runs;
mod streams;
mod system;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

pub(crate) use idempotency::Replies;
pub(crate) use jobs::{Jobs, SURFACE as JOBS};
pub(crate) use streams::{Entry as StreamEntry, Streams};

use super::problem::Problem;
use super::service::Shared;

/// What strangers may ask: whether the service is there.
pub(crate) fn open() -> Router<Shared> {
    Router::new().route("/livez", get(system::live)).route("/readyz", get(system::ready))
}

/// What only known callers may ask.
pub(crate) fn guarded() -> Router<Shared> {
    Router::new()
        .route("/metrics", get(system::metrics))
        .route("/v1/support", get(system::support))
        .route("/v1/openapi.json", get(system::openapi))
        .route("/v1/runs", post(runs::create))
        .route("/v1/runs/{id}", delete(streams::cancel))
        .route("/v1/jobs", post(jobs::create))
        .route("/v1/jobs/{id}", get(jobs::show).delete(jobs::delete))
        .route("/v1/jobs/{id}/events", get(jobs::events))
}

/// An answer in JSON.
fn json(value: &impl serde::Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_vec(value).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}
