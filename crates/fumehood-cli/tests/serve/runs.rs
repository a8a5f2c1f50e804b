//! `POST /v1/runs`: a job in, its report out.

use serde_json::{Value, json};

use crate::support::{Promise, Request, Service, promises};

promises! {
    a_job_is_answered_with_its_report,
    every_ending_is_told_apart,
    bytes_that_are_no_text_come_in_base64,
    a_form_brings_files_an_archive_and_input,
    a_form_may_be_as_large_as_any_body,
    a_form_that_is_sent_again_is_known_by_its_parts,
    files_come_back_in_the_report,
    what_is_wrong_with_a_request_is_named,
    the_same_key_gets_the_same_answer_once,
    a_profile_gives_what_strangers_cannot_ask_for,
    requests_are_counted_and_logged_without_their_data,
    the_host_says_what_it_can_hold,
    the_interface_is_described,
}

fn stdout(report: &Value) -> &str {
    report["stdout"]["data"]["text"].as_str().expect("it is text")
}

fn a_job_is_answered_with_its_report() -> Promise {
    let service = Service::start("");
    let job = json!({ "args": ["sh", "-c", "cat; echo $GREETING >&2; exit 3"],
        "env": { "set": { "GREETING": "hi" } }, "stdin": { "text": "in" } });
    let report = service.ask(&Request::run(&job)).is(200).json();
    assert_eq!(report["outcome"], json!({ "kind": "exited", "code": 3 }));
    assert_eq!(stdout(&report), "in");
    assert_eq!(report["stderr"]["data"]["text"], "hi\n");
    assert_eq!(report["confinement"]["guarantees"]["filesystem"]["state"], "held");
    // The same connection serves again.
    let mut client = service.client();
    for word in ["one", "two"] {
        let answer = client.ask(&Request::run(&json!({ "args": ["echo", word] })));
        assert_eq!(stdout(&answer.is(200).json()), format!("{word}\n"));
    }
    Ok(())
}

fn every_ending_is_told_apart() -> Promise {
    let service = Service::start("");
    for (args, limits, kind) in [
        (json!(["false"]), json!({}), "exited"),
        (json!(["sh", "-c", "kill -9 $$"]), json!({}), "signaled"),
        (json!(["sleep", "60"]), json!({ "wall_time": "100ms" }), "timed-out"),
        (json!(["yes"]), json!({ "output": "1KiB" }), "output-limit"),
    ] {
        let job = json!({ "args": args, "limits": limits });
        let report = service.ask(&Request::run(&job)).is(200).json();
        assert_eq!(report["outcome"]["kind"], kind, "{report}");
    }
    Ok(())
}

fn bytes_that_are_no_text_come_in_base64() -> Promise {
    let service = Service::start("");
    let job = json!({ "args": ["cat"], "stdin": { "base64": "/wA=" } });
    let report = service.ask(&Request::run(&job)).is(200).json();
    assert_eq!(report["stdout"]["data"], json!({ "base64": "/wA=" }));
    Ok(())
}

/// One part of a form.
fn part(name: &str, file: Option<&str>, content: &[u8]) -> Vec<u8> {
    let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
    let head = format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn form(parts: &[Vec<u8>]) -> Request {
    Request::new("POST", "/v1/runs")
        .header("content-type", "multipart/form-data; boundary=edge")
        .body([parts.concat(), b"--edge--\r\n".to_vec()].concat())
}

fn a_form_may_be_as_large_as_any_body() -> Promise {
    let service = Service::start("[http]\nbody_size = '6MiB'");
    let ask = |size: usize| {
        let job = br#"{"args": ["wc", "-c", "large"]}"#;
        let large = vec![b'x'; size];
        service.ask(&form(&[part("job", None, job), part("file", Some("large"), &large)]))
    };
    assert_eq!(stdout(&ask(5 << 20).is(200).json()), "5242880 large\n");
    ask(6 << 20).problem(413, "too-large");
    Ok(())
}

/// Clients make up what stands between the parts anew each time.
fn a_form_that_is_sent_again_is_known_by_its_parts() -> Promise {
    let service = Service::start("");
    let ask = |edge: &str, content: &str| {
        let job = r#"{"args": ["cat", "a", "/proc/sys/kernel/random/uuid"]}"#;
        let head = "Content-Disposition: form-data; name=";
        let body = format!(
            "--{edge}\r\n{head}job\r\n\r\n{job}\r\n--{edge}\r\n{head}file; filename=a\r\n\r\n\
             {content}\r\n--{edge}--\r\n"
        );
        let request = Request::new("POST", "/v1/runs").header("idempotency-key", "a").body(body);
        service
            .ask(&request.header("content-type", &format!("multipart/form-data; boundary={edge}")))
    };
    let first = ask("one", "x").is(200);
    let again = ask("two", "x").is(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    ask("one", "y").problem(422, "idempotency-mismatch");
    Ok(())
}

fn a_form_brings_files_an_archive_and_input() -> Promise {
    let service = Service::start("");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    archive.append_data(&mut header, "from/tar", &b"tar"[..]).expect("memory takes it");
    let archive = archive.into_inner().expect("memory takes it");
    let script = b"#!/bin/sh\ncat /workspace/sub/file from/tar; cat";
    let answer = service.ask(&form(&[
        part("job", None, br#"{"args": ["./run"]}"#),
        part("program", Some("run"), script),
        part("file", Some("sub/file"), b"\xff\n"),
        part("tar", Some("any"), &archive),
        part("stdin", None, b" input"),
    ]));
    assert_eq!(answer.is(200).json()["stdout"]["data"], json!({ "base64": "/wp0YXIgaW5wdXQ=" }));
    for (parts, detail) in [
        (vec![part("file", Some("a"), b"")], "has no part job"),
        (vec![part("jop", None, b"{}")], "unknown part"),
        (vec![part("job", None, br#"{"args": ["a"]}"#), part("file", None, b"")], "filename"),
    ] {
        let problem = service.ask(&form(&parts)).problem(400, "bad-request");
        assert!(problem["detail"].as_str().expect("text").contains(detail), "{problem}");
    }
    let outside = [part("job", None, br#"{"args": ["a"]}"#), part("file", Some("../a"), b"")];
    service.ask(&form(&outside)).problem(422, "invalid-job");
    Ok(())
}

fn files_come_back_in_the_report() -> Promise {
    let service = Service::start("");
    let job =
        json!({ "args": ["sh", "-c", "echo made > out"], "collect": { "paths": ["out", "no"] } });
    let report = service.ask(&Request::run(&job)).is(200).json();
    assert_eq!(report["artifacts"][0]["path"], "out", "{report}");
    assert_eq!(report["artifacts"][0]["data"]["text"], "made\n");
    assert_eq!(report["skipped"].as_array().map(Vec::len), Some(1), "{report}");
    Ok(())
}

fn what_is_wrong_with_a_request_is_named() -> Promise {
    let service = Service::start("[http]\nbody_size = '1KiB'");
    let post = |body: &str| service.ask(&Request::run(&Value::Null).body(body));
    let problem = post(r#"{"args": ["a"], "limit": 1}"#).problem(422, "invalid-job");
    assert_eq!(problem["errors"][0]["field"], "limit");
    assert_eq!(problem["errors"][0]["detail"], "unknown field; did you mean \"limits\"?");
    let problem = post(r#"{"args": ["a"], "limits": {"memory": 5}}"#).problem(422, "invalid-job");
    assert_eq!(problem["errors"][0]["field"], "limits.memory");
    post("{").problem(400, "bad-request");
    post("\u{ff}").problem(400, "bad-request");
    post(r#"{"args": ["/no/such"]}"#).problem(422, "program-not-found");
    post(r#"{"args": ["true"], "cwd": "/no/such"}"#).problem(422, "not-started");
    assert_eq!(
        service.ask(&Request::get("/readyz")).status,
        200,
        "a stranger's fault is no illness"
    );
    post(&" ".repeat(2000)).problem(413, "too-large");
    let request = Request::run(&json!({ "args": ["true"] }));
    let many = json!({ "args": vec![""; 70_000] });
    Service::start("").ask(&Request::run(&many)).problem(413, "too-large");
    service.ask(&request.clone().header("content-type", "text/plain")).problem(415, "media-type");
    service.ask(&Request::get("/v1/nothing")).problem(404, "not-found");
    let wrong = service.ask(&Request::get("/v1/runs"));
    wrong.problem(405, "method-not-allowed");
    assert_eq!(wrong.header("allow"), Some("POST"));
    let unknown = Request::post("/v1/runs?profile=none", &json!({ "args": ["true"] }));
    service.ask(&unknown).problem(404, "not-found");
    Ok(())
}

fn the_same_key_gets_the_same_answer_once() -> Promise {
    let service = Service::start("");
    let uuid = json!({ "args": ["cat", "/proc/sys/kernel/random/uuid"] });
    let with_key =
        |key: &str, job: &Value| service.ask(&Request::run(job).header("idempotency-key", key));
    let first = with_key("a", &uuid).is(200);
    let again = with_key("a", &uuid).is(200);
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_ne!(with_key("b", &uuid).is(200).body, first.body);
    with_key("a", &json!({ "args": ["true"] })).problem(422, "idempotency-mismatch");
    let streaming = Request::run(&uuid).header("idempotency-key", "c").streaming();
    service.ask(&streaming).problem(400, "bad-request");
    Ok(())
}

fn a_profile_gives_what_strangers_cannot_ask_for() -> Promise {
    let dir = tempfile::tempdir().expect("a place for files");
    std::fs::write(dir.path().join("data"), "of the host").expect("the directory is ours");
    open_to_all(dir.path());
    let settings = "[profiles.'data ä']\n[profiles.data]\nmounts = [{ source = 'DIR', target = '/data' }]\n\
                    env.set.WHERE = '/data'\nlimits.wall_time = '9s'";
    let service = Service::start_in(dir, settings);
    let job = json!({ "args": ["sh", "-c", "cat $WHERE/data"] });
    let report = service.ask(&Request::post("/v1/runs?profile=data", &job)).is(200).json();
    assert_eq!(stdout(&report), "of the host", "{report}");
    service.ask(&Request::post("/v1/runs?profile=data%20%C3%A4", &job)).is(200);
    for (name, status, kind) in [("data%2", 400, "bad-request"), ("data+%C3%A4", 404, "not-found")]
    {
        let asked = Request::post(&format!("/v1/runs?profile={name}"), &job);
        service.ask(&asked).problem(status, kind);
    }
    let job = json!({ "args": ["cat", "/data/data"] });
    let report = service.ask(&Request::run(&job)).is(200).json();
    assert_ne!(report["outcome"]["code"], 0, "{report}");
    Ok(())
}

/// Root's programs are somebody else, who must be able to look.
fn open_to_all(dir: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir, everybody).expect("the directory is ours");
}

fn requests_are_counted_and_logged_without_their_data() -> Promise {
    let service = Service::start("log = 'DIR/log'");
    let job = json!({ "args": ["echo", "confidential"], "stdin": { "text": "confidential" } });
    service.ask(&Request::run(&job).header("authorization", "Bearer confidential")).is(200);
    assert_eq!(service.figure("fumehood_runs_total{surface=\"runs\",outcome=\"exited\"}"), 1);
    assert_eq!(service.figure("fumehood_run_seconds_count{}"), 1);
    let log = std::fs::read_to_string(service.dir().join("log")).expect("a log");
    let lines = log.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    let ours: Vec<Value> = lines.filter(|line: &Value| line["route"] == "/v1/runs").collect();
    assert_eq!(ours.len(), 1, "{log}");
    assert_eq!(ours[0]["status"], 200);
    assert_eq!(ours[0]["outcome"], "exited");
    assert_eq!(ours[0]["caller"], "anonymous");
    assert!(!log.contains("confidential") && !log.contains("echo"), "{log}");
    Ok(())
}

fn the_host_says_what_it_can_hold() -> Promise {
    let service = Service::start("");
    let support = service.ask(&Request::get("/v1/support")).is(200).json();
    assert_eq!(support["guarantees"].as_object().map(serde_json::Map::len), Some(15), "{support}");
    Ok(())
}

fn the_interface_is_described() -> Promise {
    let service = Service::start("");
    let document = service.ask(&Request::get("/v1/openapi.json")).is(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document.pointer("/components/schemas/Job/properties/args").is_some());
    assert!(document.pointer("/components/schemas/Job/properties/mounts").is_none());
    Ok(())
}
