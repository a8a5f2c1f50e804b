//! Requests to an engine over its unix socket.
//!
//! One connection for each request: connecting to a unix socket costs some twenty microseconds, and
//! what was given up half-way disturbs nobody then.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// More than any answer but a stream has: a list of containers with their labels.
const LARGEST: usize = 16 << 20;

/// How long an engine may take to say that it is there, which costs it nothing.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// How long it may take to answer anything else: one that is asked for many containers at once takes
/// seconds for each. A pull takes as long as it takes.
const ANSWER: Duration = Duration::from_secs(120);

/// A connection that became a stream of bytes both ways.
pub(super) type Hijacked = TokioIo<Upgraded>;

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    socket: PathBuf,
    patience: Duration,
}

/// Why there is no answer, or none that was hoped for.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody listens there, or we may not connect.
    Connect(io::Error),
    /// The engine went away before it had answered, or does not answer at all.
    Broken(io::Error),
    /// It answered with an error: the status, and what it said.
    Refused {
        /// HTTP status code.
        status: u16,
        /// The engine's own sentence.
        message: String,
    },
}

impl Failure {
    pub(super) fn is_status(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == wanted)
    }

    /// Whether it is what Podman says instead of a list while a container of it ends.
    pub(super) fn is_of_one_that_ends(&self) -> bool {
        matches!(self, Self::Refused { status: 500, message } if message.contains("no such process"))
    }

    fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Broken(io::Error::other(error))
    }
}

impl Client {
    pub(super) fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), patience: ANSWER }
    }

    /// One that waits for no answer longer than this.
    #[cfg(test)]
    pub(super) fn with_patience(socket: impl Into<PathBuf>, patience: Duration) -> Self {
        Self { socket: socket.into(), patience }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Failure> {
        let asked = async {
            let mut answer = self.send(method, path, body, false).await?;
            let mut bytes = Vec::new();
            while let Some(chunk) = next(&mut answer).await? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > LARGEST {
                    return Err(Failure::Broken(io::Error::other("the answer is too long")));
                }
            }
            Ok(bytes)
        };
        within(self.patience, asked).await
    }

    /// Asks for a sign of life, which costs an engine nothing; a header of the answer.
    pub(super) async fn ping(&self, header: &str) -> Result<Option<String>, Failure> {
        let asked = self.send(Method::GET, "/_ping", None, false);
        let answer = within(self.patience.min(SIGN_OF_LIFE), asked).await?;
        let value = answer.headers().get(header).and_then(|value| value.to_str().ok());
        Ok(value.map(str::to_owned))
    }

    /// Sends a request whose answer comes in pieces.
    pub(super) async fn stream(&self, method: Method, path: &str) -> Result<Pieces, Failure> {
        Ok(Pieces(self.send(method, path, None, false).await?))
    }

    /// Sends a request after which the connection carries the streams of a container.
    pub(super) async fn hijack(&self, path: &str) -> Result<Hijacked, Failure> {
        let answer = within(self.patience, self.send(Method::POST, path, None, true)).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Broken(io::Error::other("the engine does not pass streams on")));
        }
        hyper::upgrade::on(answer).await.map(TokioIo::new).map_err(Failure::broken)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        upgrade: bool,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(Failure::Connect)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(Failure::broken)?;
        // It ends by itself with the answer, or with what the connection became.
        tokio::spawn(connection.with_upgrades());
        // The host is that of no network: the engine looks at the path alone.
        let mut request = Request::builder().method(method).uri(path).header("host", "engine");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        if upgrade {
            request = request.header("connection", "Upgrade").header("upgrade", "tcp");
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        let request = request.body(body).map_err(Failure::broken)?;
        let answer = sender.send_request(request).await.map_err(Failure::broken)?;
        if answer.status().is_success() || answer.status().is_informational() {
            return Ok(answer);
        }
        Err(refused(answer).await)
    }
}

/// An answer, unless it takes too long: an engine that is stopped holds its callers for ever.
async fn within<T>(
    longest: Duration,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(longest, answer).await.unwrap_or_else(|_| {
        let problem = format!("it has not answered for {} seconds", longest.as_secs());
        Err(Failure::Broken(io::Error::new(io::ErrorKind::TimedOut, problem)))
    })
}

/// An answer that comes in pieces.
#[derive(Debug)]
pub(super) struct Pieces(Response<Incoming>);

impl Pieces {
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        next(&mut self.0).await
    }
}

async fn next(answer: &mut Response<Incoming>) -> Result<Option<Bytes>, Failure> {
    loop {
        match answer.body_mut().frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Failure::broken(error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Errors are JSON objects with a `message`; Podman's have a `cause` beside it, which says less.
async fn refused(mut answer: Response<Incoming>) -> Failure {
    let status = answer.status().as_u16();
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = next(&mut answer).await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LARGEST {
            break;
        }
    }
    let said: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let message = said.as_ref().and_then(|said| said.get("message")?.as_str().map(str::to_owned));
    let message = message.unwrap_or_else(|| String::from_utf8_lossy(&bytes).trim().to_owned());
    Failure::Refused { status, message }
}

/// Escapes what has a meaning of its own in a query (RFC 3986).
pub(super) fn escape(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As one that is stopped: the kernel takes connections for it, and nobody reads them.
    #[tokio::test]
    async fn an_engine_that_does_not_answer_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        let client = Client::with_patience(dir.path().join("s"), Duration::from_millis(20));
        let asked = timeout(SIGN_OF_LIFE, async {
            [
                client.ping("api-version").await.map(drop),
                client.ask(Method::GET, "/version", None).await.map(drop),
                client.hijack("/attach").await.map(drop),
            ]
        });
        for failure in asked.await.expect("it is waited for") {
            let Err(Failure::Broken(error)) = failure else { panic!("{failure:?}") };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
    }
}
