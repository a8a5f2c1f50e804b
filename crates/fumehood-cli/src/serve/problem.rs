//! Errors as HTTP tells them: problem documents (RFC 9457).

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use fumehood::{Error, ErrorKind, Missing};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// Why a request was not done.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// What kind of problem it is: `urn:fumehood:problem:` and one word.
    #[serde(rename = "type", serialize_with = "as_urn")]
    #[schemars(with = "String")]
    pub(crate) kind: &'static str,
    /// The kind in words.
    pub(crate) title: &'static str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What is wrong with this request, and what would be right.
    pub(crate) detail: String,
    /// The fields of the job that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) errors: Vec<FieldError>,
    /// The guarantees that this host cannot hold.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) missing: Vec<Missing>,
    /// Seconds after which trying again makes sense.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) retry_after: Option<u32>,
}

fn as_urn<S: Serializer>(word: &&'static str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:fumehood:problem:{word}"))
}

/// A field of a job that is wrong.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct FieldError {
    /// Its path, such as `limits.memory`.
    pub(crate) field: String,
    /// The value as the caller wrote it, unless it might be a secret.
    pub(crate) value: String,
    /// What is wrong with it and what would be right.
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) const MEDIA_TYPE: &'static str = "application/problem+json";

    pub(crate) fn new(
        status: StatusCode,
        word: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind: word,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            missing: Vec::new(),
            retry_after: None,
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request is malformed", detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Who asks is not known", detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The policy refuses this", detail)
    }

    /// A field that asks for what the policy does not give.
    pub(crate) fn not_permitted(
        field: impl Into<String>,
        value: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        let (field, detail) = (field.into(), detail.into());
        let mut problem = Self::forbidden(format!("{field}: {detail}"));
        problem.errors = vec![FieldError { field, value: value.into(), detail }];
        problem
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail)
    }

    pub(crate) fn wrong_method() -> Self {
        let detail = "this path does not take that method; the Allow header names what it takes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Wrong method", detail)
    }

    pub(crate) fn wrong_media_type(detail: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "Wrong content type", detail)
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    pub(crate) fn too_slow(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "The body came too slowly", detail)
    }

    pub(crate) fn queue_full(detail: impl Into<String>, retry_after: Duration) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self::new(status, "queue-full", "Too many requests wait", detail).later(retry_after)
    }

    pub(crate) fn no_place_in_time(detail: impl Into<String>, retry_after: Duration) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "no-place-in-time", "Nothing became free in time", detail)
            .later(retry_after)
    }

    pub(crate) fn stopping() -> Self {
        let detail = "the service is stopping; nothing was run";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "stopping", "The service is stopping", detail)
            .later(Duration::from_secs(1))
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "internal", "The service failed", detail)
    }

    fn later(mut self, after: Duration) -> Self {
        self.retry_after = Some(u32::try_from(after.as_secs()).unwrap_or(u32::MAX).max(1));
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let invalid = StatusCode::UNPROCESSABLE_ENTITY;
        let detail = error.to_string();
        match error.kind() {
            ErrorKind::InvalidJob { field, value, problem } => {
                let error = FieldError {
                    field: field.clone(),
                    value: value.clone(),
                    detail: problem.clone(),
                };
                let problem = Self::new(invalid, "invalid-job", "The job is not valid", detail);
                Self { errors: vec![error], ..problem }
            }
            ErrorKind::ProgramNotFound { .. } => {
                Self::new(invalid, "program-not-found", "The program was not found", detail)
            }
            ErrorKind::ProgramNotExecutable { .. } => {
                let title = "The program cannot be executed";
                Self::new(invalid, "program-not-executable", title, detail)
            }
            ErrorKind::Image { .. } => {
                Self::new(invalid, "image", "The image cannot be used", detail)
            }
            ErrorKind::Unsupported { missing } => {
                let status = StatusCode::NOT_IMPLEMENTED;
                let title = "This host cannot hold what is required";
                let problem = Self::new(status, "unsupported", title, detail);
                Self { missing: missing.clone(), ..problem }
            }
            ErrorKind::Start { step, source } if is_of_the_job(step) => {
                let detail = format!("{step}: {source}");
                Self::new(invalid, "not-started", "The program cannot be started so", detail)
            }
            // Steps and causes are for the operator's log.
            _ => Self::internal("the sandbox failed; the service's log says how"),
        }
    }
}

/// Whether a step fails because of what the job says: its directory is not there, or its arguments
/// are more than the kernel takes (`execve(2)`, `E2BIG`).
pub(crate) fn is_of_the_job(step: &str) -> bool {
    matches!(step.split(' ').next(), Some("chdir" | "exec"))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status(), text).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(Self::MEDIA_TYPE));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(axum::http::header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
