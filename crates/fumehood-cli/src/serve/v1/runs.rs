//! `POST /v1/runs`: a job in, its report out.

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use fumehood::Job;

use crate::serve::access::Caller;
use crate::serve::body;
use crate::serve::execute;
use crate::serve::policy;
use crate::serve::problem::Problem;
use crate::serve::service::Shared;

pub(super) async fn create(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let settings = service.settings();
    let limit = settings.config.http.body_size.0;
    let received = body::read(&service, &caller, &head.headers, body, limit).await?;
    let text = std::str::from_utf8(&received.bytes)
        .map_err(|error| Problem::bad_request(format!("the body is not UTF-8: {error}")))?;
    let job = Job::from_json(text).map_err(|error| Problem::from(&error))?;
    let job = policy::admit(job, None, &caller, &settings.config)?;
    let place = service.place(&caller).await?;
    drop(received);
    let report = execute::run(&service, "native", &job, place).await?;
    super::json(&report)
}
