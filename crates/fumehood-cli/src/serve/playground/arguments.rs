//! The arguments of a program: one header each.

use axum::http::HeaderMap;

/// All arguments in the order in which they were sent. What is not UTF-8 is made so, as by Go's
/// `encoding/json`, through which the original passes them.
pub(super) fn of(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all("x-argument").iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn arguments_keep_their_order_and_may_be_empty() {
        let mut headers = HeaderMap::new();
        for value in [&b"-b"[..], b"", b"a, b", b"\xff"] {
            headers.append("X-Argument", HeaderValue::from_bytes(value).unwrap());
            headers.append("x-other", HeaderValue::from_static("no"));
        }
        assert_eq!(of(&headers), ["-b", "", "a, b", "\u{fffd}"]);
    }
}
