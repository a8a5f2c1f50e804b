//! What the head of a request may not say, whatever it asks for: what is not understood is refused rather
//! than passed over.

use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, EXPECT, HOST, HeaderName, TRANSFER_ENCODING};
use axum::http::{HeaderMap, StatusCode, Version};

use super::problem::Problem;

/// Whoever is between us and a client may go by another than we do (RFC 9110, section 5.3; RFC 9112,
/// section 3.2).
const ONCE: [&str; 6] =
    ["Host", "Origin", "Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"];

/// # Errors
/// 400, 415, 417 or 501, which name the header.
pub(super) fn judge(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    // RFC 9112, section 3.2: even where the target has a name.
    if request.version() == Version::HTTP_11 && !headers.contains_key(HOST) {
        return Err(Problem::bad_request("Host: must come with HTTP/1.1; name this service"));
    }
    if let Some(name) = ONCE.iter().find(|&&name| headers.get_all(name).iter().nth(1).is_some()) {
        return Err(Problem::bad_request(format!("{name}: must come once")));
    }
    if !says_only(headers, &CONTENT_ENCODING, "identity") {
        let detail = "Content-Encoding: bodies are taken as they are; send it without";
        return Err(Problem::wrong_media_type(detail));
    }
    if !says_only(headers, &EXPECT, "100-continue") {
        let (status, title) = (StatusCode::EXPECTATION_FAILED, "Something unknown is expected");
        let detail = "Expect: 100-continue is all that can be expected";
        return Err(Problem::new(status, "expectation", title, detail));
    }
    let codings = headers.get_all(TRANSFER_ENCODING).iter().count();
    if codings > 1 || !says_only(headers, &TRANSFER_ENCODING, "chunked") {
        let (status, title) = (StatusCode::NOT_IMPLEMENTED, "The transfer coding is not known");
        let detail = "Transfer-Encoding: must be chunked, once, and nothing else";
        return Err(Problem::new(status, "transfer-coding", title, detail));
    }
    Ok(())
}

/// Whether a header that is there says nothing but this word.
fn says_only(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let mut values = headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii());
    values.all(|value| value.is_empty() || value.eq_ignore_ascii_case(word.as_bytes()))
}

/// By which name a request was sent here: that of its target, if it has one, counts more than `Host`
/// (RFC 9112, section 3.2.2).
pub(super) fn host(request: &Request) -> Option<&str> {
    let target = request.uri().authority().map(axum::http::uri::Authority::as_str);
    target.or_else(|| request.headers().get(HOST)?.to_str().ok())
}
