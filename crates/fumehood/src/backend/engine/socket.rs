//! Where engines listen.

use std::env;
use std::path::PathBuf;

use crate::{BackendName, ErrorKind, Result};

/// The socket of an engine: that of its environment variable, or the first of the usual places that
/// is there, or the first of all, whose absence is then the news.
///
/// # Errors
/// [`ErrorKind::NoBackend`] if the variable names something else than a unix socket.
pub(super) fn socket(engine: BackendName) -> Result<PathBuf> {
    let variable = variable(engine);
    if let Some(address) = env::var(variable).ok().filter(|address| !address.is_empty()) {
        return match address.strip_prefix("unix://") {
            Some(path) => Ok(path.into()),
            None => {
                let reason = format!("is not asked at {address}: only unix sockets are");
                let fix = Some(format!("{variable}=unix:///path/of/the.sock"));
                Err(ErrorKind::NoBackend { backend: engine, reason, fix }.into())
            }
        };
    }
    let places = places(engine);
    let found = places.iter().find(|path| path.exists());
    Ok(found.or(places.first()).cloned().unwrap_or_default())
}

const fn variable(engine: BackendName) -> &'static str {
    match engine {
        BackendName::Podman => "CONTAINER_HOST",
        _ => "DOCKER_HOST",
    }
}

fn places(engine: BackendName) -> Vec<PathBuf> {
    let own = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.into_iter().filter(|_| !rustix::process::geteuid().is_root());
    match engine {
        // Rootless first: whoever runs one means it.
        BackendName::Podman => own
            .map(|dir| dir.join("podman/podman.sock"))
            .chain(["/run/podman/podman.sock".into()])
            .collect(),
        _ => {
            let shared = ["/run/docker.sock".into(), "/var/run/docker.sock".into()];
            own.map(|dir| dir.join("docker.sock")).chain(shared).collect()
        }
    }
}

/// The command that starts an engine.
pub(super) fn start_command(engine: BackendName) -> String {
    match engine {
        BackendName::Podman => {
            "systemctl start podman.socket (of a user: systemctl --user start podman.socket), \
             or podman system service -t 0"
        }
        _ => "systemctl start docker, or name the engine's socket in DOCKER_HOST",
    }
    .to_owned()
}
