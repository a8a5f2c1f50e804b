//! The access log: one JSON object a line, without anything that a program reads or writes, and
//! without tokens.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use fumehood::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use serde::Serialize;
use tokio::time::Instant;

use super::peer::Peer;
use super::service::{Shared, fresh_id};
use crate::error::internal;

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Log {
    to: To,
    /// Lines that nobody took.
    lost: AtomicU64,
    /// Whether the last line lacks its end, as where a disk was full in its middle (`write(2)`).
    is_cut: AtomicBool,
}

#[derive(Debug)]
enum To {
    Nowhere,
    Stderr,
    File(PathBuf, Mutex<File>),
}

/// The name of a request. An extension of every request; the answer has it as `X-Request-Id`.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

/// Who asked: an extension of the answer.
#[derive(Clone, Debug)]
pub(crate) struct CallerName(pub(crate) Arc<str>);

/// How the run ended that was asked for: an extension of the answer.
#[derive(Clone, Debug)]
pub(crate) struct Ended(pub(crate) String);

/// A line of the log.
#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since 1970.
    time: f64,
    id: &'a str,
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a str>,
    method: &'a str,
    /// The pattern that matched, not the path: that is the caller's.
    route: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    /// Milliseconds to the head of the answer.
    ms: f64,
}

impl Log {
    pub(crate) fn open(name: &str) -> Result<Self> {
        let to = match name {
            "none" => To::Nowhere,
            "stderr" => To::Stderr,
            path => {
                let path = PathBuf::from(path);
                let file = append(&path).map_err(internal(format!("open the log {name}")))?;
                To::File(path, Mutex::new(file))
            }
        };
        Ok(Self { to, lost: AtomicU64::new(0), is_cut: AtomicBool::new(false) })
    }

    /// Opens the file anew: somebody may have moved it away.
    pub(crate) fn reopen(&self) {
        if let To::File(path, file) = &self.to
            && let Ok(fresh) = append(path)
        {
            let begins = fresh.metadata().is_ok_and(|fresh| fresh.len() == 0);
            self.is_cut.fetch_and(!begins, Ordering::Relaxed);
            *file.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    }

    fn write(&self, line: &Line<'_>) {
        let Ok(text) = serde_json::to_vec(line) else { return };
        let text = [b"\n", text.as_slice(), b"\n"].concat();
        // A log that cannot be written to is no reason to refuse work.
        let is_written = match &self.to {
            To::Nowhere => return,
            To::Stderr => put(&mut std::io::stderr().lock(), &text, &self.is_cut),
            To::File(_, file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                put(&mut *file, &text, &self.is_cut)
            }
        };
        if !is_written {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines nobody took.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Writes a line, before which stands the end of another: for where the last one lacks its own.
fn put(to: &mut (impl AsFd + Write), line: &[u8], is_cut: &AtomicBool) -> bool {
    if !is_taken(to) {
        return false;
    }
    let line = line.get(usize::from(!is_cut.load(Ordering::Relaxed))..).unwrap_or_default();
    let mut rest = line;
    while !rest.is_empty() {
        match to.write(rest) {
            Ok(written @ 1..) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    if rest.len() < line.len() {
        is_cut.store(!rest.is_empty(), Ordering::Relaxed);
    }
    rest.is_empty()
}

/// Whether a line can be written without waiting. Whoever reads a pipe or a terminal may have stopped to,
/// and a service that waits for its log serves nobody. What is ready takes a page (`pipe(7)`).
fn is_taken(to: &impl AsFd) -> bool {
    let mut one = [PollFd::new(to, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut one, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// A FIFO that nobody reads is an error, rather than waited for (`fifo(7)`).
fn append(path: &PathBuf) -> std::io::Result<File> {
    let at_once = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().append(true).create(true).custom_flags(at_once).open(path)
}

/// Names every request.
pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    let id: Arc<str> = fresh_id("req").into();
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// Counts every request, and writes a line about it.
pub(crate) async fn observe(
    State(service): State<Shared>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("(none)", MatchedPath::as_str);
    let response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), began.elapsed());
    service.metrics.answered(method, route, status, took);
    let extensions = response.extensions();
    service.log.write(&Line {
        time: rounded(since_1970(), 1e6),
        id: &id,
        peer: peer.to_string(),
        caller: extensions.get::<CallerName>().map(|CallerName(name)| &**name),
        method,
        route,
        status,
        outcome: extensions.get::<Ended>().map(|Ended(outcome)| outcome.as_str()),
        ms: rounded(took, 1e3),
    });
    response
}

/// A time in units of so many microseconds, without digits behind the last of these.
fn rounded(time: Duration, micros: f64) -> f64 {
    (time.as_secs_f64() * 1e6).round() / micros
}

/// Methods that clients make up would be labels without end.
fn method_name(method: &axum::http::Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use super::*;

    /// A disk with room for some bytes.
    struct Disk {
        always_ready: File,
        room: usize,
        holds: Vec<u8>,
    }

    impl AsFd for Disk {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.always_ready.as_fd()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            self.holds.extend(&bytes[..taken]);
            if taken > 0 { Ok(taken) } else { Err(ErrorKind::StorageFull.into()) }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_is_cut_does_not_take_the_next_one_along() {
        let always_ready = File::options().write(true).open("/dev/null").unwrap();
        let mut disk = Disk { always_ready, room: 6, holds: Vec::new() };
        let is_cut = AtomicBool::new(false);
        assert!(put(&mut disk, b"\none\n", &is_cut));
        for _ in 0..3 {
            assert!(!put(&mut disk, b"\ntwo\n", &is_cut));
        }
        disk.room = 100;
        assert!(put(&mut disk, b"\nthree\n", &is_cut));
        assert!(put(&mut disk, b"\nfour\n", &is_cut));
        assert_eq!(disk.holds, b"one\ntw\nthree\nfour\n");
    }

    #[test]
    fn times_end_with_the_microsecond() {
        for (nanos, ms) in [(1_234_567, "1.235"), (1_000_499, "1.0"), (15, "0.0")] {
            let shown = serde_json::to_string(&rounded(Duration::from_nanos(nanos), 1e3)).unwrap();
            assert_eq!(shown, ms);
        }
        let now = Duration::from_nanos(1_795_356_904_123_456_789);
        assert_eq!(serde_json::to_string(&rounded(now, 1e6)).unwrap(), "1795356904.123457");
    }
}
