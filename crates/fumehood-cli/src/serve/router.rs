//! Which path leads where.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::problem::Problem;
use super::service::Shared;
use super::{access, log, page, playground, v1};

/// Everything that the service answers. `open` routes tell strangers nothing and run nothing;
/// `guarded` ones know their caller, an `Extension<Caller>`.
pub(crate) fn router(service: &Shared) -> Router {
    let guarded = v1::guarded()
        .merge(playground::guarded())
        .merge(page::guarded())
        .route_layer(from_fn_with_state(service.clone(), access::guard));
    let open = v1::open().merge(playground::open()).merge(page::open()).route("/", any(root));
    open.merge(guarded)
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        // Bodies are limited where they are read: `body::read`.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(service.clone(), access::same_site))
        .layer(from_fn_with_state(service.clone(), log::observe))
        .layer(from_fn(log::identify))
        .with_state(service.clone())
}

/// The page for browsers; for everybody else the line that the Go playground's back end says.
async fn root(headers: HeaderMap) -> Response {
    if accepts(&headers, "text/html") {
        return page::index(&headers);
    }
    playground::greeting().into_response()
}

/// Whether the client names this media type among those that it takes.
pub(crate) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type));
        named && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

async fn nowhere() -> Problem {
    Problem::not_found("no such path; /v1/openapi.json describes them all")
}

async fn wrong_method() -> Problem {
    Problem::wrong_method()
}
