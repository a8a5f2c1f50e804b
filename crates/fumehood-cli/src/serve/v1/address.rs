//! What the address of a request says: names in its path, and parameters.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::serve::problem::Problem;

/// The name in a path.
#[derive(Debug)]
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(head, state).await;
        path.map(|Path(name)| Self(name)).map_err(|error| Problem::not_found(error.body_text()))
    }
}

/// A parameter behind the `?`, with its escapes resolved. A plus is a plus.
///
/// # Errors
/// 400 for escapes that are none, or that come to no text.
pub(super) fn parameter(head: &Parts, name: &str) -> Result<Option<String>, Problem> {
    let mut pairs = head.uri.query().unwrap_or_default().split('&');
    let found = pairs.find_map(|pair| pair.split_once('=').filter(|(own, _)| *own == name));
    let Some((_, written)) = found else { return Ok(None) };
    let wrong = || {
        let detail = "% must come with two hexadecimal digits, and together they must be UTF-8";
        Problem::bad_request(format!("{name}: {written:?}: {detail}"))
    };
    decoded(written).ok_or_else(wrong).map(Some)
}

/// Resolves escapes (RFC 3986, section 2.1). What only looks like one the decoder would leave as it is.
fn decoded(text: &str) -> Option<String> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let are_escapes = text.split('%').skip(1).all(is_escape);
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    are_escapes.then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved() {
        for (text, wanted) in [
            ("", Some("")),
            ("c++", Some("c++")),
            ("a%20b", Some("a b")),
            ("%c3%A4%25", Some("ä%")),
            ("%", None),
            ("a%2", None),
            ("%+1", None),
            ("%g0", None),
            ("%%20", None),
            ("%c3", None),
        ] {
            assert_eq!(decoded(text).as_deref(), wanted, "{text}");
        }
    }
}
