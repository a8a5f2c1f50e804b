//! Connections: taken in, served, and closed when it is time.
//!
//! The loop is our own because a server in front of strangers needs what ready-made ones lack: a
//! clock on the head of a request, a bound on connections, and an end that nobody can delay.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tower::ServiceExt;

use super::connections::{Connections, Entry};
use super::files;
use super::listen::{Listener, Stream};
use super::peer::Peer;
use super::service::{Shared, Stage};
use super::stall::Progressing;

/// How many more connections there may be than allowed, while those that make room close.
const CLOSING: usize = 64;

/// Each argument of the playground is one.
const MOST_HEADERS: usize = 1024;

/// Takes connections in until the service drains.
pub(crate) async fn accept(
    listener: Listener,
    service: Shared,
    router: Router,
    connections: Connections,
) {
    let mut end = pin!(service.reached(Stage::Draining));
    loop {
        let config = &service.settings().config;
        let parked = service.pool.metrics().parked;
        let (wanted, slots) = (config.http.connections, config.line.slots);
        let most = files::most_connections(wanted, slots, parked);
        let next = async {
            connections.fewer_than(most + CLOSING).await;
            listener.accept().await
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = &mut end => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let entry = Arc::new(connections.enter(most));
                tokio::spawn(serve(stream, peer, service.clone(), router.clone(), entry));
            }
            // Descriptors or memory are short, or the client is gone already: a loop that spins
            // would make it worse.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn serve(stream: Stream, peer: Peer, service: Shared, router: Router, entry: Arc<Entry>) {
    let patience = service.settings().config.http.stall_time.0;
    let (unread, unsent) = (entry.connection.unread.clone(), entry.connection.unsent.clone());
    match stream {
        Stream::Tcp(stream) => {
            // A client that has closed and one that has only stopped sending look the same here,
            // until something is sent. Nobody runs programs for clients that are gone, so both are.
            let Ok(watched) = twin(&stream).and_then(TcpStream::from_std) else { return };
            let gone = has_stopped_sending(watched);
            let stream = Progressing::new(stream, patience, unread, unsent);
            let io = TokioIo::new(stream);
            connection(io, false, gone, peer, service, router, entry).await;
        }
        Stream::Unix(stream) => {
            // Here they differ (`poll(2)`: POLLHUP), so one that only stopped sending is answered.
            let Ok(watched) = twin(&stream).and_then(UnixStream::from_std) else { return };
            let gone = has_hung_up(watched);
            let stream = Progressing::new(stream, patience, unread, unsent);
            let io = TokioIo::new(stream);
            connection(io, true, gone, peer, service, router, entry).await;
        }
    }
}

/// The same socket once more, to be watched while somebody else reads from it.
fn twin<T: From<OwnedFd>>(stream: &impl AsFd) -> io::Result<T> {
    stream.as_fd().try_clone_to_owned().map(T::from)
}

/// How long a client that sends nothing more is still served what it sent ahead.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Waits until a client has stopped sending, and may have been answered. Whoever reads from the socket
/// sees that as well, and at once, but not behind a request that was sent ahead.
async fn has_stopped_sending(socket: TcpStream) {
    // Of urgent bytes, which nobody asked for, and of the end. Bytes that wait are not told of.
    let _ = socket.ready(Interest::PRIORITY).await;
    tokio::time::sleep(LAST_ANSWERS).await;
}

/// Waits until both directions are closed.
async fn has_hung_up(socket: UnixStream) {
    while let Ok(ready) = socket.ready(Interest::WRITABLE).await {
        if ready.is_write_closed() {
            return;
        }
        // Readiness is told once and stays until somebody says that it is used up.
        let used_up = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = socket.try_io(Interest::WRITABLE, used_up);
    }
}

async fn connection<I>(
    io: I,
    half_close: bool,
    gone: impl Future<Output = ()>,
    peer: Peer,
    service: Shared,
    router: Router,
    entry: Arc<Entry>,
) where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    let requests = service_fn(|request: axum::http::Request<Incoming>| {
        let unread = entry.connection.unread.clone();
        let mut request = unread.watch(request);
        request.extensions_mut().insert(peer);
        let busy = entry.busy();
        let answer = router.clone().oneshot(request);
        async move {
            let mut answer = answer.await?;
            unread.close(&mut answer);
            Ok::<_, Infallible>(busy.until_sent(answer))
        }
    });
    let settings = service.settings();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.config.http.header_time.0)
        .half_close(half_close)
        .max_buf_size(64 << 10)
        .max_headers(MOST_HEADERS)
        .serve_connection(io, requests);
    drop(settings);
    let mut connection = pin!(connection);
    let mut gone = pin!(gone);
    let mut ending = pin!(service.reached(Stage::Draining));
    let mut is_ending = false;
    loop {
        // Dropping the connection drops the request in progress, and that its program.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = gone.as_mut() => return,
            () = entry.connection.close.notified() => return,
            () = ending.as_mut(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
