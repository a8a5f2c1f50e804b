//! What a request asks for: a job in JSON, or a form with a job and files.

use std::path::Path;

use axum::body::Body;
use axum::extract::multipart::Field;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use fumehood::{Input, Job, Stdin};
use sha2::{Digest, Sha256};

use super::address::parameter;
use crate::serve::access::Caller;
use crate::serve::body::{self, Received};
use crate::serve::line::Place;
use crate::serve::policy;
use crate::serve::problem::Problem;
use crate::serve::service::{Shared, heavy};

/// A job that may be run, and what its body takes in memory.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) job: Job,
    pub(super) digest: [u8; 32],
    /// To be dropped when the program has started.
    pub(super) held: Option<Place>,
}

/// Reads and judges the job of a request.
///
/// # Errors
/// 400, 408, 413, 415, 422 and 403, as the body, the job or the policy have it.
pub(super) async fn read(
    service: &Shared,
    caller: &Caller,
    head: &Parts,
    body: Body,
) -> Result<Asked, Problem> {
    let form = Form::of(head)?;
    let profile = parameter(head, "profile")?;
    let profile = profile.as_deref();
    let settings = service.settings();
    let limit = settings.config.http.body_size.0;
    let Received { bytes, held } = body::read(service, caller, &head.headers, body, limit).await?;
    let mut summary = Summary::default();
    summary.add(profile.unwrap_or_default().as_bytes());
    let job = match form {
        Form::Json => {
            summary.add(&bytes);
            heavy(bytes.len(), || job(&bytes))?
        }
        Form::Multipart => parts(head, bytes, &mut summary).await?,
    };
    let job = policy::admit(job, profile, caller, &settings.config)?;
    Ok(Asked { job, digest: summary.0.finalize().into(), held })
}

/// What a request asks for, so short that it can be kept. Of a form it is the parts that count: what
/// stands between them is new each time that it is sent.
#[derive(Default)]
struct Summary(Sha256);

impl Summary {
    fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        heavy(bytes.len(), || self.0.update(bytes));
    }
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Json,
    Multipart,
}

impl Form {
    /// Anything else is refused, also because pages of other sites can post it without asking
    /// whether they may.
    fn of(head: &Parts) -> Result<Self, Problem> {
        let named = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = named.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "multipart/form-data" => Ok(Self::Multipart),
            _ => {
                let right = "the content type must be application/json or multipart/form-data";
                Err(Problem::wrong_media_type(right))
            }
        }
    }
}

fn job(bytes: &[u8]) -> Result<Job, Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Problem::bad_request(format!("the job is not UTF-8: {error}")))?;
    if values(bytes) > MOST_VALUES {
        let detail = format!("the job has more than {MOST_VALUES} values");
        return Err(Problem::too_large(detail));
    }
    // Text that is no JSON at all is malformed; a job that is wrong is not valid.
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        return Err(Problem::bad_request(format!("the job is not JSON: {error}")));
    }
    Job::from_json(text).map_err(|error| Problem::from(&error))
}

/// How many values a job may have. In memory each takes many times what it takes as text.
const MOST_VALUES: usize = 1 << 16;

/// How many values a JSON text has at most, told without reading it into memory.
fn values(text: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// A form: the part `job` in JSON, and files.
async fn parts(head: &Parts, bytes: Vec<u8>, summary: &mut Summary) -> Result<Job, Problem> {
    let mut request = Request::new(Body::from(bytes));
    request.headers_mut().clone_from(&head.headers);
    // Among them is that bodies are limited elsewhere; else it would be done here once more.
    request.extensions_mut().clone_from(&head.extensions);
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| Problem::bad_request(error.body_text()))?;
    let (mut found, mut inputs, mut stdin) = (None, Vec::new(), None);
    while let Some(field) = form.next_field().await.map_err(|error| broken(&error))? {
        let part = Part::read(field).await?;
        summary.add(part.name.as_bytes());
        summary.add(part.file_name.as_bytes());
        summary.add(&part.content);
        match part.name.as_str() {
            "job" => found = Some(job(&part.content)?),
            "stdin" => stdin = Some(part.content),
            "tar" => inputs.push(Input::tar_bytes(part.content)),
            "file" => inputs.push(part.file()?),
            _ => inputs.push(part.file()?.executable()),
        }
    }
    let mut job = found.ok_or_else(|| Problem::bad_request("the form has no part job"))?;
    job.inputs.extend(inputs);
    if let Some(bytes) = stdin {
        job.stdin = Stdin::Bytes(bytes);
    }
    Ok(job)
}

fn broken(error: &axum::extract::multipart::MultipartError) -> Problem {
    Problem::bad_request(format!("the form is broken: {}", error.body_text()))
}

/// A part of a form.
struct Part {
    name: String,
    file_name: String,
    content: Vec<u8>,
}

impl Part {
    async fn read(field: Field<'_>) -> Result<Self, Problem> {
        const KNOWN: [&str; 5] = ["job", "stdin", "tar", "file", "program"];
        let name = field.name().unwrap_or_default().to_owned();
        if !KNOWN.contains(&name.as_str()) {
            let known = "known are job, stdin, tar, file and program";
            return Err(Problem::bad_request(format!("unknown part {name:?}; {known}")));
        }
        let file_name = field.file_name().unwrap_or_default().to_owned();
        let content = field.bytes().await.map_err(|error| broken(&error))?;
        Ok(Self { name, file_name, content: content.into() })
    }

    /// A file in the working directory, by the name that the client gives it.
    fn file(self) -> Result<Input, Problem> {
        if self.file_name.is_empty() || self.file_name.starts_with('/') {
            let detail = "a part file or program needs a filename, relative to /workspace";
            return Err(Problem::bad_request(detail));
        }
        // Whether it leads anywhere else is judged with all other paths of the job.
        let to = Path::new(Job::CWD).join(self.file_name);
        Ok(Input::bytes(self.content).to(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_texts() {
        for (text, count) in [
            ("1", 1),
            (r#"{"a": [1, 2]}"#, 4),
            (r#""[,{""#, 1),
            (r#"["\",[", 1]"#, 3),
            (r#"["\\", 1]"#, 3),
        ] {
            assert_eq!(values(text.as_bytes()), count, "{text}");
        }
    }
}
