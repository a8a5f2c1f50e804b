//! How the service is, and what it can hold.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::schema;
use crate::serve::problem::Problem;
use crate::serve::service::Shared;

/// The process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// The service takes work and has cells for it. Costs none.
pub(super) async fn ready(State(service): State<Shared>) -> Response {
    if service.is_ready() {
        return "ready\n".into_response();
    }
    let why = if service.is_healthy() { "stopping\n" } else { "no cell stands\n" };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

/// All figures, for Prometheus.
pub(super) async fn metrics(State(service): State<Shared>) -> Response {
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, media_type)], service.metrics.text(&service)).into_response()
}

/// What this host can hold, found out by trying, once.
pub(super) async fn support(State(service): State<Shared>) -> Result<Response, Problem> {
    let support = service.support().await.map_err(|error| Problem::from(&error))?;
    super::json(&support)
}

/// The interface, for programs that make clients.
pub(super) async fn openapi() -> Result<Response, Problem> {
    let document = schema::OPENAPI.text().map_err(|error| Problem::from(&error))?;
    Ok(([(CONTENT_TYPE, "application/json")], document).into_response())
}
