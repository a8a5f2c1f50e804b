//! Where connections come from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fumehood::Result;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::config::{Config, wrong};
use super::peer::Peer;
use crate::error::internal;

/// Bytes of an answer that the kernel keeps for a client.
const SEND_BUFFER: usize = 256 << 10;

/// A socket that is listened on.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, Socket),
}

/// A connection that came in.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The file of a Unix socket, which goes with the listener.
#[derive(Debug)]
pub(crate) struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Listens everywhere that the settings name.
///
/// # Errors
/// An address that is none, that is taken, or that strangers reach although there are no tokens.
pub(crate) fn bind(config: &Config) -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for address in &config.listen {
        match address.strip_prefix("unix:") {
            Some(path) => listeners.push(bind_unix(Path::new(path))?),
            None => bind_tcp(address, config, &mut listeners)?,
        }
    }
    Ok(listeners)
}

fn bind_tcp(address: &str, config: &Config, listeners: &mut Vec<Listener>) -> Result<()> {
    // Names would have to be looked up, which a binary without dynamic linker cannot do as others.
    let addresses: Vec<SocketAddr> = match address.strip_prefix("localhost:").map(str::parse) {
        Some(Ok(port)) => [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]
            .map(|ip| SocketAddr::new(ip, port))
            .into(),
        _ => vec![address.parse().map_err(|_| {
            let right = "must be ADDRESS:PORT, such as 127.0.0.1:8375, or unix:PATH";
            wrong(&format!("listen: {address:?}: {right}"))
        })?],
    };
    for resolved in addresses {
        if !resolved.ip().is_loopback() {
            config.needs_tokens(address)?;
        }
        let bound = listen(resolved).map_err(internal(format!("listen on {resolved}")))?;
        listeners.push(Listener::Tcp(bound));
    }
    Ok(())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

/// Listens on a Unix socket that everybody may connect to: who asks is looked at, not who can open
/// the file.
fn bind_unix(path: &Path) -> Result<Listener> {
    let doing = || format!("listen on unix:{}", path.display());
    if !path.is_absolute() {
        let shown = path.display();
        return Err(wrong(&format!("listen: unix:{shown}: the path must be absolute")));
    }
    remove_stale(path).map_err(internal(doing()))?;
    let listener = UnixListener::bind(path).map_err(internal(doing()))?;
    let everybody = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(path, everybody).map_err(internal(doing()))?;
    Ok(Listener::Unix(listener, Socket(path.to_owned())))
}

/// Removes the socket of a service that was killed; never one that somebody listens on, nor a file
/// of another kind.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

impl Listener {
    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Events go out one by one, and nobody shall wait for the next.
                stream.set_nodelay(true)?;
                // Answers that nobody takes wait in the kernel, too, which would take megabytes.
                set_socket_send_buffer_size(&stream, SEND_BUFFER)?;
                Ok((Stream::Tcp(stream), Peer::Tcp(address)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Stream::Unix(stream), Peer::Unix { uid }))
            }
        }
    }

    /// The address as it is written in settings, with the port that was chosen if none was named.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "?".to_owned(), |bound| bound.to_string())
            }
            Self::Unix(_, Socket(path)) => format!("unix:{}", path.display()),
        }
    }
}
