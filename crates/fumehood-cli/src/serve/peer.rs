//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// Who is at the other end, as the kernel says it. An extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Somebody on the network.
    Tcp(SocketAddr),
    /// A process on this host (`SO_PEERCRED`, `unix(7)`): its user when it connected.
    Unix { uid: u32 },
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.ip().fmt(f),
            Self::Unix { uid } => write!(f, "uid {uid}"),
        }
    }
}
