//! Runs that are told of as they happen.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::support::{Promise, Request, Service, promises};

promises! {
    output_is_told_before_the_end,
    nothing_is_lost_and_nothing_is_out_of_order,
    events_are_numbered,
    a_program_that_cannot_start_is_a_problem_as_ever,
    a_run_is_ended_by_its_name,
    no_proxy_holds_events_back,
}

/// The text of one stream, put together.
fn text(events: &[Value], stream: &str) -> String {
    let ours = events.iter().filter(|event| event["event"] == stream);
    ours.map(|event| event["data"]["text"].as_str().expect("it is text")).collect()
}

fn output_is_told_before_the_end() -> Promise {
    let service = Service::start("");
    let mut client = service.client();
    let job = json!({ "args": ["sh", "-c", "echo now; sleep 50"] });
    client.tell(&Request::run(&job).streaming());
    let (head, mut events) = client.begin();
    assert_eq!(head.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(events.event().expect("it starts")["event"], "start");
    assert_eq!(events.event().expect("it prints")["data"]["text"], "now\n");
    // It runs on: who does not want to wait for the end hangs up.
    Ok(())
}

fn nothing_is_lost_and_nothing_is_out_of_order() -> Promise {
    let service = Service::start("");
    let mut client = service.client();
    let job = json!({ "args": ["sh", "-c", "seq 200000; seq 1000 >&2; echo ä€😀"] });
    client.tell(&Request::run(&job).streaming());
    let events = client.begin().1.events();
    let mut expected = String::new();
    for number in 1..=200_000 {
        let _ = writeln!(expected, "{number}");
    }
    let end = events.last().expect("it ends");
    assert_eq!(end["report"]["outcome"]["code"], 0, "{end}");
    assert!(text(&events, "stdout") == expected.clone() + "ä€😀\n", "stdout differs");
    assert!(expected.starts_with(&text(&events, "stderr")), "stderr differs");
    assert_eq!(text(&events, "stderr").lines().count(), 1000);
    assert_eq!(end["report"]["stdout"]["total"], expected.len() + 10);
    Ok(())
}

fn events_are_numbered() -> Promise {
    let service = Service::start("");
    let mut client = service.client();
    let job = json!({ "args": ["sh", "-c", "echo a; echo b >&2; printf '\\377'; exit 3"] });
    client.tell(&Request::run(&job).streaming());
    let events = client.begin().1.events();
    let numbers: Vec<_> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert!(events[0]["id"].as_str().expect("a name").starts_with("run_"));
    let end = events.last().expect("it ends");
    assert_eq!((&end["event"], &end["report"]["outcome"]["code"]), (&json!("end"), &json!(3)));
    Ok(())
}

fn a_program_that_cannot_start_is_a_problem_as_ever() -> Promise {
    let service = Service::start("");
    let job = json!({ "args": ["/no/such/program"] });
    service.ask(&Request::run(&job).streaming()).problem(422, "program-not-found");
    Ok(())
}

fn a_run_is_ended_by_its_name() -> Promise {
    let service = Service::start("");
    let mut client = service.client();
    client.tell(&Request::run(&json!({ "args": ["sh", "-c", "echo now; sleep 50"] })).streaming());
    let mut events = client.begin().1;
    let start = events.event().expect("it starts");
    let path = format!("/v1/runs/{}", start["id"].as_str().expect("a name"));
    assert_eq!(events.event().expect("it prints")["data"]["text"], "now\n");
    let end = Request::new("DELETE", &path);
    service.ask(&end).is(202);
    let last = events.events().pop().expect("it ends");
    assert_eq!(last["report"]["outcome"]["kind"], "cancelled", "{last}");
    assert!(last["report"]["usage"]["wall_us"]["value"].as_u64() > Some(0), "{last}");
    service.ask(&end).problem(404, "not-found");
    Ok(())
}

/// nginx would else keep events until there is a page of them, or the program has ended.
fn no_proxy_holds_events_back() -> Promise {
    let service = Service::start("");
    let job = json!({ "args": ["true"] });
    let streamed = service.ask(&Request::run(&job).streaming()).is(200);
    assert_eq!(streamed.header("x-accel-buffering"), Some("no"));
    let accepted = service.ask(&Request::post("/v1/jobs", &job)).is(202);
    let events = format!("{}/events", accepted.header("location").expect("it says where"));
    for form in ["application/x-ndjson", "text/event-stream"] {
        let told = service.ask(&Request::get(&events).header("accept", form)).is(200);
        assert_eq!(told.header("x-accel-buffering"), Some("no"), "{form}");
    }
    Ok(())
}
