//! How the service ends, in good order and otherwise.

use rustix::process::Signal;
use serde_json::json;

use crate::support::{
    Promise, Request, Service, groups_of, has_process, marker, promises, wait_until,
};

promises! {
    told_to_stop_it_exits_with_0,
    what_runs_may_end,
    every_accepted_run_is_answered_or_cancelled,
    a_half_sent_request_does_not_delay_the_end,
    a_service_that_lingers_is_not_ready_but_answers,
    killed_it_leaves_nothing_and_can_start_again,
}

fn told_to_stop_it_exits_with_0() -> Promise {
    for signal in [Signal::TERM, Signal::INT] {
        let mut service = Service::start("");
        let (pid, _idle) = (service.pid(), service.client());
        service.signal(signal);
        assert_eq!(service.exit_status().code(), Some(0));
        wait_until("its control groups are gone", || groups_of(pid).is_empty());
    }
    Ok(())
}

fn what_runs_may_end() -> Promise {
    let mut service = Service::start("");
    let mut client = service.client();
    client.tell(&Request::run(&json!({ "args": ["sh", "-c", "sleep 3; echo done"] })));
    wait_until("it runs", || service.figure("fumehood_running") == 1);
    service.signal(Signal::TERM);
    let answer = client.answer().is(200);
    assert_eq!(answer.json()["stdout"]["data"]["text"], "done\n");
    assert_eq!(service.exit_status().code(), Some(0));
    Ok(())
}

fn every_accepted_run_is_answered_or_cancelled() -> Promise {
    let settings = "[line]\nslots = 2\nwait_time = '10m'\n[stop]\ndeadline = '300ms'";
    let mut service = Service::start(settings);
    let marker = marker();
    let limits = json!({ "wall_time": "1m" });
    let job = json!({ "args": ["sh", "-c", "sleep 500; true", marker], "limits": limits });
    let path = service.ask(&Request::post("/v1/jobs", &job)).is(202);
    drop(path);
    wait_until("the job runs", || service.figure("fumehood_running") == 1);
    let mut clients: Vec<_> = (0..4).map(|_| service.client()).collect();
    clients.iter_mut().for_each(|client| client.tell(&Request::run(&job)));
    wait_until("one more runs, and three wait", || {
        (service.figure("fumehood_running"), service.figure("fumehood_waiting")) == (2, 3)
    });
    let mut streams = service.client();
    streams.tell(&Request::run(&job).streaming());
    wait_until("the stream waits", || service.figure("fumehood_waiting") == 4);
    service.signal(Signal::TERM);
    let mut answers: Vec<_> = clients.iter_mut().map(crate::support::Client::answer).collect();
    answers.push(streams.answer());
    let cancelled =
        answers.iter().filter(|answer| answer.status == 200 && answer.text().contains("cancelled"));
    assert_eq!(cancelled.count(), 1);
    let stopping = answers.iter().filter(|answer| answer.text().contains("problem:stopping"));
    assert_eq!(stopping.count(), 4);
    assert_eq!(service.exit_status().code(), Some(0));
    wait_until("all programs are gone", || !has_process(&marker));
    Ok(())
}

fn a_half_sent_request_does_not_delay_the_end() -> Promise {
    let mut service = Service::start("[stop]\ndeadline = '300ms'");
    let mut head = service.client();
    head.send(b"POST /v1/runs HTTP/1.1\r\n");
    let mut body = service.client();
    body.send(b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    body.send(b"content-length: 100\r\n\r\n{");
    assert_eq!(service.run(&["true"])["outcome"]["code"], 0);
    service.signal(Signal::TERM);
    assert_eq!(service.exit_status().code(), Some(0));
    Ok(())
}

fn a_service_that_lingers_is_not_ready_but_answers() -> Promise {
    let mut service = Service::start("[stop]\nlinger = '4s'");
    service.signal(Signal::TERM);
    wait_until("it is not ready", || service.ask(&Request::get("/readyz")).status == 503);
    assert_eq!(service.run(&["true"])["outcome"]["code"], 0);
    assert_eq!(service.exit_status().code(), Some(0));
    Ok(())
}

fn killed_it_leaves_nothing_and_can_start_again() -> Promise {
    let settings = "listen = ['unix:DIR/socket']";
    let service = Service::start(settings);
    let (marker, pid) = (marker(), service.pid());
    let job = json!({ "args": ["sh", "-c", "setsid sleep 50 & sleep 50", marker] });
    let mut clients: Vec<_> = (0..6).map(|_| service.client()).collect();
    clients.iter_mut().for_each(|client| client.tell(&Request::run(&job)));
    wait_until("programs run", || has_process(&marker));
    let dir = service.crash();
    wait_until("all programs are gone", || !has_process(&marker));
    wait_until("its control groups are gone", || groups_of(pid).is_empty());
    let again = Service::start_in(dir, settings);
    assert_eq!(again.run(&["true"])["outcome"]["code"], 0);
    Ok(())
}
