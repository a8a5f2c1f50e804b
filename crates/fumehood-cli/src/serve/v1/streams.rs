//! Runs that are told of as they happen, by name, so that whoever hears of one can end it and hear how
//! that went.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use fumehood::Handle;

use super::address::Named;
use crate::serve::access::Caller;
use crate::serve::problem::Problem;
use crate::serve::service::Shared;

/// All of them. Copies share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams(Arc<Mutex<BTreeMap<String, Told>>>);

#[derive(Debug)]
struct Told {
    caller: Arc<str>,
    handle: Handle,
}

/// A run's entry, for as long as it is told of.
#[derive(Debug)]
pub(crate) struct Entry {
    all: Streams,
    id: String,
}

impl Streams {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, id: String, caller: &Caller, handle: Handle) -> Entry {
        let caller = Arc::clone(&caller.name);
        self.all().insert(id.clone(), Told { caller, handle });
        Entry { all: self.clone(), id }
    }

    /// Steers a run of this caller's.
    fn find(&self, id: &str, caller: &Caller) -> Option<Handle> {
        let all = self.all();
        let told = all.get(id).filter(|told| told.caller == caller.name)?;
        Some(told.handle.clone())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.all().remove(&self.id);
    }
}

/// `DELETE /v1/runs/{id}`: has a run end; its stream tells how.
pub(super) async fn cancel(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(id): Named,
) -> Result<StatusCode, Problem> {
    let run = service.streams.find(&id, &caller);
    let run = run.ok_or_else(|| Problem::not_found("no such run is told of, or not any more"))?;
    run.cancel().await;
    Ok(StatusCode::ACCEPTED)
}
