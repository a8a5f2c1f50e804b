//! A client as plain as can be: it sends what it is told to, and looks at every byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::slowness;

/// A request to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let headers = vec![("host".into(), "localhost".into())];
        Self { method: method.into(), path: path.into(), headers, body: Vec::new() }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A job for `POST /v1/runs`.
    pub(crate) fn run(job: &Value) -> Self {
        Self::post("/v1/runs", job)
    }

    /// A job whose program takes a place for longer than any test does.
    pub(crate) fn sleeper() -> Self {
        Self::run(&json!({ "args": ["sleep", "500"], "limits": { "wall_time": "1m" } }))
    }

    /// A job for another path.
    pub(crate) fn post(path: &str, job: &Value) -> Self {
        Self::new("POST", path)
            .header("content-type", "application/json")
            .body(job.to_string().into_bytes())
    }

    /// Sets a header in the place of one of the same name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(own, _)| own != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Asks for events rather than for one report.
    pub(crate) fn streaming(self) -> Self {
        self.header("accept", "application/x-ndjson")
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { method, path, headers, body } = self;
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("content-length: {}\r\n\r\n", body.len());
        [text.into_bytes(), body.clone()].concat()
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<Stream>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Client {
    /// Connects to `ADDRESS:PORT` or `unix:PATH`.
    pub(crate) fn connect(address: &str) -> Self {
        let patience = Some(Duration::from_secs(60) * slowness());
        let stream = match address.strip_prefix("unix:") {
            Some(path) => {
                let stream = UnixStream::connect(path).expect("the service listens");
                stream.set_read_timeout(patience).expect("a socket has a clock");
                Stream::Unix(stream)
            }
            None => {
                let stream = TcpStream::connect(address).expect("the service listens");
                stream.set_read_timeout(patience).expect("a socket has a clock");
                stream.set_nodelay(true).expect("a TCP socket can do that");
                Stream::Tcp(stream)
            }
        };
        Self { stream: BufReader::new(stream) }
    }

    /// Sends a request and takes its whole answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: &Request) -> Answer {
        self.send(&request.bytes());
        self.answer()
    }

    /// Sends a request and looks at nothing.
    #[track_caller]
    pub(crate) fn tell(&mut self, request: &Request) {
        self.send(&request.bytes());
    }

    /// Sends bytes, whatever they are.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the service takes it");
    }

    /// Sends bytes, for as long as somebody takes them.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Sends nothing more, but goes on listening.
    pub(crate) fn close_half(&self) {
        match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
        .expect("a socket has two directions");
    }

    /// Whether the service closes the connection, whatever it says before.
    pub(crate) fn is_closed(&mut self) -> bool {
        let waits = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        !self.stream.read_to_end(&mut Vec::new()).is_err_and(waits)
    }

    /// The head of an answer, and its body as it comes.
    #[track_caller]
    pub(crate) fn begin(&mut self) -> (Answer, Body<'_>) {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("an answer");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer but {line:?}"));
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("a header");
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let answer = Answer { status, headers, body: Vec::new() };
        let left = answer.header("content-length").map(|length| length.parse().expect("a number"));
        let left = if status == 204 { Some(0) } else { left };
        let body = Body {
            stream: &mut self.stream,
            left: left.unwrap_or(0),
            is_chunked: left.is_none(),
            is_over: left == Some(0),
        };
        (answer, body)
    }

    /// A whole answer.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let (mut answer, mut body) = self.begin();
        body.read_to_end(&mut answer.body).expect("the whole body");
        answer
    }
}

/// A body as it comes.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    stream: &'a mut BufReader<Stream>,
    /// Bytes of the body, or of the chunk that is being read.
    left: usize,
    is_chunked: bool,
    is_over: bool,
}

impl Body<'_> {
    /// The next line of a stream of events.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Option<Value> {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.read(&mut byte).expect("more of the body") == 1 {
            if byte == [b'\n'] {
                return Some(serde_json::from_slice(&line).expect("a line of JSON"));
            }
            line.push(byte[0]);
        }
        assert!(line.is_empty(), "half a line: {line:?}");
        None
    }

    /// All events to the end.
    #[track_caller]
    pub(crate) fn events(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.event()).collect()
    }

    fn chunk(&mut self) -> std::io::Result<usize> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if line == "\r\n" {
            line.clear();
            self.stream.read_line(&mut line)?;
        }
        usize::from_str_radix(line.trim_end(), 16)
            .map_err(|_| std::io::Error::other(format!("no chunk but {line:?}")))
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.is_over {
            return Ok(0);
        }
        if self.left == 0 && self.is_chunked {
            self.left = self.chunk()?;
            self.is_over = self.left == 0;
        }
        if self.is_over {
            self.stream.read_line(&mut String::new())?;
            return Ok(0);
        }
        let most = buffer.len().min(self.left);
        let read = self.stream.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        self.is_over = self.left == 0 && !self.is_chunked;
        Ok(read)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// Asserts the status, and goes on with what is in the body.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Asserts that it is a problem of this kind, and goes on with it.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:fumehood:problem:{kind}"), "{problem}");
        assert_eq!(problem["status"], status);
        problem
    }
}
