//! An answer on its way to the client.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};

use super::answer::{Answer, Pieces};
use crate::serve::line::Place;

/// The answer as a response. A large one keeps its place until it is sent: as many programs as run
/// at a time may have printed as much as they may, and not more than those.
pub(super) fn json(answer: Answer, place: Option<Place>) -> Response {
    let pieces = answer.into_pieces();
    let place = place.filter(|_| pieces.left() > LARGE);
    let body = Body::new(Sending { pieces, _place: place });
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// What a connection's buffers take in at once.
const LARGE: u64 = 256 << 10;

/// A body whose length is known before its bytes are.
struct Sending {
    pieces: Pieces,
    _place: Option<Place>,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.pieces.next().map(|piece| Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.left())
    }
}
