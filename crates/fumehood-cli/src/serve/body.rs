//! Bodies of requests: how large, and how slow.
//!
//! A small one is read before its sender waits for anything, since it takes no more memory than its
//! connection does. For a large one a place is taken first, and kept until the program starts, so
//! that as many large bodies are in memory as there are such places. Large answers keep their
//! program's place for as long as they are in memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::access::Caller;
use super::line::Place;
use super::problem::Problem;
use super::service::Service;

/// What is read without a place.
const SMALL: u64 = 64 << 10;

/// A body, and the place that it takes in memory if it is large.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// To be dropped when the bytes are, or when a program has been started with them.
    pub(crate) held: Option<Place>,
}

/// Reads a body of at most `limit` bytes, which must come within the configured time.
///
/// # Errors
/// 413 if it is larger, 408 if it comes too slowly, 400 if it breaks off, and 429 or 503 if it is
/// large and there is no place for it.
pub(crate) async fn read(
    service: &Service,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
    limit: u64,
) -> Result<Received, Problem> {
    let declared = declared(headers);
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let held = match declared {
        Some(length) if length <= SMALL => None,
        _ => Some(service.upload_place(caller).await?),
    };
    let settings = service.settings();
    let http = &settings.config.http;
    let bytes = collect(body, declared, limit, http.body_time.0, http.stall_time.0).await?;
    Ok(Received { bytes, held })
}

fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(limit: u64) -> Problem {
    Problem::too_large(format!("at most {limit} bytes are taken here"))
}

async fn collect(
    mut body: Body,
    declared: Option<u64>,
    limit: u64,
    time: Duration,
    stall: Duration,
) -> Result<Vec<u8>, Problem> {
    let deadline = Instant::now() + time;
    // What is declared is not there yet.
    let room = declared.unwrap_or(0).min(1 << 20);
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    loop {
        let next = timeout_at(deadline, timeout(stall, body.frame())).await;
        let Ok(Ok(next)) = next else {
            return Err(Problem::too_slow("the body must come faster"));
        };
        let Some(frame) = next else { return Ok(bytes) };
        let frame = frame.map_err(|error| Problem::bad_request(format!("no body: {error}")))?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() as u64 + data.len() as u64 > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(data);
    }
}

/// An answer that is in memory, and the place that it takes there until it has gone out.
#[derive(Debug)]
struct Held {
    left: Bytes,
    _place: Place,
}

/// Bytes of an answer that are handed over at a time.
const CHUNK: usize = 64 << 10;

/// An answer. If it is large its place is kept until a client has taken it: else slow clients could
/// gather as many of them as they like.
pub(crate) fn answer(text: Vec<u8>, place: Place) -> Body {
    if text.len() as u64 <= SMALL {
        return Body::from(text);
    }
    Body::new(Held { left: text.into(), _place: place })
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let most = self.left.len().min(CHUNK);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(most)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
