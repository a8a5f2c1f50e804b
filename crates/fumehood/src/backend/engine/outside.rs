//! The last means against a container that its engine cannot end.
//!
//! Engines kill process 1 of a container, and when that dies the kernel kills all others. A program that
//! may change the schedule of process 1 can leave it no time to die in. So everybody else is killed from
//! outside, where this host is the engine's, and the caller may.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::http::Client;
use crate::backend::native::cgroup::kill_with;

/// How long an engine may take to say where a container is; and to remove one before it is helped.
const PATIENCE: Duration = Duration::from_secs(1);

/// Kills every process in the control group of a container. Where that cannot be done, the engine has the
/// last word. It is to be asked for that afterwards: Podman says nothing of a container while it waits
/// for its end.
pub(super) async fn kill(client: &Client, id: &str) {
    if let Ok(Ok(found)) = timeout(PATIENCE, client.inspect(id)).await {
        let _ = kill_with(found.state.pid, id);
    }
}

/// The same again and again.
pub(super) async fn keep_killing(client: &Client, id: &str) -> Infallible {
    loop {
        sleep(PATIENCE).await;
        kill(client, id).await;
    }
}
