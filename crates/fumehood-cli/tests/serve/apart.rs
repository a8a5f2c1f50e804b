//! What callers have of each other: nothing; and what the operator requires of every job.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::support::{Promise, Request, Service, promises};

promises! {
    nobody_ends_a_run_of_somebody_else,
    a_key_is_its_caller_s_own,
    what_the_operator_requires_every_job_requires,
    secrets_that_everybody_can_read_are_refused,
}

const ONE: &str = "a-token-of-the-first";
const OTHER: &str = "a-token-of-the-other";

/// A file of two tokens, readable by whom the mode says.
fn tokens(dir: &Path, mode: u32) {
    let text = format!(
        "[[token]]\nname = 'one'\nsecret = '{ONE}'\n[[token]]\nname = 'other'\nsecret = '{OTHER}'"
    );
    let file = dir.join("tokens");
    fs::write(&file, text).expect("the directory is ours");
    fs::set_permissions(&file, Permissions::from_mode(mode)).expect("the file is ours");
}

/// A service with two callers.
fn of_two() -> Service {
    let dir = tempfile::tempdir().expect("a place for files");
    tokens(dir.path(), 0o600);
    Service::start_in(dir, "[access]\ntokens = 'DIR/tokens'")
}

fn with_token(request: Request, token: &str) -> Request {
    request.header("authorization", &format!("Bearer {token}"))
}

/// Whose run it is not is told the same as if there were none.
fn nobody_ends_a_run_of_somebody_else() -> Promise {
    let service = of_two();
    let mut client = service.client();
    let job = json!({ "args": ["sh", "-c", "echo now; sleep 50"] });
    client.tell(&with_token(Request::run(&job).streaming(), ONE));
    let mut events = client.begin().1;
    let start = events.event().expect("it starts");
    assert_eq!(events.event().expect("it prints")["data"]["text"], "now\n");
    let end = |id: &str, token| {
        service.ask(&with_token(Request::new("DELETE", &format!("/v1/runs/{id}")), token))
    };
    let id = start["id"].as_str().expect("a name");
    let refused = end(id, OTHER).problem(404, "not-found");
    let unknown = end("run_of_nobody", OTHER).problem(404, "not-found");
    assert_eq!(refused["detail"], unknown["detail"]);
    end(id, ONE).is(202);
    let last = events.events().pop().expect("it ends");
    assert_eq!(last["report"]["outcome"]["kind"], "cancelled", "{last}");
    Ok(())
}

fn a_key_is_its_caller_s_own() -> Promise {
    let service = of_two();
    let job = json!({ "args": ["cat", "/proc/sys/kernel/random/uuid"] });
    let request = Request::run(&job).header("idempotency-key", "a");
    let of = |token| service.ask(&with_token(request.clone(), token)).is(200);
    let (one, other) = (of(ONE), of(OTHER));
    assert_ne!(one.body, other.body, "an answer went to somebody else");
    assert_eq!(other.header("idempotency-replayed"), None);
    assert_eq!(of(ONE).body, one.body);
    Ok(())
}

/// No cell of ours has a kernel of its own: where that is required nothing runs, by whatever door.
fn what_the_operator_requires_every_job_requires() -> Promise {
    let service = Service::start("require = ['kernel-boundary']\n[profiles.a]");
    let job = json!({ "args": ["true"] });
    for path in ["/v1/runs", "/v1/runs?profile=a"] {
        let refused = service.ask(&Request::post(path, &job)).problem(501, "unsupported");
        assert_eq!(refused["missing"][0]["guarantee"], "kernel-boundary", "{refused}");
    }
    Ok(())
}

fn secrets_that_everybody_can_read_are_refused() -> Promise {
    let dir = tempfile::tempdir().expect("a place for files");
    tokens(dir.path(), 0o644);
    let file = dir.path().join("tokens").display().to_string();
    let (status, said) = Service::refused(&format!("[access]\ntokens = '{file}'"));
    assert_eq!(status.code(), Some(125));
    assert!(said.contains(&format!("chmod o-r {file}")), "{said}");
    assert!(!said.contains(ONE) && !said.contains(OTHER), "{said}");
    Ok(())
}
