//! Clients that are slow, or do nothing.

use std::io::Read;

use serde_json::json;

use crate::support::{Client, Promise, Request, Service, promises, wait_until};

promises! {
    a_head_that_does_not_come_closes_the_connection,
    a_body_that_does_not_come_is_a_problem,
    slow_bodies_take_no_place_of_others,
    idle_connections_make_room,
    answers_on_their_way_make_no_room,
    an_answer_that_nobody_takes_is_given_up,
    an_answer_that_waits_keeps_its_place,
    a_log_that_nobody_reads_is_not_waited_for,
}

/// Not so impatient that it could be with clients who only have to wait for a processor.
const IMPATIENT: &str = "[http]\nheader_time = '2s'\nbody_time = '3s'\nstall_time = '1s'";

fn a_head_that_does_not_come_closes_the_connection() -> Promise {
    let service = Service::start(IMPATIENT);
    let heads = ["", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: localhost\r\nx: "];
    let mut clients = heads.map(|_| service.client());
    clients.iter_mut().zip(heads).for_each(|(client, begun)| client.send(begun.as_bytes()));
    for (client, begun) in clients.iter_mut().zip(heads) {
        assert!(client.is_closed(), "{begun:?}");
    }
    Ok(())
}

fn a_body_that_does_not_come_is_a_problem() -> Promise {
    let service = Service::start(IMPATIENT);
    for length in ["10", "100000"] {
        let mut client = service.client();
        let head = "POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
        client.send(format!("{head}\r\ncontent-length: {length}\r\n\r\n{{").as_bytes());
        client.answer().problem(408, "too-slow");
    }
    Ok(())
}

fn slow_bodies_take_no_place_of_others() -> Promise {
    let service = Service::start("[line]\nslots = 1\nuploads = 1\n[http]\nstall_time = '60s'");
    let begin = |length: &str| {
        let mut client = service.client();
        let head = "POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
        client.send(format!("{head}\r\ncontent-length: {length}\r\n\r\n{{").as_bytes());
        client
    };
    let _slow = [begin("10"), begin("20"), begin("1000000"), begin("1000000")];
    assert_eq!(service.run(&["true"])["outcome"]["code"], 0);
    Ok(())
}

fn idle_connections_make_room() -> Promise {
    let service = Service::start("[http]\nconnections = 20");
    let mut busy = service.client();
    busy.tell(&Request::run(&json!({ "args": ["sh", "-c", "sleep 3; echo done"] })));
    wait_until("it runs", || service.figure("fumehood_running") == 1);
    let idle: Vec<Client> = (0..100).map(|_| service.client()).collect();
    assert_eq!(service.ask(&Request::get("/readyz")).status, 200);
    assert_eq!(service.run(&["true"])["outcome"]["code"], 0);
    assert_eq!(busy.answer().is(200).json()["stdout"]["data"]["text"], "done\n");
    drop(idle);
    Ok(())
}

/// Of a stream only its beginning has gone out, of the other answer as much as fits.
fn answers_on_their_way_make_no_room() -> Promise {
    let service = Service::start("[http]\nconnections = 20\nstall_time = '60s'");
    let script = "echo first; sleep 2; echo last";
    let mut streams = service.client();
    streams.tell(&Request::run(&json!({ "args": ["sh", "-c", script] })).streaming());
    let (head, mut events) = streams.begin();
    head.is(200);
    assert_eq!(events.event().expect("it starts")["event"], "start");
    let mut takes_time = service.client();
    let script = "head -c 4000000 /dev/zero | tr '\\0' x";
    takes_time.tell(&Request::run(&json!({ "args": ["sh", "-c", script] })));
    let (head, mut answer) = takes_time.begin();
    head.is(200);
    let idle: Vec<Client> = (0..100).map(|_| service.client()).collect();
    service.ask(&Request::get("/readyz")).is(200);
    assert_eq!(events.events().last().expect("it ends")["event"], "end");
    let mut report = Vec::new();
    answer.read_to_end(&mut report).expect("the whole answer");
    assert!(report.len() > 4_000_000);
    drop(idle);
    Ok(())
}

fn an_answer_that_nobody_takes_is_given_up() -> Promise {
    let service = Service::start(IMPATIENT);
    let mut client = service.client();
    let script = "head -c 4000000 /dev/zero";
    client.tell(&Request::run(&json!({ "args": ["sh", "-c", script] })).streaming());
    wait_until("the program is over", || {
        let name = "fumehood_abandoned_total";
        service.figure(name) == 1 && service.figure("fumehood_running") == 0
    });
    Ok(())
}

fn an_answer_that_waits_keeps_its_place() -> Promise {
    let service = Service::start("[line]\nslots = 1\n[http]\nstall_time = '60s'");
    let mut client = service.client();
    let script = "head -c 4000000 /dev/zero | tr '\\0' x";
    client.tell(&Request::run(&json!({ "args": ["sh", "-c", script] })));
    let name = "fumehood_runs_total{surface=\"runs\",outcome=\"exited\"}";
    wait_until("the program is over", || service.figure(name) == 1);
    // Nobody has taken the answer, and what is kept for a client is no more than this.
    assert_eq!(service.figure("fumehood_running"), 1);
    let report = client.answer().is(200).json();
    assert_eq!(report["stdout"]["total"], 4_000_000);
    wait_until("the place is free", || service.figure("fumehood_running") == 0);
    Ok(())
}

fn a_log_that_nobody_reads_is_not_waited_for() -> Promise {
    let dir = tempfile::tempdir().expect("a place for files");
    let pipe = dir.path().join("log");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("the directory is ours");
    // Open for both, it neither waits for a writer here nor ends for one there.
    let unread = std::fs::File::options().read(true).write(true).open(&pipe);
    let unread = unread.expect("it was just made");
    let mut service = Service::start_in(dir, "log = 'DIR/log'");
    let mut client = service.client();
    // Some 150 bytes each, and a pipe has room for 64 KiB.
    for _ in 0..1000 {
        client.ask(&Request::get("/livez")).is(200);
    }
    assert!(service.figure("fumehood_log_lost_total") > 100);
    // Nor is a reader that is gone when the log is opened anew.
    drop(unread);
    service.signal(rustix::process::Signal::HUP);
    service.signal(rustix::process::Signal::TERM);
    assert!(service.exit_status().success());
    Ok(())
}
