//! As much HTTP as a test needs to look into an engine behind the back of what is tested.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Sends a request and gives the status and the body.
pub(crate) fn ask(
    socket: &Path,
    method: &str,
    path: &str,
    kind: &str,
    body: &[u8],
) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let head = format!(
        "{method} /v1.40{path} HTTP/1.0\r\nHost: engine\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, answer.split_off((end + 4).min(answer.len()))))
}

/// A document of the engine.
pub(crate) fn get(socket: &Path, path: &str) -> Value {
    for _ in 0..50 {
        let (status, body) =
            ask(socket, "GET", path, "text/plain", b"").expect("the engine answers");
        let text = String::from_utf8_lossy(&body);
        // Podman fails to list containers while one of them ends, which is what tests wait for.
        if status == 500 && text.contains("no such process") {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        assert_eq!(status, 200, "{path}: {text}");
        return serde_json::from_slice(&body).expect("it is JSON");
    }
    panic!("{path}: the engine does not come to an end with it");
}
