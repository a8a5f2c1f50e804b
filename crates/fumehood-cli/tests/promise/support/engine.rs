//! An engine of this suite's own, where the promises are tried with Docker or Podman.
//!
//! Promises are about programs of the host, and engines run images. So theirs is an image with nothing in
//! it but directories and links, and the host's `/usr` is mounted in it.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::backend;
use crate::daemons::{Engine, Extras};

/// The name of that image.
const IMAGE: &str = "fumehood-test/host";

/// What of the host is mounted in it, where the host has it.
const SHOWN: [&str; 3] = ["/usr", "/etc/alternatives", "/etc/ssl"];

static ENGINE: Mutex<Option<Engine>> = Mutex::new(None);

/// The variable that leads the binary to the engine, which is started when it is first asked for.
///
/// # Errors
/// Why there is no engine. None where the backend takes none.
pub(crate) fn variable() -> Option<Result<&'static (&'static str, String), String>> {
    static VARIABLE: OnceLock<Result<(&'static str, String), String>> = OnceLock::new();
    let name = match backend::name() {
        "docker" => "docker",
        "podman" => "podman",
        _ => return None,
    };
    let variable = VARIABLE.get_or_init(|| {
        let engine = Engine::start_with(name, &Extras::default(), &[(IMAGE, image()?, vec![])])?;
        let variable = engine.variable();
        *ENGINE.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine);
        Ok(variable)
    });
    Some(variable.as_ref().map_err(Clone::clone))
}

/// Whether a mount of the host is that of an engine of tests, this or any: it has some for as long as a
/// container runs.
pub(crate) fn owns(mount: &str) -> bool {
    ["/fh-docker-", "/fh-podman-", "/fumehood-xtask-"].iter().any(|dir| mount.contains(dir))
}

/// Stops the engine.
pub(crate) fn stop() {
    drop(ENGINE.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// What a run in the image takes that does not say itself what its root is.
pub(crate) fn flags(given: &[OsString]) -> Vec<OsString> {
    let says = ["--image", "--root", "--bundle"];
    let has = |name: &str| {
        given.iter().any(|flag| {
            let flag = flag.to_string_lossy();
            flag == name || flag.starts_with(&format!("{name}="))
        })
    };
    if says.iter().any(|flag| has(flag)) {
        return Vec::new();
    }
    let mut flags: Vec<OsString> = vec!["--image".into(), IMAGE.into()];
    let shown = SHOWN.iter().map(|dir| (*dir).to_owned()).chain(javas());
    for dir in shown.filter(|dir| Path::new(dir).exists()) {
        flags.extend([OsStr::new("--volume").to_owned(), format!("{dir}:{dir}:ro").into()]);
    }
    flags
}

/// Debian's Java has its settings in `/etc/java-17-openjdk`.
fn javas() -> impl Iterator<Item = String> {
    let names = std::fs::read_dir("/etc").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("java-")).map(|name| format!("/etc/{name}"))
}

const LINKS: [&str; 5] = ["bin", "sbin", "lib", "lib64", "lib32"];
const FILES: [(&str, &str); 3] = [
    ("etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65532:65532::/tmp:/bin/sh\n"),
    ("etc/group", "root:x:0:\nnobody:x:65532:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
];

/// The image as an archive of its root.
fn image() -> Result<Vec<u8>, String> {
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header
    };
    let mut made = Ok(());
    for dir in ["usr", "etc", "etc/alternatives", "etc/ssl", "tmp", "workspace"] {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        made = made.and_then(|()| tar.append_data(&mut header, dir, &b""[..]));
    }
    for link in LINKS.iter().filter(|link| Path::new("/").join(link).is_symlink()) {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        made = made.and_then(|()| tar.append_link(&mut header, link, format!("usr/{link}")));
    }
    for (path, text) in FILES {
        let mut header = header(tar::EntryType::Regular, 0o644, text.len() as u64);
        made = made.and_then(|()| tar.append_data(&mut header, path, text.as_bytes()));
    }
    made.and_then(|()| tar.into_inner()).map_err(|error| error.to_string())
}
