//! The protocol of the Go playground's back end, to the byte.
//!
//! The playground's front end compiles a program, sends it to `POST /run`, and waits five seconds
//! for an answer. What it and others have come to rely on is kept, down to the words of errors that
//! speak of a container; what only served the engine behind the original is not.

mod answer;
mod arguments;
mod figures;
mod health;
mod job;
mod log_line;
mod run;
mod send;
mod settings;

use axum::Router;
use axum::extract::{Extension, Request, State as Shares};
use axum::http::header::{CONNECTION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use fumehood::Sandbox;
use tokio::time::{Instant, timeout_at};

use self::run::{Failed, Places};
pub(crate) use self::settings::Settings;
use super::access::Caller;
use super::body;
use super::problem::Problem;
use super::service::{Shared, Stage};
use crate::output;
use figures::Waits;
use health::Health;

/// The name of this interface in the metrics.
const SURFACE: &str = "playground";

/// What this interface keeps between requests.
#[derive(Debug, Default)]
pub(crate) struct State {
    health: Health,
    waits: Waits,
}

/// Routes that strangers may ask.
pub(crate) fn open() -> Router<Shared> {
    Router::new().route("/health", any(health)).route("/healthz", any(health))
}

/// Routes that know their caller.
pub(crate) fn guarded() -> Router<Shared> {
    Router::new().route("/run", any(run)).route("/statusz", any(status))
}

/// What `/` says to whoever is no browser.
pub(crate) fn greeting() -> &'static str {
    "Hi from sandbox\n"
}

/// Parks cells for programs of the usual size. A host that cannot have them is the operator's
/// concern, and no reason not to serve what it can.
pub(crate) async fn warm(service: &Shared) {
    let settings = service.settings();
    let job = job::job(&settings.config, Vec::new(), []);
    if let Err(error) = service.pool.warm(&job).await {
        output::failed(&error);
        output::say("programs sent to /run cannot be run; see [playground] of the settings");
    }
}

/// `POST /run`. The front end sends `Idempotency-Key: 1` with every program, so that header means
/// nothing here.
async fn run(
    Shares(service): Shares<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let arrived = Instant::now();
    if request.method() != Method::POST {
        return error(StatusCode::BAD_REQUEST, "expected a POST");
    }
    let (head, body) = request.into_parts();
    let waiting = service.playground.waits.begin();
    let in_time = timeout_at(arrived + run::WAIT, async {
        let limit = job::LARGEST_PROGRAM;
        let received = body::read(&service, &caller, &head.headers, body, limit).await?;
        Ok((received, service.place_in(&service.line, &caller, run::WAIT).await?))
    });
    let (received, place) = match in_time.await {
        Ok(Ok(both)) => both,
        // The body may not have been read, so the connection cannot be used again, and the client
        // should know before it tries.
        Ok(Err(problem)) => {
            waiting.failed();
            return ([(CONNECTION, "close")], refused(&problem)).into_response();
        }
        Err(_) => {
            waiting.late();
            return ([(CONNECTION, "close")], no_container()).into_response();
        }
    };
    waiting.done();
    let settings = service.settings();
    let job = job::job(&settings.config, received.bytes, arguments::of(&head.headers));
    let places = Places { upload: received.held, run: place };
    match run::run(&service, job, places, arrived).await {
        Ok((answer, place)) => send::json(answer, place),
        Err(Failed::NoCell) => no_container(),
        Err(Failed::Lost) => {
            error(StatusCode::INTERNAL_SERVER_ERROR, "unknown error during docker run")
        }
    }
}

/// What was wrong with the body, in the words of Go's library, or with the wait.
fn refused(problem: &Problem) -> Response {
    let message = match problem.status() {
        StatusCode::PAYLOAD_TOO_LARGE => "http: request body too large",
        StatusCode::REQUEST_TIMEOUT => "i/o timeout",
        StatusCode::BAD_REQUEST => "unexpected EOF",
        _ => return no_container(),
    };
    error(StatusCode::INTERNAL_SERVER_ERROR, message)
}

fn no_container() -> Response {
    error(StatusCode::INTERNAL_SERVER_ERROR, "failed to get container")
}

/// As Go's library answers with an error.
fn error(status: StatusCode, message: &str) -> Response {
    let headers =
        [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, format!("{message}\n")).into_response()
}

/// Whether programs can be run.
async fn health(Shares(service): Shares<Shared>) -> Response {
    let healthy = if service.stage() == Stage::Serving {
        let job = health::job(&service.settings().config);
        let check = health::check(Sandbox::new(), job);
        service.playground.health.get(Instant::now(), check).await
    } else {
        Err("the service is stopping".to_owned())
    };
    match healthy {
        Ok(()) => "OK\n".into_response(),
        Err(why) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let message =
                format!("health check failure: failed to get a sandbox container: {why}\n");
            // Who hears this had better not come back through this connection.
            (status, [(CONNECTION, "close")], message).into_response()
        }
    }
}

/// All figures, those of the original under their own names.
async fn status(Shares(service): Shares<Shared>) -> Response {
    let text = service.metrics.text(&service) + &figures::text(&service);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
