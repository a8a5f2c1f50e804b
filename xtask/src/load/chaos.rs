//! Clients that behave badly. The service must stay ready for the others, and nothing may be left.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::http::{Connection, Request, once};
use super::kinds::{Kind, Kinds};
use super::random::Random;

/// How much of everything bad there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Clients that hang up.
    pub(super) hang_ups: usize,
    /// Connections that are idle.
    pub(super) idle: usize,
    /// Clients of each other kind.
    pub(super) others: usize,
    /// Bodies of 100 MiB.
    pub(super) large: usize,
}

/// A kind of bad behaviour, and what is wrong with how the service takes it.
pub(super) type Trick = fn(SocketAddr, &Kinds, Size) -> Vec<String>;

pub(super) const TRICKS: [(&str, Trick); 7] = [
    ("clients that hang up", hang_ups),
    ("half-closed sockets", half_closed),
    ("heads that come slowly", slow_heads),
    ("bodies that come slowly", slow_bodies),
    ("answers that nobody takes", deaf),
    ("bodies of 100 MiB", large_bodies),
    ("idle connections", idle),
];

/// Whether somebody who behaves gets what is right, with patience for refusals.
fn is_served(address: SocketAddr, kind: &Kind) -> Option<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let fault = match once(address, &kind.request) {
            Ok(reply) => kind.fault(&reply)?,
            Err(error) => format!("no answer: {error}"),
        };
        if Instant::now() > deadline {
            return Some(format!("meanwhile {fault}"));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn is_ready(address: SocketAddr) -> Option<String> {
    let paths = ["/readyz", "/healthz"];
    let status = |path| once(address, &Request::get(path)).map_or(0, |reply| reply.status);
    let bad = paths.into_iter().find(|path| status(path) != 200)?;
    Some(format!("meanwhile {bad} is not well"))
}

fn meanwhile(address: SocketAddr, kinds: &Kinds) -> Vec<String> {
    let hello = is_served(address, kinds.named("hello"));
    hello.into_iter().chain(is_ready(address)).collect()
}

/// Hangs up at a random byte of the request, or at a random moment after it.
fn hang_ups(address: SocketAddr, kinds: &Kinds, size: Size) -> Vec<String> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..50.min(size.hang_ups) {
            scope.spawn(|| {
                while let Some(client) = take(&next, size.hang_ups) {
                    // That it fails is its purpose.
                    let _ = hang_up(address, kinds, client);
                }
            });
        }
        meanwhile(address, kinds)
    })
}

fn take(next: &AtomicUsize, limit: usize) -> Option<usize> {
    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|taken| *taken < limit)
}

fn hang_up(address: SocketAddr, kinds: &Kinds, client: usize) -> io::Result<()> {
    let mut random = Random::new(client);
    let Request(bytes) = &kinds.draw(random.next()).request;
    let mut stream = TcpStream::connect(address)?;
    let whole = random.below(2) == 0;
    let sent = if whole { bytes.len() } else { random.below(bytes.len()) };
    stream.write_all(bytes.get(..sent).unwrap_or(bytes))?;
    thread::sleep(Duration::from_millis(random.next() % 300));
    Ok(())
}

/// Says that nothing more will come while the answer is awaited: an answer is right, and none, too.
fn half_closed(address: SocketAddr, kinds: &Kinds, size: Size) -> Vec<String> {
    let sleeper = kinds.named("sleeper");
    let ask = |_| -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&sleeper.request.0)?;
        stream.shutdown(Shutdown::Write)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(stream)
    };
    let streams: Vec<_> = (0..size.others).filter_map(|client| ask(client).ok()).collect();
    let mut wrong = meanwhile(address, kinds);
    let kept = streams.into_iter().filter(|stream| drained(stream).is_err()).count();
    if kept > 0 {
        wrong.push(format!("{kept} half-closed connections stay open for 30 s"));
    }
    wrong
}

/// Reads to the end, or to a reset.
fn drained(mut stream: &TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn slow_heads(address: SocketAddr, kinds: &Kinds, size: Size) -> Vec<String> {
    slowly(address, kinds, size, b"POST /run HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
}

fn slow_bodies(address: SocketAddr, kinds: &Kinds, size: Size) -> Vec<String> {
    slowly(address, kinds, size, &Request::head("/run", "", 50 << 20))
}

/// Sends a start, and then a byte now and then, until the service has enough of it.
fn slowly(address: SocketAddr, kinds: &Kinds, size: Size, start: &[u8]) -> Vec<String> {
    let mut open = Vec::new();
    for _ in 0..size.others {
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        if stream.write_all(start).is_ok() && stream.set_nonblocking(true).is_ok() {
            open.push(stream);
        }
    }
    let mut wrong = meanwhile(address, kinds);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !open.is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(500));
        open.retain_mut(|stream| stream.write_all(b"x").is_ok() && !is_over(stream));
    }
    if !open.is_empty() {
        wrong.push(format!("{} of {} are borne for a minute", open.len(), size.others));
    }
    wrong
}

/// Whether the service has hung up.
fn is_over(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 1024];
    match stream.read(&mut buffer) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// Asks for output that fills every buffer on the way, and does not read it.
fn deaf(address: SocketAddr, kinds: &Kinds, size: Size) -> Vec<String> {
    let job = r#"{"args":["head","-c","12000000","/dev/zero"]}"#;
    let request = Request::post("/v1/runs", "Content-Type: application/json\r\n", job.as_bytes());
    let ask = |_| -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&request.0)?;
        Ok(stream)
    };
    let streams: Vec<_> = (0..size.others.min(64)).filter_map(|client| ask(client).ok()).collect();
    let wrong = meanwhile(address, kinds);
    drop(streams);
    wrong
}

/// A body as large as bodies may be.
const MOST: usize = 100 << 20;

/// A hello with so much behind it that its body is that long.
fn padded_hello(address: SocketAddr, kinds: &Kinds, len: usize) -> io::Result<(u16, Vec<u8>)> {
    let Request(bytes) = &kinds.named("hello").request;
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n");
    let program = head.and_then(|at| bytes.get(at + 4..)).unwrap_or(&[]);
    let mut connection = Connection::open(address)?;
    let stream = connection.stream();
    stream.write_all(&Request::head("/run", "", len))?;
    let sent = padded(stream, program, len);
    let reply = connection.read().map_err(|error| sent.err().unwrap_or(error))?;
    Ok((reply.status, reply.body))
}

/// Has the largest body there may be run, however often it is refused for want of room.
pub(super) fn until_large_body_runs(address: SocketAddr, kinds: &Kinds) -> Option<String> {
    for _ in 0..20 {
        match padded_hello(address, kinds, MOST) {
            Ok((200, _)) => return None,
            _ => thread::sleep(Duration::from_millis(500)),
        }
    }
    Some("a body of 100 MiB is refused twenty times".to_owned())
}

/// What is wrong with the answer to the largest body there may be.
fn large_body(address: SocketAddr, kinds: &Kinds) -> Option<String> {
    match padded_hello(address, kinds, MOST) {
        Ok((200, body)) if body.windows(8).any(|part| part == b"aGVsbG8K") => None,
        // There is a limit to how much is taken in at a time.
        Ok((500, body)) if body == b"failed to get container\n" => None,
        other => Some(format!("100 MiB: {:?}", shown(other))),
    }
}

/// Several of the largest bodies at a time, and then one that is too large by a byte.
fn large_bodies(address: SocketAddr, kinds: &Kinds, size: Size) -> Vec<String> {
    let mut wrong = Vec::new();
    thread::scope(|scope| {
        let send = || scope.spawn(|| large_body(address, kinds));
        let senders: Vec<_> = (0..size.large).map(|_| send()).collect();
        wrong.extend(meanwhile(address, kinds));
        for sender in senders {
            wrong.extend(sender.join().expect("a sender does not panic"));
        }
    });
    match padded_hello(address, kinds, MOST + 1) {
        Ok((500, body)) if body == b"http: request body too large\n" => {}
        other => wrong.push(format!("100 MiB and a byte: {:?}", shown(other))),
    }
    wrong
}

fn shown(answer: io::Result<(u16, Vec<u8>)>) -> io::Result<(u16, String)> {
    answer
        .map(|(status, body)| (status, String::from_utf8_lossy(&body).chars().take(200).collect()))
}

fn padded(stream: &mut TcpStream, program: &[u8], len: usize) -> io::Result<()> {
    stream.write_all(program)?;
    io::copy(&mut io::repeat(0).take((len - program.len()) as u64), stream)?;
    Ok(())
}

/// Opens connections and leaves them alone.
fn idle(address: SocketAddr, kinds: &Kinds, size: Size) -> Vec<String> {
    let mut open = Vec::new();
    let mut wrong = Vec::new();
    for _ in 0..size.idle {
        match TcpStream::connect(address) {
            Ok(stream) => open.push(stream),
            Err(error) => {
                wrong.push(format!("connection {}: {error}", open.len() + 1));
                break;
            }
        }
    }
    for _ in 0..20 {
        wrong.extend(meanwhile(address, kinds));
    }
    wrong
}
