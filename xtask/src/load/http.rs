//! As much of HTTP/1.1 as a client of the service needs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any run may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that is used again and again.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Seconds after which to try again.
    pub(super) retry_after: Option<u64>,
    /// Whether the connection ends with it.
    pub(super) last: bool,
    pub(super) body: Vec<u8>,
}

/// A request, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Request(pub(super) Vec<u8>);

impl Request {
    pub(super) fn get(path: &str) -> Self {
        Self(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes())
    }

    pub(super) fn post(path: &str, headers: &str, body: &[u8]) -> Self {
        let mut bytes = Self::head(path, headers, body.len());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    /// The head of a request with so many bytes to come.
    pub(super) fn head(path: &str, headers: &str, len: usize) -> Vec<u8> {
        let first = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n");
        format!("{first}{headers}\r\n").into_bytes()
    }
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(super) fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        // A server that refuses answers before it has read everything, and then hangs up.
        let sent = self.stream.get_mut().write_all(&request.0);
        match self.read() {
            Ok(reply) => Ok(reply),
            Err(error) => Err(sent.err().unwrap_or(error)),
        }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    pub(super) fn read(&mut self) -> io::Result<Reply> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| malformed(&first))?;
        let (mut len, mut retry_after, mut last, mut chunked) = (None, None, false, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
            match name {
                "content-length" => len = value.trim().parse().ok(),
                "retry-after" => retry_after = value.trim().parse().ok(),
                "connection" => last = value.trim() == "close",
                "transfer-encoding" => chunked = value.trim() == "chunked",
                _ => {}
            }
        }
        let body = match len {
            Some(len) => self.exactly(len)?,
            None if chunked => self.chunks()?,
            None => return Err(malformed("no Content-Length")),
        };
        Ok(Reply { status, retry_after, last, body })
    }

    fn exactly(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// A body whose length is not said before it: each piece says its own, in hexadecimal.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let len = usize::from_str_radix(&line, 16).map_err(|_| malformed(&line))?;
            body.extend(self.exactly(len)?);
            self.line()?;
            if len == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed: {what}"))
}

/// One request on a connection of its own.
pub(super) fn once(address: SocketAddr, request: &Request) -> io::Result<Reply> {
    Connection::open(address)?.ask(request)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn an_answer_is_read_and_the_connection_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            for answer in [
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n2\r\nne\r\n0\r\n\r\n",
                "HTTP/1.1 429 No\r\nretry-after: 2\r\nConnection: close\r\ncontent-length: 0\r\n\r\n",
            ] {
                assert!(stream.read(&mut request).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let mut connection = Connection::open(address).unwrap();
        for _ in 0..2 {
            let first = connection.ask(&Request::get("/")).unwrap();
            assert_eq!((first.status, &first.body[..], first.last), (200, &b"one"[..], false));
        }
        let second = connection.ask(&Request::get("/")).unwrap();
        assert_eq!((second.status, second.retry_after, second.last), (429, Some(2), true));
        server.join().unwrap();
        assert!(connection.ask(&Request::get("/")).is_err());
    }
}
