//! The page at `/` for people: an editor, a choice of languages, and what became of a run.
//!
//! It is a client like any other. `GET /v1/languages` says which job a program becomes, the page fills
//! in the program and posts the job to `/v1/runs`: the policy is asked there and nowhere else.

mod assets;
mod languages;
mod lookup;
mod templates;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;

use super::service::Shared;
use assets::Asset;
#[cfg(test)]
pub(crate) use languages::LanguageList;
pub(crate) use languages::Languages;

/// What the page consists of, which strangers may see.
pub(crate) fn open() -> Router<Shared> {
    Asset::ALL.iter().fold(Router::new(), |router, asset| {
        let answer = move |headers: HeaderMap| async move { asset.answer(&headers) };
        router.route(&format!("/assets/{}", asset.name), get(answer))
    })
}

/// What the page asks for, of which the caller must be known.
pub(crate) fn guarded() -> Router<Shared> {
    Router::new().route("/v1/languages", get(languages::list))
}

/// The page itself.
pub(crate) fn index(headers: &HeaderMap) -> Response {
    Asset::INDEX.answer(headers)
}
