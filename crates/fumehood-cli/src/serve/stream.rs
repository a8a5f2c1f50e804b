//! A run as a stream of events, one JSON object a line.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fumehood::{Job, Report, Stream, Streams};
use http_body::Frame;
use rustix::pipe::{PipeFlags, pipe_with};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver as Pipe;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::execute::{self, Run};
use super::line::Place;
use super::problem::Problem;
use super::service::Shared;
use super::v1::StreamEntry as Entry;

/// How often somebody who waits hears that there is nothing new.
const PING: Duration = Duration::from_secs(15);

/// Bytes of output in one event.
const CHUNK: usize = 32 << 10;

/// Events between a program and a client that does not take them; beyond it the program waits.
const AHEAD: usize = 4;

/// What an answer is sent with that comes piece by piece: nobody keeps it, and a proxy that would wait for
/// more, as nginx does, passes on what there is.
pub(crate) const fn headers(media_type: &'static str) -> [(HeaderName, &'static str); 3] {
    [
        (CONTENT_TYPE, media_type),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ]
}

/// Something that happened in a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    /// The program was started.
    Start {
        /// The name of the run.
        id: String,
    },
    /// It printed to standard output.
    Stdout {
        /// What it printed.
        data: Data,
    },
    /// It printed to standard error.
    Stderr {
        /// What it printed.
        data: Data,
    },
    /// Nothing happened, for 15 seconds. Has no number.
    Ping,
    /// It has ended. Always the last event, unless there is an error.
    End {
        /// How it ended; without the output that came before.
        report: Box<Report>,
    },
    /// The run could not be done, or watching it failed. Always the last event.
    Error {
        /// Why.
        problem: Problem,
    },
}

/// Bytes that a program printed: as text wherever they are text.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Data {
    /// Text; no character is ever divided between two events.
    Text(String),
    /// Bytes that are not UTF-8, in base64 with padding.
    Base64(String),
}

impl Data {
    fn of(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes)
            .map_or_else(|error| Self::Base64(BASE64_STANDARD.encode(error.as_bytes())), Self::Text)
    }
}

/// An event with its number, as it is written.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Numbered<'a> {
    /// Its number, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u64>,
    #[serde(flatten)]
    pub(crate) event: &'a Event,
}

impl Numbered<'_> {
    /// One line of JSON.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// A program that runs, with its output on the way to us.
#[derive(Debug)]
pub(crate) struct Streaming {
    run: Run,
    id: String,
    stdout: Pipe,
    stderr: Pipe,
}

/// Starts a job whose output is told of as it comes.
///
/// # Errors
/// What kept the program from running.
pub(crate) async fn start(
    service: &Shared,
    surface: &'static str,
    job: &Job,
    place: Place,
    id: String,
) -> Result<Streaming, Problem> {
    let pipes = pipe().and_then(|stdout| Ok((stdout, pipe()?)));
    let ((stdout, out), (stderr, err)) =
        pipes.map_err(|error| Problem::internal(format!("no pipe: {error}")))?;
    let streams = Streams::captured().stdout_to(out).stderr_to(err);
    let run = execute::start(service, surface, job, streams, place).await?;
    Ok(Streaming { run, id, stdout, stderr })
}

fn pipe() -> io::Result<(Pipe, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((Pipe::from_owned_fd(ours)?, theirs))
}

impl Streaming {
    /// Steers the program while it is told of.
    pub(crate) fn handle(&self) -> fumehood::Handle {
        self.run.handle()
    }

    /// Tells of the run to its end. If the receiver is gone, so is the program.
    pub(crate) async fn tell(self, to: mpsc::Sender<Event>) {
        let Self { run, id, stdout, stderr } = self;
        if to.send(Event::Start { id }).await.is_err() {
            return;
        }
        let all = async {
            let outputs = async {
                tokio::join!(pump(stdout, Stream::Stdout, &to), pump(stderr, Stream::Stderr, &to))
            };
            tokio::join!(run.finish(), outputs).0
        };
        // Watching goes on while a slow client is written to: clocks run for such programs, too.
        let ended = tokio::select! {
            ended = all => ended,
            () = to.closed() => return,
        };
        let last = match ended {
            Ok(report) => Event::End { report: Box::new(report) },
            Err(problem) => Event::Error { problem },
        };
        let _ = to.send(last).await;
    }

    /// The events as the body of an answer; a client that goes away takes the program with it. The
    /// entry goes when there is nothing more to tell.
    pub(crate) fn body(self, entry: Entry) -> Body {
        let (to, events) = mpsc::channel(AHEAD);
        let told = async move {
            let _entry = entry;
            self.tell(to).await;
        };
        Body::new(EventBody { events, task: tokio::spawn(told), ping: ping(), last: 0 })
    }
}

/// Reads one stream to its end.
async fn pump(mut pipe: Pipe, stream: Stream, to: &mpsc::Sender<Event>) {
    let mut kept = Vec::new();
    loop {
        let mut bytes = std::mem::take(&mut kept);
        bytes.reserve(CHUNK);
        let is_end = !matches!(pipe.read_buf(&mut bytes).await, Ok(1..));
        if !is_end {
            kept = bytes.split_off(whole(&bytes));
        }
        if !bytes.is_empty() && to.send(event(stream, bytes)).await.is_err() {
            return;
        }
        if is_end {
            return;
        }
    }
}

fn event(stream: Stream, bytes: Vec<u8>) -> Event {
    let data = Data::of(bytes);
    match stream {
        Stream::Stdout => Event::Stdout { data },
        Stream::Stderr => Event::Stderr { data },
    }
}

/// How many of these bytes can be told now: all but a character whose end is still to come.
fn whole(bytes: &[u8]) -> usize {
    const LONGEST: usize = 4;
    let tail = bytes.len().saturating_sub(LONGEST - 1);
    let begins = |byte: &u8| byte & 0b1100_0000 != 0b1000_0000;
    let last = bytes.iter().skip(tail).rposition(begins);
    let Some(start) = last.map(|at| tail + at) else { return bytes.len() };
    match std::str::from_utf8(bytes.get(start..).unwrap_or(&[])) {
        // Without a length the error is that more bytes are needed.
        Err(error) if error.error_len().is_none() => start,
        _ => bytes.len(),
    }
}

pub(crate) fn ping() -> Interval {
    let mut ping = interval(PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    ping
}

/// Events as lines.
struct EventBody {
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
    ping: Interval,
    last: u64,
}

impl Drop for EventBody {
    fn drop(&mut self) {
        // The task owns the program.
        self.task.abort();
    }
}

impl http_body::Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = match self.events.poll_recv(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(event)) => {
                self.last += 1;
                self.ping.reset();
                Numbered { seq: Some(self.last), event: &event }.line()
            }
            Poll::Pending => {
                ready!(self.ping.poll_tick(cx));
                Numbered { seq: None, event: &Event::Ping }.line()
            }
        };
        Poll::Ready(Some(Ok(Frame::data(line.into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_divided() {
        let text = "aä€😀".as_bytes();
        for end in 0..=text.len() {
            let now = whole(&text[..end]);
            assert!(std::str::from_utf8(&text[..now]).is_ok(), "{end}");
            assert!(end - now < 4);
        }
    }

    #[test]
    fn what_is_no_text_is_not_waited_for() {
        for bytes in [&[0xff][..], &[0x80, 0x80], &[0xe4, 0x20], &[b'a', 0xff], b"", b"abc"] {
            assert_eq!(whole(bytes), bytes.len(), "{bytes:?}");
        }
    }

    #[test]
    fn bytes_are_text_if_they_can_be() {
        let json = |bytes: &[u8]| serde_json::to_string(&Data::of(bytes.to_vec())).unwrap();
        assert_eq!(json(b"hi\n"), r#"{"text":"hi\n"}"#);
        assert_eq!(json(&[0xff, 0]), r#"{"base64":"/wA="}"#);
    }
}
