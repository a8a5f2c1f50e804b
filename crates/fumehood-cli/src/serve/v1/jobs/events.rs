//! The events of a job as an answer that goes on for as long as the job does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use tokio::sync::watch;
use tokio::time::Interval;

use super::store::Record;
use crate::serve::stream::{self, Event, Numbered, ping};
use crate::serve::v1::runs::LINES;

pub(super) const SERVER_SENT: &str = "text/event-stream";

/// Events that are taken for a reader at a time: one that does not read keeps no more of them.
const AHEAD: usize = 64;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON object a line.
    Lines,
    /// Server-sent events, as browsers read them.
    ServerSent,
}

impl Format {
    pub(super) const fn of(server_sent: bool) -> Self {
        if server_sent { Self::ServerSent } else { Self::Lines }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Lines => LINES,
            Self::ServerSent => SERVER_SENT,
        }
    }

    fn write(self, seq: u64, line: Bytes) -> Bytes {
        match self {
            Self::Lines => line,
            Self::ServerSent => {
                let mut text = format!("id: {seq}\ndata: ").into_bytes();
                text.extend_from_slice(&line);
                text.push(b'\n');
                text.into()
            }
        }
    }

    fn ping(self) -> Bytes {
        match self {
            Self::Lines => Numbered { seq: None, event: &Event::Ping }.line().into(),
            Self::ServerSent => Bytes::from_static(b": ping\n\n"),
        }
    }
}

pub(super) fn response(record: Arc<Record>, after: u64, format: Format) -> Response {
    let body = Body::new(Replay {
        changes: Box::pin(changes(record.changed.subscribe())),
        record,
        told: after,
        ready: VecDeque::new(),
        is_over: false,
        format,
        ping: ping(),
    });
    (stream::headers(format.media_type()), body).into_response()
}

type Changes = Pin<Box<dyn Future<Output = watch::Receiver<u64>> + Send>>;

async fn changes(mut changed: watch::Receiver<u64>) -> watch::Receiver<u64> {
    // The record, and with it the sender, is ours as well.
    let _ = changed.changed().await;
    changed
}

/// The events from some point on.
struct Replay {
    record: Arc<Record>,
    changes: Changes,
    told: u64,
    ready: VecDeque<Bytes>,
    is_over: bool,
    format: Format,
    ping: Interval,
}

impl http_body::Body for Replay {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                self.told += 1;
                self.ping.reset();
                let line = self.format.write(self.told, line);
                return Poll::Ready(Some(Ok(Frame::data(line))));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            let (lines, is_over) = self.record.since(self.told, AHEAD);
            (self.ready, self.is_over) = (lines.into(), is_over);
            if !self.ready.is_empty() || is_over {
                continue;
            }
            match self.changes.as_mut().poll(cx) {
                Poll::Ready(changed) => self.changes = Box::pin(changes(changed)),
                Poll::Pending => {
                    ready!(self.ping.poll_tick(cx));
                    return Poll::Ready(Some(Ok(Frame::data(self.format.ping()))));
                }
            }
        }
    }
}
