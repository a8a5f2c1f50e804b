//! Who may ask, and from which site.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    AUTHORIZATION, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fumehood::Result;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::config::{AccessConfig, Config, wrong};
use super::head;
use super::line::Claim;
use super::peer::Peer;
use super::problem::Problem;
use super::service::Shared;
use crate::error::internal;

/// Who asks. An extension of every guarded request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The token's name, `anonymous`, or `uid 1000`.
    pub(crate) name: Arc<str>,
    most_places: usize,
    most_waiting: usize,
    /// The profiles that may be named; all if none is listed.
    profiles: Arc<[String]>,
}

impl Caller {
    pub(crate) fn unlimited(name: impl Into<Arc<str>>) -> Self {
        let (most_places, most_waiting) = (usize::MAX, usize::MAX);
        Self { name: name.into(), most_places, most_waiting, profiles: Arc::default() }
    }

    /// What the caller may claim in a line.
    pub(crate) fn claim(&self) -> Claim {
        Claim {
            name: Arc::clone(&self.name),
            most_places: self.most_places,
            most_waiting: self.most_waiting,
        }
    }

    /// Whether the caller may base a job on this profile.
    pub(crate) fn may_use(&self, profile: &str) -> bool {
        self.profiles.is_empty() || self.profiles.iter().any(|own| own == profile)
    }
}

/// Who may ask: the tokens that were read from their file.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// None if whoever can connect may ask.
    tokens: Option<Vec<Token>>,
}

struct Token {
    digest: [u8; 32],
    caller: Caller,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// A file of tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFile {
    token: Vec<TokenEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    name: String,
    /// The token in clear text.
    secret: Option<String>,
    /// Its SHA-256 in hexadecimal, so that the file holds nothing that must be kept secret.
    sha256: Option<String>,
    /// How many of its runs may be in progress.
    running: Option<usize>,
    /// How many of its requests may wait.
    waiting: Option<usize>,
    #[serde(default)]
    profiles: Vec<String>,
}

impl Access {
    /// Reads the file of tokens, if there is one.
    ///
    /// # Errors
    /// Names the file, the token and what is wrong, never the token itself.
    pub(crate) fn load(config: &Config) -> Result<Self> {
        let Some(path) = &config.access.tokens else { return Ok(Self::default()) };
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(internal(format!("read {shown}")))?;
        let file = parse(&text).map_err(|problem| wrong(&format!("{shown}: {problem}")))?;
        if file.token.iter().any(|entry| entry.secret.is_some()) && is_readable_by_all(path) {
            let fix = format!("chmod o-r {shown}, or keep sha256 instead of secret");
            return Err(wrong(&format!("{shown}: holds secrets and everybody can read it: {fix}")));
        }
        let tokens = read(file).map_err(|problem| wrong(&format!("{shown}: {problem}")))?;
        Ok(Self { tokens: Some(tokens) })
    }

    /// Who sends these headers through this connection.
    fn caller(
        &self,
        peer: Peer,
        headers: &HeaderMap,
        config: &AccessConfig,
    ) -> Result<Caller, Problem> {
        if let Peer::Unix { uid } = peer {
            let own = rustix::process::geteuid().as_raw();
            return if uid == 0 || uid == own || config.uids.contains(&uid) {
                Ok(Caller::unlimited(format!("{USER}{uid}")))
            } else {
                Err(Problem::forbidden(format!(
                    "user {uid} may not ask; access.uids lists who may"
                )))
            };
        }
        let Some(tokens) = &self.tokens else { return Ok(Caller::unlimited(ANONYMOUS)) };
        let presented = bearer(headers)
            .ok_or_else(|| Problem::unauthorized("send a token: Authorization: Bearer TOKEN"))?;
        let digest: [u8; 32] = Sha256::digest(presented).into();
        // Every token is compared, and every byte of it, so that time tells nothing.
        let found = tokens.iter().fold(None, |found, token| {
            if equal(&token.digest, &digest) { Some(token) } else { found }
        });
        let found = found.map(|token| token.caller.clone());
        found.ok_or_else(|| Problem::unauthorized("the token is not known"))
    }
}

/// What is in a file of tokens. A value of the wrong type, such as a token without quotes, is not repeated.
fn parse(text: &str) -> Result<TokenFile, String> {
    let toml = toml::Deserializer::parse(text).map_err(|error| error.message().to_owned())?;
    serde_path_to_error::deserialize(toml).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.into_inner());
        let message = inner.message();
        // From behind: the value, which is a part of what is said, may hold the same words.
        match message.rsplit_once(", expected ") {
            Some((said, right)) if said.starts_with("invalid ") => {
                let right = match right {
                    "usize" => "a whole number, 0 or more",
                    "a sequence" => "a list",
                    right => right,
                };
                format!("{path}: must be {right}")
            }
            _ => format!("{path}: {message}"),
        }
    })
}

/// All tokens of a file. What belongs to a caller is told by its name, so no two may have the same, nor
/// that of somebody who has no token.
fn read(file: TokenFile) -> Result<Vec<Token>, String> {
    let mut names = BTreeSet::new();
    for TokenEntry { name, .. } in &file.token {
        if name.is_empty() || *name == *ANONYMOUS || name.starts_with(USER) {
            let meaning = "others go by it: it must be neither empty nor \"anonymous\", nor begin \
                           with \"uid \"";
            return Err(format!("token {name:?}: name: {meaning}"));
        }
        if !names.insert(name.clone()) {
            return Err(format!("token {name:?}: name: another token has it"));
        }
    }
    file.token.into_iter().map(Token::read).collect()
}

/// What callers without a token go by: everybody, and users of a Unix socket with their number.
const ANONYMOUS: &str = "anonymous";
const USER: &str = "uid ";

impl Token {
    fn read(entry: TokenEntry) -> Result<Self, String> {
        let TokenEntry { name, secret, sha256, running, waiting, profiles } = entry;
        let digest = match (secret, sha256) {
            (Some(secret), None) if secret.len() >= 16 => Sha256::digest(secret).into(),
            (Some(_), None) => return Err(format!("token {name:?}: secret: at least 16 bytes")),
            (None, Some(text)) => from_hex(&text)
                .ok_or_else(|| format!("token {name:?}: sha256: must be 64 hexadecimal digits"))?,
            _ => return Err(format!("token {name:?}: needs either secret or sha256")),
        };
        let caller = Caller {
            name: name.into(),
            most_places: running.unwrap_or(usize::MAX),
            most_waiting: waiting.unwrap_or(usize::MAX),
            profiles: profiles.into(),
        };
        Ok(Self { digest, caller })
    }
}

fn is_readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2).filter(|_| digits)?, 16).ok()?;
    }
    Some(bytes)
}

/// Compares in a time that does not depend on what is compared.
fn equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let differences = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(differences) == 0
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Lets only known callers pass, and says who they are.
pub(crate) async fn guard(
    State(service): State<Shared>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let settings = service.settings();
    match settings.access.caller(peer, request.headers(), &settings.config.access) {
        Ok(caller) => {
            let name = Arc::clone(&caller.name);
            request.extensions_mut().insert(caller);
            let mut response = next.run(request).await;
            response.extensions_mut().insert(super::log::CallerName(name));
            response
        }
        Err(problem) => problem.into_response(),
    }
}

/// Refuses what pages of other sites send, and names that somebody else's server of names may have
/// pointed here.
pub(crate) async fn same_site(
    State(service): State<Shared>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let settings = service.settings();
    let headers = request.headers();
    if let Err(problem) = head::judge(&request) {
        return problem.into_response();
    }
    let host = head::host(&request);
    let by_name = settings.access.tokens.is_none() && matches!(peer, Peer::Tcp(_));
    if by_name && !host.is_some_and(|host| is_ours(host, &settings.config.access.hosts)) {
        let detail = "this is not a name of this service; access.hosts lists further ones";
        return Problem::forbidden(format!("Host: {detail}")).into_response();
    }
    let Some(origin) = headers.get(ORIGIN).cloned() else { return next.run(request).await };
    let shown = origin.to_str().unwrap_or("null");
    if is_same_origin(shown, host) {
        return next.run(request).await;
    }
    if !settings.config.access.origins.iter().any(|own| own == shown) {
        let detail = "pages of other sites may not ask; access.origins lists who may";
        return Problem::forbidden(format!("Origin: {detail}")).into_response();
    }
    let asks_first =
        request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let answer = if asks_first { preflight().into_response() } else { next.run(request).await };
    allowed(answer, origin)
}

/// What a browser asks before it lets a page of another site send a job.
fn preflight() -> impl IntoResponse {
    const HEADERS: &str = "authorization, content-type, idempotency-key, last-event-id, x-argument";
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers)
}

/// Lets a page of that site read an answer.
fn allowed(mut answer: Response, origin: HeaderValue) -> Response {
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("Origin"));
    let readable = HeaderValue::from_static("location, retry-after, x-request-id");
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, readable);
    answer
}

fn is_same_origin(origin: &str, host: Option<&str>) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some() && authority == host
}

/// Whether a name with or without a port is an address, `localhost`, or listed.
fn is_ours(host: &str, names: &[String]) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = without_port.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<std::net::IpAddr>().is_ok()
        || without_port.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| name.eq_ignore_ascii_case(without_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_ours() {
        let listed = ["sandbox.example".to_owned()];
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8375",
            "10.1.2.3",
            "[::1]:80",
            "[::1]",
            "sandbox.example:443",
        ] {
            assert!(is_ours(host, &listed), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", ""] {
            assert!(!is_ours(host, &listed), "{host}");
        }
    }

    #[test]
    fn an_origin_is_the_same_if_its_authority_is() {
        assert!(is_same_origin("http://localhost:1", Some("localhost:1")));
        for (origin, host) in
            [("http://localhost:2", Some("localhost:1")), ("null", None), ("http://", None)]
        {
            assert!(!is_same_origin(origin, host), "{origin}");
        }
    }

    #[test]
    fn digests_are_read() {
        assert_eq!(from_hex(&"0f".repeat(32)), Some([0x0f; 32]));
        for wrong in ["", "0f", &"0g".repeat(32), &"+1".repeat(32), &"ä".repeat(32)] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }

    fn file(text: &str) -> Result<Vec<Token>, String> {
        read(parse(text)?)
    }

    #[test]
    fn names_tell_callers_apart() {
        let token =
            |name: &str| format!("[[token]]\nname = '{name}'\nsecret = '0123456789abcdef'\n");
        for name in ["", "anonymous", "uid 0"] {
            let said = file(&token(name)).unwrap_err();
            assert!(said.starts_with(&format!("token {name:?}: name: others go by it")), "{said}");
        }
        let said = file(&(token("a") + &token("b") + &token("a"))).unwrap_err();
        assert_eq!(said, "token \"a\": name: another token has it");
        assert_eq!(file(&(token("a") + &token("b"))).unwrap().len(), 2);
    }

    #[test]
    fn a_token_is_known_by_itself_and_by_its_digest() {
        let secret = "0123456789abcdef";
        let digest: String =
            Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
        let tokens = file(&format!(
            "[[token]]\nname = 'a'\nsecret = '{secret}'\n[[token]]\nname = 'b'\nsha256 = '{digest}'"
        ));
        let tokens = tokens.unwrap();
        assert!(equal(&tokens[0].digest, &tokens[1].digest));
        assert!(!format!("{tokens:?}").contains(secret));
    }

    #[test]
    fn tokens_of_the_wrong_type_are_refused_without_being_repeated() {
        for (entry, right) in [
            ("secret = 1234567890123456", "token[0].secret: must be a string"),
            ("sha256 = 1234567890123456.0", "token[0].sha256: must be a string"),
            ("running = '1234567890123456'", "token[0].running: must be a whole number, 0 or more"),
            (
                "running = 'a, expected 1234567890123456'",
                "token[0].running: must be a whole number, 0 or more",
            ),
            ("running = -1234567890123456", "token[0].running: must be a whole number, 0 or more"),
        ] {
            assert_eq!(file(&format!("[[token]]\nname = 'a'\n{entry}")).unwrap_err(), right);
        }
        assert_eq!(file("token = '1234567890123456'").unwrap_err(), "token: must be a list");
        let said = file("[[token]]\nname = 'a'\nsecrte = '1234567890123456'").unwrap_err();
        assert!(said.contains("unknown field `secrte`") && !said.contains("1234"), "{said}");
    }

    #[test]
    fn wrong_tokens_are_refused_without_being_repeated() {
        for entry in [
            "name = 'a'",
            "name = 'a'\nsecret = 'short'",
            "name = 'a'\nsha256 = 'abc'",
            "name = 'a'\nsecret = '0123456789abcdef'\nsha256 = 'abc'",
        ] {
            let said = file(&format!("[[token]]\n{entry}")).unwrap_err();
            assert!(said.contains("token \"a\"") && !said.contains("0123"), "{said}");
        }
    }
}
