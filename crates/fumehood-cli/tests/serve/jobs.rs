//! `/v1/jobs`: runs that outlive their connection.

use serde_json::{Value, json};

use crate::support::{Promise, Request, Service, has_process, marker, promises, wait_until};

promises! {
    a_job_outlives_its_connection,
    events_are_told_again_from_any_point_on,
    a_job_that_runs_can_be_cancelled,
    a_job_that_waits_can_be_cancelled,
    a_job_that_is_cancelled_was_not_abandoned,
    names_that_are_no_text_name_nothing,
    jobs_of_others_are_not_there,
    old_jobs_make_room,
}

/// Takes a job in, and returns its path.
#[track_caller]
fn create(service: &Service, job: &Value) -> String {
    let answer = service.ask(&Request::post("/v1/jobs", job)).is(202);
    assert!(answer.json()["id"].as_str().expect("a name").starts_with("job_"));
    answer.header("location").expect("a place").to_owned()
}

fn show(service: &Service, path: &str) -> Value {
    service.ask(&Request::get(path)).is(200).json()
}

#[track_caller]
fn ended(service: &Service, path: &str) -> Value {
    let mut view = Value::Null;
    wait_until("the job ends", || {
        view = show(service, path);
        view["state"] == "ended"
    });
    view
}

fn a_job_outlives_its_connection() -> Promise {
    let service = Service::start("");
    let path = create(&service, &json!({ "args": ["sh", "-c", "echo hi; exit 4"] }));
    let view = ended(&service, &path);
    assert_eq!(view["report"]["outcome"]["code"], 4);
    assert_eq!(view["events"], 3);
    service.ask(&Request::new("DELETE", &path)).is(204);
    service.ask(&Request::get(&path)).problem(404, "not-found");
    Ok(())
}

fn events_are_told_again_from_any_point_on() -> Promise {
    let service = Service::start("");
    // One event for each stream, however late they are read.
    let job = json!({ "args": ["sh", "-c", "echo one; sleep 0.3; echo two >&2"] });
    let path = create(&service, &job);
    let events = |query: &str| {
        let mut client = service.client();
        client.tell(&Request::get(&format!("{path}/events{query}")));
        client.begin().1.events()
    };
    // The first listens while the job runs.
    let live = events("");
    let kinds: Vec<_> = live.iter().map(|event| event["event"].as_str().expect("a kind")).collect();
    assert_eq!([kinds.len(), live.len()], [4, 4], "{kinds:?}");
    assert_eq!((kinds[0], kinds[3]), ("start", "end"));
    assert!(kinds.contains(&"stdout") && kinds.contains(&"stderr"), "{kinds:?}");
    assert_eq!(events(""), live);
    assert_eq!(events("?after=2"), live[2..]);
    assert_eq!(events("?after=99"), live[4..]);
    let sent = Request::get(&format!("{path}/events"))
        .header("accept", "text/event-stream")
        .header("last-event-id", "3");
    let text = service.ask(&sent.clone()).is(200).text();
    assert!(
        text.starts_with("id: 4\ndata: {\"seq\":4,\"event\":\"end\"") && text.ends_with("\n\n")
    );
    // Whoever comes back after the end is told not to come again.
    service.ask(&sent.header("last-event-id", "4")).is(204);
    service.ask(&Request::get(&format!("{path}/events?after=x"))).problem(400, "bad-request");
    Ok(())
}

fn a_job_that_runs_can_be_cancelled() -> Promise {
    let service = Service::start("");
    let marker = marker();
    let path = create(&service, &json!({ "args": ["sh", "-c", "sleep 50; true", marker] }));
    wait_until("it runs", || has_process(&marker));
    // The service may hear of that later than we see it.
    wait_until("it is known to run", || show(&service, &path)["state"] == "running");
    service.ask(&Request::new("DELETE", &path)).is(202);
    assert_eq!(ended(&service, &path)["report"]["outcome"]["kind"], "cancelled");
    wait_until("it is gone", || !has_process(&marker));
    Ok(())
}

fn a_job_that_waits_can_be_cancelled() -> Promise {
    let service = Service::start("[line]\nslots = 1");
    let limits = json!({ "wall_time": "1m" });
    let first = create(&service, &json!({ "args": ["sleep", "500"], "limits": limits }));
    wait_until("it runs", || show(&service, &first)["state"] == "running");
    let second = create(&service, &json!({ "args": ["true"] }));
    assert_eq!(show(&service, &second)["state"], "waiting");
    service.ask(&Request::new("DELETE", &second)).is(202);
    assert_eq!(ended(&service, &second)["problem"]["type"], "urn:fumehood:problem:cancelled");
    assert_eq!(show(&service, &first)["state"], "running");
    Ok(())
}

/// Whatever it does at that moment.
fn a_job_that_is_cancelled_was_not_abandoned() -> Promise {
    let service = Service::start("");
    for _ in 0..50 {
        let path = create(&service, &json!({ "args": ["sleep", "50"] }));
        service.ask(&Request::new("DELETE", &path)).is(202);
        ended(&service, &path);
    }
    assert_eq!(service.figure("fumehood_abandoned_total"), 0);
    Ok(())
}

fn names_that_are_no_text_name_nothing() -> Promise {
    let service = Service::start("");
    for (method, path) in [
        ("GET", "/v1/jobs/%ff"),
        ("DELETE", "/v1/jobs/%ff"),
        ("GET", "/v1/jobs/%ff/events"),
        ("DELETE", "/v1/runs/%ff"),
    ] {
        service.ask(&Request::new(method, path)).problem(404, "not-found");
    }
    Ok(())
}

fn jobs_of_others_are_not_there() -> Promise {
    let dir = tempfile::tempdir().expect("a place for files");
    let tokens = "[[token]]\nname = 'a'\nsha256 = \
        '0d3a1c2f4f8a4e0c0f6f8f6a7f5f9b1d0d3a1c2f4f8a4e0c0f6f8f6a7f5f9b1d'\n\
        [[token]]\nname = 'b'\nsecret = 'secret-of-caller-b'\n\
        [[token]]\nname = 'c'\nsecret = 'secret-of-caller-c'";
    let file = dir.path().join("tokens");
    std::fs::write(&file, tokens).expect("the directory is ours");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("ours");
    let service = Service::start_in(dir, "[access]\ntokens = 'DIR/tokens'");
    let as_one = |request: Request, name: &str| {
        service.ask(&request.header("authorization", &format!("Bearer secret-of-caller-{name}")))
    };
    let answer = as_one(Request::post("/v1/jobs", &json!({ "args": ["true"] })), "b").is(202);
    let path = answer.header("location").expect("a place").to_owned();
    as_one(Request::get(&path), "b").is(200);
    as_one(Request::get(&path), "c").problem(404, "not-found");
    as_one(Request::new("DELETE", &path), "c").problem(404, "not-found");
    as_one(Request::get(&format!("{path}/events")), "c").problem(404, "not-found");
    Ok(())
}

fn old_jobs_make_room() -> Promise {
    let service = Service::start("[jobs]\nkept = 2");
    let paths: Vec<_> = (0..4)
        .map(|_| {
            let path = create(&service, &json!({ "args": ["true"] }));
            ended(&service, &path);
            path
        })
        .collect();
    let there = |path: &String| service.ask(&Request::get(path)).status == 200;
    assert_eq!(paths.iter().map(there).collect::<Vec<_>>(), [false, false, true, true]);
    Ok(())
}
