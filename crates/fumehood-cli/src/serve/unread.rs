//! Requests that are answered before their body was read.
//!
//! What is left of such a body would be taken for the next request, so its connection ends with the
//! answer, and says so. It ends slowly (`stall.rs`): a socket that is closed with bytes in it that nobody
//! has read takes back the answer that is still on its way (RFC 9112, section 9.6).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

/// Whether there is more of a connection's last request than was read. Copies share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread(Arc<AtomicBool>);

impl Unread {
    pub(crate) fn set(&self, unread: bool) {
        self.0.store(unread, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// A request whose body tells when it has been read.
    pub(crate) fn watch(&self, request: Request<Incoming>) -> Request<Body> {
        request.map(|inner| {
            let is_empty = http_body::Body::is_end_stream(&inner);
            self.set(!is_empty);
            let unread = self.clone();
            if is_empty { Body::empty() } else { Body::new(Watched { inner, unread }) }
        })
    }

    /// An answer that ends its connection if the request was not read.
    pub(crate) fn close(&self, answer: &mut Response<Body>) {
        if self.is_set() {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

struct Watched {
    inner: Incoming,
    unread: Unread,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if frame.is_none() || self.inner.is_end_stream() {
            self.unread.set(false);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
