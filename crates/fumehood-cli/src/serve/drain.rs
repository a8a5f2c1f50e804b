//! The life of the service: from the first connection to the exit in good order.

use std::time::Duration;

use fumehood::{Job, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::accept::accept;
use super::args::ServeArgs;
use super::config::Config;
use super::connections::Connections;
use super::listen::Listener;
use super::notify;
use super::playground;
use super::router::router;
use super::service::{Shared, Stage};
use crate::error::internal;
use crate::output;

/// How long answers may take to go out once everything is cancelled.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Serves until a signal says to stop, and has gone through the stages of the end.
pub(crate) async fn serve(
    service: &Shared,
    args: &ServeArgs,
    listeners: Vec<Listener>,
) -> Result<()> {
    let mut signals = Signals::new()?;
    let connections = Connections::default();
    let router = router(service);
    for listener in listeners {
        output::say(&format!("listening on {}", listener.name()));
        tokio::spawn(accept(listener, service.clone(), router.clone(), connections.clone()));
    }
    let keeper = tokio::spawn(keep_healthy(service.clone()));
    signals.until_stop(service, args).await;
    stop(service, &connections).await;
    keeper.abort();
    Ok(())
}

async fn stop(service: &Shared, connections: &Connections) {
    let times = service.settings().config.stop.clone();
    service.advance(Stage::Lingering);
    notify::stopping();
    tokio::time::sleep(times.linger.0).await;
    service.advance(Stage::Draining);
    let all_gone = async {
        connections.fewer_than(1).await;
        service.nothing_runs().await;
    };
    if timeout(times.deadline.0, all_gone).await.is_err() {
        output::say("stopping: what still runs is cancelled");
    }
    service.advance(Stage::Cancelling);
    let _ = timeout(LAST_WORDS, async {
        connections.fewer_than(1).await;
        service.nothing_runs().await;
    })
    .await;
    service.pool.drain();
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let watch = |kind| signal(kind).map_err(internal("watch for signals"));
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            reload: watch(SignalKind::hangup())?,
        })
    }

    /// Returns when the service is to stop; until then it reads its settings anew when asked to.
    async fn until_stop(&mut self, service: &Shared, args: &ServeArgs) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.reload.recv() => reload(service, args),
            }
        }
    }
}

/// Settings that are wrong change nothing.
fn reload(service: &Shared, args: &ServeArgs) {
    match Config::load(args).and_then(|config| service.replace(config)) {
        Ok(()) => output::say("the settings were read anew"),
        Err(error) => {
            output::failed(&error);
            output::say("the settings stay as they were");
        }
    }
}

/// Parks cells before the first job comes, and tries anew for as long as the host cannot make any.
async fn keep_healthy(service: Shared) {
    const LEAST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(5);
    let (mut pause, mut said) = (LEAST, String::new());
    loop {
        let mut job = Job::new(["true"]);
        job.require = service.settings().config.required();
        match service.pool.warm(&job).await {
            Ok(()) => {
                service.note_health(true);
                playground::warm(&service).await;
                notify::ready();
                said.clear();
                service.suspected().await;
                pause = LEAST;
            }
            Err(error) => {
                service.note_health(false);
                // Once is enough for as long as the reason stays the same.
                let reason = error.to_string();
                if said != reason {
                    output::failed(&error);
                    said = reason;
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MOST);
    }
}
