//! `POST /v1/runs`: a job in, its report out, at once or as it happens.

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::asked::{self, Asked};
use super::idempotency::{Begun, Key};
use crate::serve::access::Caller;
use crate::serve::body;
use crate::serve::line::Place;
use crate::serve::log::Ended;
use crate::serve::metrics::outcome_name;
use crate::serve::problem::Problem;
use crate::serve::router::accepts;
use crate::serve::service::{Shared, fresh_id, heavy};
use crate::serve::{execute, stream};

/// Name of this interface in the metrics.
const SURFACE: &str = "runs";

pub(super) const LINES: &str = "application/x-ndjson";

pub(super) async fn create(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let key = Key::of(&head.headers, &caller)?;
    let streams = accepts(&head.headers, LINES);
    if streams && key.is_some() {
        let detail = "Idempotency-Key does not go with a stream: it could not be told again";
        return Err(Problem::bad_request(detail));
    }
    let asked = asked::read(&service, &caller, &head, body).await?;
    if streams {
        return streamed(&service, &caller, asked).await;
    }
    match key {
        None => answered(&service, &caller, asked).await,
        Some(key) => once(&service, &caller, asked, key).await,
    }
}

async fn answered(service: &Shared, caller: &Caller, asked: Asked) -> Result<Response, Problem> {
    let (text, ended, place) = report(service, caller, asked).await?;
    Ok(response(body::answer(text, place), ended))
}

async fn report(
    service: &Shared,
    caller: &Caller,
    asked: Asked,
) -> Result<(Vec<u8>, Ended, Place), Problem> {
    let Asked { job, held, .. } = asked;
    let place = service.place(caller).await?;
    drop(held);
    let (report, place) = execute::run(service, SURFACE, &job, place).await?;
    let printed = report.stdout.data.len() + report.stderr.data.len();
    let text = heavy(printed, || serde_json::to_vec(&report));
    let text = text.map_err(|error| Problem::internal(error.to_string()))?;
    Ok((text, Ended(outcome_name(&report.outcome)), place))
}

fn response(body: impl Into<Body>, ended: Ended) -> Response {
    let mut response = ([(CONTENT_TYPE, "application/json")], body.into()).into_response();
    response.extensions_mut().insert(ended);
    response
}

async fn streamed(service: &Shared, caller: &Caller, asked: Asked) -> Result<Response, Problem> {
    let Asked { job, held, .. } = asked;
    let place = service.place(caller).await?;
    drop(held);
    let id = fresh_id("run");
    let run = stream::start(service, SURFACE, &job, place, id.clone()).await?;
    let entry = service.streams.enter(id, caller, run.handle());
    Ok((stream::headers(LINES), run.body(entry)).into_response())
}

/// Runs a job once, however often it is asked for under the same key.
async fn once(
    service: &Shared,
    caller: &Caller,
    asked: Asked,
    key: Key,
) -> Result<Response, Problem> {
    match service.replies.begin(key, asked.digest)? {
        Begun::Known(text) => {
            let mut response = ([(CONTENT_TYPE, "application/json")], text).into_response();
            let yes = HeaderValue::from_static("true");
            response.headers_mut().insert("idempotency-replayed", yes);
            Ok(response)
        }
        Begun::New(promise) => {
            let (text, ended, _place) = report(service, caller, asked).await?;
            // Kept in any case, so it takes no memory of its own until a client has it.
            let text = Bytes::from(text);
            promise.keep(text.clone());
            Ok(response(text, ended))
        }
    }
}
