//! Who may ask.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Client, Promise, Request, Service, promises, skip, wait_until};

promises! {
    a_token_is_needed_where_there_are_tokens,
    a_token_may_have_few_places_and_profiles,
    strangers_addresses_need_tokens,
    settings_that_are_wrong_name_their_field,
    pages_of_other_sites_are_refused,
    names_that_are_not_ours_are_refused,
    a_unix_socket_knows_its_users,
    settings_are_read_anew,
    settings_that_are_read_anew_open_nothing,
}

const SECRET: &str = "a-token-of-our-own";

fn run() -> Request {
    Request::run(&json!({ "args": ["true"] }))
}

fn with_token(request: Request, token: &str) -> Request {
    request.header("authorization", &format!("Bearer {token}"))
}

/// A service whose callers need the tokens that are in the file.
fn guarded(tokens: &str, settings: &str) -> Service {
    let dir = tempfile::tempdir().expect("a place for files");
    let file = dir.path().join("tokens");
    std::fs::write(&file, tokens).expect("the directory is ours");
    use std::os::unix::fs::PermissionsExt;
    let ours = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, ours).expect("the directory is ours");
    Service::start_in(dir, &format!("log = 'DIR/log'\n{settings}\n[access]\ntokens = 'DIR/tokens'"))
}

fn a_token_is_needed_where_there_are_tokens() -> Promise {
    let service = guarded(&format!("[[token]]\nname = 'one'\nsecret = '{SECRET}'"), "");
    let refused = service.ask(&run());
    refused.problem(401, "unauthorized");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    for wrong in ["", "x", "a-token-of-our-owN", "a-token-of-our-own2"] {
        service.ask(&with_token(run(), wrong)).problem(401, "unauthorized");
    }
    for path in ["/metrics", "/v1/support", "/v1/openapi.json", "/v1/jobs/job_1"] {
        service.ask(&Request::get(path)).problem(401, "unauthorized");
    }
    for path in ["/livez", "/readyz", "/"] {
        service.ask(&Request::get(path)).is(200);
    }
    service.ask(&with_token(run(), SECRET)).is(200);
    let log = std::fs::read_to_string(service.dir().join("log")).expect("a log");
    assert!(log.contains("\"caller\":\"one\"") && !log.contains(SECRET), "{log}");
    Ok(())
}

fn a_token_may_have_few_places_and_profiles() -> Promise {
    let tokens = format!(
        "[[token]]\nname = 'one'\nsecret = '{SECRET}'\nwaiting = 0\nrunning = 1\nprofiles = ['a']"
    );
    let service = guarded(&tokens, "[profiles.a]\n[profiles.b]");
    let named = |profile: &str| {
        let path = format!("/v1/runs?profile={profile}");
        service.ask(&with_token(Request::post(&path, &json!({ "args": ["true"] })), SECRET))
    };
    named("a").is(200);
    named("b").problem(404, "not-found");
    // A place is free again when the answer has been taken, which may be a moment after it was read.
    wait_until("its place is free", || {
        let figures = service.ask(&with_token(Request::get("/metrics"), SECRET)).is(200).text();
        figures.lines().any(|line| line == "fumehood_running 0")
    });
    let mut holds = service.client();
    let limits = json!({ "wall_time": "1m" });
    let job = json!({ "args": ["sh", "-c", "echo; sleep 500"], "limits": limits });
    let sleeper = Request::run(&job).streaming();
    holds.tell(&with_token(sleeper, SECRET));
    let (head, mut events) = holds.begin();
    head.is(200);
    assert_eq!(events.event().expect("it starts")["event"], "start");
    named("a").problem(429, "queue-full");
    Ok(())
}

fn strangers_addresses_need_tokens() -> Promise {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let (status, said) = Service::refused(&format!("listen = ['{address}']"));
        assert_eq!(status.code(), Some(125));
        assert!(said.contains(address) && said.contains("access.tokens"), "{said}");
    }
    Ok(())
}

fn settings_that_are_wrong_name_their_field() -> Promise {
    for (settings, named) in [
        ("[line]\nslots = 0", "line.slots"),
        ("[line]\nslotz = 1", "slotz"),
        ("[http]\nheader_time = 5", "http.header_time"),
        ("[ceilings]\nmemory = '1KiB'", "ceilings.memory"),
        ("[profiles.a]\nmounts = [{ source = 'relative', target = '/a' }]", "profiles.a"),
        ("listen = ['nowhere']", "nowhere"),
        ("[access]\ntokens = '/no/such/file'", "/no/such/file"),
    ] {
        let (status, said) = Service::refused(settings);
        assert_eq!(status.code(), Some(125), "{settings}");
        assert!(said.contains(named), "{settings}: {said}");
    }
    Ok(())
}

fn pages_of_other_sites_are_refused() -> Promise {
    let service = Service::start("[access]\norigins = ['https://friend.example']");
    let from = |origin: &str| service.ask(&run().header("origin", origin));
    from("https://evil.example").problem(403, "forbidden");
    from("null").problem(403, "forbidden");
    from("http://localhost").is(200);
    let answer = from("https://friend.example").is(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://friend.example"));
    assert_eq!(from("http://localhost").header("access-control-allow-origin"), None);
    let asks_first = |origin: &str| {
        let request = Request::new("OPTIONS", "/v1/runs").header("origin", origin);
        service.ask(&request.header("access-control-request-method", "POST"))
    };
    let answer = asks_first("https://friend.example").is(204);
    assert!(answer.header("access-control-allow-headers").is_some());
    asks_first("https://evil.example").problem(403, "forbidden");
    Ok(())
}

fn names_that_are_not_ours_are_refused() -> Promise {
    let service = Service::start("[access]\nhosts = ['sandbox.example']");
    for host in ["evil.example", "localhost.evil.example:80", ""] {
        service.ask(&run().header("host", host)).problem(403, "forbidden");
    }
    for host in ["sandbox.example", "127.0.0.1:1", "[::1]", "localhost:99"] {
        service.ask(&run().header("host", host)).is(200);
    }
    // Names of headers are the same in any case, but not to whoever builds a request here.
    let two = run().header("host", "localhost").header("Host", "evil.example");
    service.ask(&two).problem(400, "bad-request");
    Ok(())
}

fn a_unix_socket_knows_its_users() -> Promise {
    let dir = tempfile::tempdir().expect("a place for files");
    use std::os::unix::fs::PermissionsExt;
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), everybody).expect("the directory is ours");
    let service = Service::start_in(dir, "listen = ['unix:DIR/socket']");
    service.ask(&run()).is(200);
    let path = service.dir().join("socket");
    if !rustix::process::geteuid().is_root() {
        return skip("only root can connect as somebody else");
    }
    let mut curl = Command::new("curl");
    curl.args(["-s", "-H", "content-type: application/json", "-d", r#"{"args":["true"]}"#]);
    curl.arg("--unix-socket").arg(&path).arg("http://localhost/v1/runs").uid(54321).gid(54321);
    let Ok(output) = curl.output() else { return skip("there is no curl") };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("user 54321 may not ask"), "{said}");
    Ok(())
}

fn settings_are_read_anew() -> Promise {
    let service = Service::start("listen = ['127.0.0.1:0']\n[ceilings]\nwall_time = '5s'");
    let five = json!({ "args": ["true"], "limits": { "wall_time": "5s" } });
    service.ask(&Request::run(&five)).is(200);
    let config = service.dir().join("serve.toml");
    let with = |ceilings: &str| {
        let text = format!("listen = ['127.0.0.1:0']\n[ceilings]\n{ceilings}");
        std::fs::write(&config, text).expect("the directory is ours");
        service.signal(Signal::HUP);
    };
    with("wall_time = '1s'");
    wait_until("the ceiling is lower", || service.ask(&Request::run(&five)).status == 403);
    with("wall_time = 1");
    wait_until("it says that it is wrong", || service.log().contains("ceilings.wall_time"));
    service.ask(&Request::run(&five)).problem(403, "forbidden");
    let _ = Client::connect(&service.addresses[0]);
    Ok(())
}

/// What is listened on stays, so tokens cannot be taken away where strangers are.
fn settings_that_are_read_anew_open_nothing() -> Promise {
    let tokens = format!("[[token]]\nname = 'one'\nsecret = '{SECRET}'");
    let service = guarded(&tokens, "require = []\nlisten = ['0.0.0.0:0']");
    service.ask(&run()).problem(401, "unauthorized");
    let config = service.dir().join("serve.toml");
    for (index, listen) in ["0.0.0.0:0", "127.0.0.1:0"].into_iter().enumerate() {
        let text = format!("require = []\nlisten = ['{listen}']");
        std::fs::write(&config, text).expect("the directory is ours");
        service.signal(Signal::HUP);
        wait_until("it has looked", || service.log().matches("the settings ").count() > index);
        service.ask(&run()).problem(401, "unauthorized");
        assert!(service.log().contains("access.tokens"), "{}", service.log());
    }
    service.ask(&with_token(run(), SECRET)).is(200);
    Ok(())
}
