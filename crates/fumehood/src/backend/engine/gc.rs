//! Containers whose supervisor died.

use super::failure::failed;
use super::http::Client;
use super::running::end;
use super::{now, socket};
use crate::BackendName;
use crate::backend::native::cgroup::{Life, Owner};

/// The label that every container of ours has, and whose supervisor it names.
pub(super) const LABEL: &str = "fumehood.owner";

/// A container that a dead supervisor left behind.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) engine: BackendName,
    pub(crate) id: String,
    pub(crate) supervisor: u32,
    /// Whether its program was still running.
    pub(crate) ran: bool,
    /// Why it is still there, if it is.
    pub(crate) failure: Option<String>,
}

/// Finds what is left in every engine of this host that answers, and removes it unless it is only to
/// be looked for. What is left was mostly never started, so containers of all states count. An engine
/// that is not there has nothing of ours.
pub(crate) fn gc(only_look: bool) -> Vec<Remains> {
    let engines = [BackendName::Docker, BackendName::Podman];
    let found = engines.map(|engine| now(of(engine, only_look)).unwrap_or_default());
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    // One engine may listen at both places.
    found.dedup_by(|one, other| one.id == other.id);
    found
}

async fn of(engine: BackendName, only_look: bool) -> Vec<Remains> {
    let Ok(socket) = socket::socket(engine) else { return Vec::new() };
    let client = Client::new(socket);
    let Ok(listed) = client.labelled(LABEL).await else { return Vec::new() };
    let mut remains = Vec::new();
    for container in listed {
        let owner = container.labels.iter().flatten().find(|(label, _)| *label == LABEL);
        let Some(owner) = owner.and_then(|(_, name)| Owner::of(name)) else { continue };
        if !matches!(owner.life(), Ok(Life::Dead)) {
            continue;
        }
        let failure = if only_look { None } else { end(&client, &container.id).await.err() };
        remains.push(Remains {
            engine,
            supervisor: owner.pid(),
            ran: container.state == "running",
            failure: failure
                .map(|failure| failed(engine, "remove the container", failure).to_string()),
            id: container.id,
        });
    }
    remains
}
