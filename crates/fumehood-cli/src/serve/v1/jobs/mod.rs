//! `/v1/jobs`: runs that outlive their connection.

mod events;
mod store;

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;

use super::address::{Named, parameter};
use super::asked::{self, Asked};
use super::json;
use crate::serve::access::Caller;
use crate::serve::problem::Problem;
use crate::serve::router::accepts;
use crate::serve::service::{Shared, Stage, fresh_id};
use crate::serve::stream::{self, Event};
use events::Format;
pub(crate) use store::Jobs;
#[cfg(test)]
pub(crate) use store::View;
use store::{Record, State as JobState};

/// Name of this interface in the metrics.
pub(crate) const SURFACE: &str = "jobs";

/// `POST /v1/jobs`: takes a job in, and answers before it runs.
pub(super) async fn create(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let asked = asked::read(&service, &caller, &head, body).await?;
    if service.stage() >= Stage::Draining {
        return Err(Problem::stopping());
    }
    // The place in line is taken now: what cannot wait is refused, not kept.
    let ticket = service.ticket(&service.line, &caller).await?;
    let config = service.settings().config.jobs.clone();
    let record = Record::new(fresh_id("job"), Arc::clone(&caller.name));
    service.jobs.add(&record, &config)?;
    let task = {
        let (service, record) = (service.clone(), Arc::clone(&record));
        async move {
            let place = service.turn(ticket, config.wait_time.0).await;
            match place {
                Ok(place) => carry_out(&service, asked, place, &record).await,
                Err(problem) => record.push(Event::Error { problem }),
            }
        }
    };
    let cancelled = Arc::clone(&record);
    tokio::spawn(async move {
        tokio::select! {
            () = task => {}
            () = cancelled.given_up() => cancelled.push(Event::Error { problem: withdrawn() }),
        }
    });
    let location = HeaderValue::from_str(&format!("/v1/jobs/{}", record.id()));
    let location = location.map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = json(&record.view())?;
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn withdrawn() -> Problem {
    let status = StatusCode::CONFLICT;
    // A start is heard of up to a millisecond after it.
    let detail = "the job was cancelled before its program was known to run: it was never started, \
                  or killed at once";
    Problem::new(status, "cancelled", "The job was cancelled", detail)
}

/// Runs a job and notes what happens.
async fn carry_out(
    service: &Shared,
    asked: Asked,
    place: crate::serve::line::Place,
    record: &Arc<Record>,
) {
    let Asked { job, held, .. } = asked;
    let started = stream::start(service, SURFACE, &job, place, record.id().to_owned()).await;
    drop((job, held));
    let run = match started {
        Ok(run) => run,
        Err(problem) => return record.push(Event::Error { problem }),
    };
    record.started(run.handle());
    let (to, mut events) = mpsc::channel(1);
    let note = async {
        while let Some(event) = events.recv().await {
            record.push(event);
        }
    };
    tokio::join!(run.tell(to), note);
}

fn find(service: &Shared, caller: &Caller, id: &str) -> Result<Arc<Record>, Problem> {
    let config = service.settings().config.jobs.clone();
    let found = service.jobs.find(id, &config).filter(|record| record.belongs_to(&caller.name));
    found.ok_or_else(|| Problem::not_found("there is no such job, or not any more"))
}

/// `GET /v1/jobs/{id}`: how it stands, with its report when it has ended.
pub(super) async fn show(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(id): Named,
) -> Result<Response, Problem> {
    json(&find(&service, &caller, &id)?.view())
}

/// `DELETE /v1/jobs/{id}`: cancels it, or forgets it if it has ended.
pub(super) async fn delete(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(id): Named,
) -> Result<Response, Problem> {
    let record = find(&service, &caller, &id)?;
    if record.state() == JobState::Ended {
        service.jobs.forget(&id);
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    record.cancel().await;
    let mut response = json(&record.view())?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// `GET /v1/jobs/{id}/events`: what happened after an event, and what happens.
pub(super) async fn events(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(id): Named,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let record = find(&service, &caller, &id)?;
    let (format, after) = (Format::of(accepts(&head.headers, events::SERVER_SENT)), after(&head)?);
    // Browsers come back after the last event, for as long as they are not told that it was the last.
    if format == Format::ServerSent && record.since(after, 1) == (Vec::new(), true) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(events::response(record, after, format))
}

/// The event after which the client wants to hear more. Who comes back after a break says so in a
/// header (`Last-Event-ID`), which counts if there is no parameter.
fn after(head: &Parts) -> Result<u64, Problem> {
    let named = parameter(head, "after")?.as_deref().map(number).transpose()?;
    let header = head.headers.get("last-event-id");
    let header = header.map(|value| number(value.to_str().unwrap_or_default())).transpose()?;
    Ok(named.or(header).unwrap_or(0))
}

/// The number of an event, no larger than what most readers of JSON can hold.
fn number(text: &str) -> Result<u64, Problem> {
    let number = text.parse().ok().filter(|number| i64::try_from(*number).is_ok());
    number.ok_or_else(|| Problem::bad_request("after: must be the number of an event"))
}
