//! A registry of the tests' own, with one image in it, that says what it was asked.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A registry on the loopback interface, without TLS: it lives as long as the test's process.
#[derive(Clone, Debug)]
pub(crate) struct Registry(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    port: u16,
    /// The bytes, their digest and their type: the manifest, the configuration, the layer.
    all: [(Vec<u8>, String, &'static str); 3],
    asked: Mutex<Vec<String>>,
    /// Whether the layer breaks off in the middle.
    broken: AtomicBool,
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string can be written to");
        text
    })
}

impl Registry {
    /// One that has an image of this root, as `box:1`.
    pub(crate) fn start(layer: Vec<u8>) -> Self {
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux", "config": { "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let part = |bytes: &[u8], kind: &str| json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": part(&config, CONFIG), "layers": [part(&layer, LAYER)],
        });
        let manifest = manifest.to_string().into_bytes();
        let all = [(manifest, MANIFEST), (config, CONFIG), (layer, LAYER)]
            .map(|(bytes, kind)| (bytes.clone(), digest(&bytes), kind));
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a loopback");
        let port = listener.local_addr().expect("it is bound").port();
        let (asked, broken) = (Mutex::default(), AtomicBool::default());
        let registry = Self(Arc::new(Shelf { port, all, asked, broken }));
        let own = registry.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let registry = own.clone();
                // Engines hang up when they have what they want.
                std::thread::spawn(move || drop(registry.answer(stream)));
            }
        });
        registry
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }

    /// The image by its tag.
    pub(crate) fn by_tag(&self) -> String {
        format!("127.0.0.1:{}/box:1", self.0.port)
    }

    /// The image by its digest.
    pub(crate) fn by_digest(&self) -> String {
        format!("127.0.0.1:{}/box@{}", self.0.port, self.0.all[0].1)
    }

    /// Has layers break off in the middle, or not any more.
    pub(crate) fn break_off(&self, broken: bool) {
        self.0.broken.store(broken, Ordering::Relaxed);
    }

    /// The paths that were asked for since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
        let last = path.rsplit('/').next().unwrap_or_default();
        let found = match path {
            "/v2/" => Some((b"{}".to_vec(), String::new(), "application/json")),
            "/v2/box/manifests/1" => Some(self.0.all[0].clone()),
            _ => self.0.all.iter().find(|(_, digest, _)| digest == last).cloned(),
        };
        let (status, (bytes, digest, kind)) = match found {
            Some(found) => ("200 OK", found),
            None => ("404 Not Found", (b"{}".to_vec(), String::new(), "application/json")),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Docker-Content-Digest: {digest}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\
             Connection: close\r\n\r\n",
            bytes.len()
        )?;
        let broken = kind == LAYER && self.0.broken.load(Ordering::Relaxed);
        let end = if broken { bytes.len() / 2 } else { bytes.len() };
        if method == "HEAD" { Ok(()) } else { stream.write_all(&bytes[..end]) }
    }
}
