//! Answers on their way. A connection is busy until its client has what it waits for, not only until the
//! answer has begun.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::Response;
use http_body::{Frame, SizeHint};

use super::connections::Busy;

/// Whether bytes of an answer wait for the client to take them. Copies share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unsent(Arc<AtomicBool>);

impl Unsent {
    pub(crate) fn set(&self, unsent: bool) {
        self.0.store(unsent, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Busy {
    /// Lasts for as long as there is more of the answer.
    pub(crate) fn until_sent(self, answer: Response<Body>) -> Response<Body> {
        answer.map(|inner| Body::new(Sending { inner, _busy: self }))
    }
}

struct Sending {
    inner: Body,
    _busy: Busy,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
