//! What the address of a request says: names in its path, and parameters.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

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
    let bytes = decoded(written.as_bytes()).ok_or_else(wrong)?;
    String::from_utf8(bytes).map(Some).map_err(|_| wrong())
}

/// Resolves escapes (RFC 3986, section 2.1).
fn decoded(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        (text, _) = match (first, rest) {
            (b'%', [high, low, rest @ ..]) => {
                let digit = |digit: u8| char::from(digit).to_digit(16);
                let byte = digit(*high)? * 16 + digit(*low)?;
                (rest, bytes.push(u8::try_from(byte).ok()?))
            }
            (b'%', _) => return None,
            (byte, rest) => (rest, bytes.push(byte)),
        };
    }
    Some(bytes)
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
        ] {
            let wanted = wanted.map(|text| text.as_bytes().to_vec());
            assert_eq!(decoded(text.as_bytes()), wanted, "{text}");
        }
    }
}
