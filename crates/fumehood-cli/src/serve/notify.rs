//! What the service manager is told (`sd_notify(3)`), where there is one that listens.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Names the manager's socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Work is taken, and cells for it stand.
pub(crate) fn ready() {
    tell("READY=1");
}

/// Nothing new is taken.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

/// A manager that cannot be told is none of the clients' business.
fn tell(state: &str) {
    if let Some(name) = std::env::var_os(SOCKET) {
        let _ = send(&name, state);
    }
}

fn send(name: &OsStr, state: &str) -> io::Result<()> {
    let address = match name.as_bytes().split_first() {
        // Shown with an @ in place of the NUL that it starts with (`unix(7)`).
        Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_told_by_path_and_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let abstract_name = format!("fumehood-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, name) in
            [(by_path, path.into_os_string()), (by_name, format!("@{abstract_name}").into())]
        {
            send(&name, "READY=1").unwrap();
            let mut buffer = [0; 16];
            let len = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], b"READY=1");
        }
        assert!(send(OsStr::new("/no/such/socket"), "READY=1").is_err());
    }
}
