//! The files of the page, compressed in the binary.

use std::io::Read;

use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderName, IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

/// A file of the page.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) name: &'static str,
    media_type: &'static str,
    gzip: &'static [u8],
}

macro_rules! asset {
    ($name:literal, $media_type:literal) => {
        Asset {
            name: $name,
            media_type: $media_type,
            gzip: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
        }
    };
}

/// Scripts and styles come from files of ours, nothing comes from elsewhere, nothing is sent
/// elsewhere, no other site frames the page, and no text becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// What every file is sent with. It is asked for again every time, which costs no more than its tag:
/// so a page and its script never come from two versions of the service.
const HEADERS: [(HeaderName, &str); 7] = [
    (CACHE_CONTROL, "no-cache"),
    (VARY, "accept, accept-encoding"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

impl Asset {
    pub(super) const INDEX: Self = asset!("index.html", "text/html; charset=utf-8");

    pub(super) const ALL: [Self; 4] = [
        asset!("page.js", "text/javascript; charset=utf-8"),
        asset!("page.css", "text/css; charset=utf-8"),
        asset!("icon.svg", "image/svg+xml"),
        asset!("licences.txt", "text/plain; charset=utf-8"),
    ];

    /// The file as this client takes it, or word that it has it already.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        let tag = self.tag();
        let mut response = if names(headers, &IF_NONE_MATCH, &tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.content(names(headers, &ACCEPT_ENCODING, "gzip"))
        };
        let fixed = HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
        response.headers_mut().extend(fixed);
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert(ETAG, tag);
        }
        response
    }

    fn content(&self, gzip: bool) -> Response {
        let media_type = (CONTENT_TYPE, self.media_type);
        if gzip {
            let body = Bytes::from_static(self.gzip);
            return ([media_type, (CONTENT_ENCODING, "gzip")], body).into_response();
        }
        ([media_type], self.plain()).into_response()
    }

    fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        // What the build compressed can be read, and memory does not fail to be written to.
        let _ = GzDecoder::new(self.gzip).read_to_end(&mut plain);
        plain
    }

    /// Weak, because it stands for the file however it is encoded.
    fn tag(&self) -> String {
        let digest = Sha256::digest(self.gzip);
        let hex: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        format!("W/\"{hex}\"")
    }
}

/// Whether a list that a client sent names this, or anything at all, and does not rule it out.
fn names(headers: &HeaderMap, header: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name == wanted || name == "*");
        is_named && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(HeaderName, &str)]) -> HeaderMap {
        let pairs = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        pairs.collect()
    }

    #[test]
    fn whoever_takes_gzip_gets_it_and_others_the_plain_file() {
        let source = include_bytes!("../../../page/built/page.js");
        let script = &Asset::ALL[0];
        assert_eq!(script.plain(), source);
        for (encodings, coded) in
            [("gzip, deflate, br", true), ("br;q=1, gzip;q=0.5", true), ("gzip;q=0, br", false)]
        {
            let response = script.answer(&asked(&[(ACCEPT_ENCODING, encodings)]));
            assert_eq!(response.headers().contains_key(CONTENT_ENCODING), coded, "{encodings}");
        }
        assert!(!script.answer(&HeaderMap::new()).headers().contains_key(CONTENT_ENCODING));
    }

    #[test]
    fn whoever_has_a_file_does_not_get_it_again() {
        let first = Asset::INDEX.answer(&HeaderMap::new());
        let tag = first.headers()[ETAG].to_str().unwrap();
        for (held, status) in [(tag, 304), (&format!("\"a\", {tag}"), 304), ("W/\"other\"", 200)] {
            let again = Asset::INDEX.answer(&asked(&[(IF_NONE_MATCH, held)]));
            assert_eq!(again.status().as_u16(), status, "{held}");
            assert!(again.headers().contains_key(CONTENT_SECURITY_POLICY));
        }
    }

    #[test]
    fn the_page_has_nothing_that_its_policy_would_forbid() {
        let page = String::from_utf8(Asset::INDEX.plain()).unwrap();
        for forbidden in ["<style", "style=", "onclick", "http://", "https://", "javascript:"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert_eq!(
            page.matches("<script").count(),
            page.matches("<script type=\"module\" src=").count()
        );
    }

    #[test]
    fn the_page_names_only_files_that_there_are() {
        let page = String::from_utf8(Asset::INDEX.plain()).unwrap();
        let named = page.split("\"assets/").skip(1).filter_map(|rest| rest.split('"').next());
        let named: Vec<_> = named.collect();
        assert!(named.len() >= Asset::ALL.len(), "{named:?}");
        for name in named {
            assert!(Asset::ALL.iter().any(|asset| asset.name == name), "{name}");
        }
    }
}
