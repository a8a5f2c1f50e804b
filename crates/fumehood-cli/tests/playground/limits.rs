//! What happens at the limits: of time, of output, of the body, of cells.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::Case;
use crate::built::tool;
use crate::http::{Answer, ask, send};
use crate::server::{Server, eventually, kill, tried};

pub(crate) const ALL: &[Case] = &[
    ("l_1_output_of_exactly_the_limit_is_returned_whole_and_copied_once", exactly),
    ("l_1_a_byte_more_is_an_error_without_output", a_byte_more),
    ("l_4_without_a_cell_there_is_an_error_and_no_wait_without_end", no_cell),
    ("l_5_waits_are_counted_by_how_they_end", waits),
    ("l_6_health_is_found_out_again_after_a_while", health),
    ("l_10_a_program_that_is_interrupted_keeps_its_output", interrupted),
    ("l_10_a_program_that_takes_no_interrupt_is_killed_and_keeps_its_output", killed),
    ("l_10_a_cell_that_does_not_end_is_an_error", stuck),
    ("l_10_out_of_memory_is_exit_code_137_and_says_nothing", out_of_memory),
    ("a_body_of_exactly_the_limit_is_run_and_a_larger_one_refused", bodies),
    ("who_waits_longer_than_its_client_is_refused_in_time", late),
    ("a_refusal_ends_a_connection_whose_body_was_not_read", refusal_says_close),
];

const MIB: usize = 1 << 20;

fn error(message: &str) -> String {
    format!(
        "{{\n  \"error\": \"{message}\",\n  \"exitCode\": 0,\n  \"stdout\": null,\n  \
         \"stderr\": null\n}}"
    )
}

/// The answer to a program that prints much, tried again where a busy machine has not let it come to
/// its end in time.
fn printed(server: &Server, what: &str, bytes: usize) -> Answer {
    tried(
        || server.run(tool(), &[what, &bytes.to_string()]),
        |answer| !answer.body.starts_with(b"{\n  \"exitCode\": 1,"),
    )
}

/// The answer to a program that is stopped when its time is over, tried again where a busy machine has
/// not let its cell end in the 150 ms that are left for that.
fn stopped(what: &str) -> Answer {
    let late = error("timeout running program");
    tried(|| Server::shared().run(tool(), &[what]), |answer| answer.text() != late)
}

/// A service of its own, so that what it takes at most is what this takes.
fn exactly() {
    let server = Server::start("log = \"none\"\n");
    for (what, other) in [("fill", "stderr\": \"\""), ("fill-err", "stdout\": null")] {
        let answer = printed(&server, what, 100 * MIB);
        let start: String =
            String::from_utf8_lossy(&answer.body[..200.min(answer.body.len())]).into();
        assert_eq!(answer.status, 200, "{start}");
        assert!(answer.text().contains(other), "{start}");
        let encoded = answer.text().split('"').max_by_key(|part| part.len()).unwrap();
        let decoded = BASE64_STANDARD.decode(encoded).unwrap();
        assert_eq!(decoded.len(), 100 * MIB);
        assert!(decoded.iter().all(|byte| *byte == b'x'));
    }
    // Base64 of it would be another 133 MiB, and a document with it as many again.
    let peak = server.peak_memory();
    assert!((100..200).contains(&peak), "{peak} MiB");
}

fn a_byte_more() {
    for what in ["fill", "fill-err"] {
        let answer = printed(Server::shared(), what, 100 * MIB + 1);
        let start: String = answer.text().chars().take(200).collect();
        assert!(answer.text() == error("Output too large"), "{start}");
    }
}

const NO_CELL: &str = "failed to get container\n";

fn no_cell() {
    let server = Server::start("log = \"none\"\n[pool]\nparked = 0\n");
    server.signal_children("STOP");
    let answer = server.run(tool(), &[]);
    assert_eq!((answer.status, answer.text()), (500, NO_CELL));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    server.signal_children("CONT");
    eventually("cells can be had again", || server.run(tool(), &[]).status == 200);
    server.stop();
}

fn waits() {
    let server = Server::start("log = \"none\"\n[line]\nslots = 1\n");
    let counted = |how: &str| {
        let name = "go_playground_sandbox_container_wait_count";
        server.figure(&format!("{name}{{container_wait_status=\"{how}\"}}"))
    };
    let running = send(server.address, "POST", "/run", &[("X-Argument", "sleep")], tool());
    eventually("the first one runs", || counted("success") == 1);
    let waiting = send(server.address, "POST", "/run", &[], tool());
    eventually("the second one waits", || server.figure("fumehood_waiting") == 1);
    drop(waiting);
    eventually("it is seen that the second one is gone", || counted("canceled") == 1);
    // With its client the first program goes, and nobody waits for 4.5 s.
    drop(running);
    assert_eq!(server.run(tool(), &[]).status, 200);
    assert_eq!((counted("success"), counted("deadline_exceeded"), counted("error")), (2, 0, 0));
    server.stop();
}

fn health() {
    let server = Server::start("log = \"none\"\n");
    let began = Instant::now();
    assert_eq!(server.get("/health").text(), "OK\n");
    server.signal_children("STOP");
    let answer = server.get("/healthz");
    if began.elapsed() < Duration::from_secs(4) {
        assert_eq!(answer.text(), "OK\n", "five seconds are not over");
    }
    let mut answer = answer;
    eventually("it is found out", || {
        answer = server.get("/healthz");
        answer.status == 500
    });
    assert!(answer.text().starts_with("health check failure: "), "{}", answer.text());
    assert!(answer.text().ends_with('\n'));
    server.signal_children("CONT");
    eventually("it is well again", || server.get("/healthz").text() == "OK\n");
    server.stop();
}

/// The partial output of a program that was stopped.
fn is_stopped(answer: &Answer) {
    let stderr = BASE64_STANDARD.encode("timeout running program\n");
    let wanted = format!(
        "{{\n  \"exitCode\": 1,\n  \"stdout\": \"YmVmb3Jl\",\n  \"stderr\": \"{stderr}\"\n}}"
    );
    assert_eq!(answer.text(), wanted);
}

fn interrupted() {
    is_stopped(&stopped("sleep"));
}

fn killed() {
    is_stopped(&stopped("sleep-on"));
}

fn stuck() {
    let server = Server::start("log = \"none\"\n");
    let mut running = send(server.address, "POST", "/run", &[("X-Argument", "sleep-on")], tool());
    let mut init = None;
    eventually("the program runs", || {
        init = init_above("play", server.pid());
        init.is_some()
    });
    kill(&init.expect("it was just found").to_string(), "STOP");
    let mut answer = String::new();
    running.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(&error("timeout running program")), "{answer}");
    server.stop();
}

/// The parent of the process of that name that descends from this one.
fn init_above(name: &str, ancestor: u32) -> Option<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let named = |pid: &u32| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        comm.trim() == name
    };
    let descends = |pid: &u32| {
        let mut above = std::iter::successors(Some(*pid), |pid| parent(*pid));
        above.any(|pid| pid == ancestor)
    };
    pids.filter(named).find(descends).and_then(parent)
}

fn out_of_memory() {
    let answer = Server::shared().run(tool(), &["memory"]);
    let wanted = "{\n  \"exitCode\": 137,\n  \"stdout\": null,\n  \"stderr\": \"\"\n}";
    assert_eq!(answer.text(), wanted);
}

fn bodies() {
    let mut body = tool().to_vec();
    body.resize(100 * MIB, 0);
    // A busy machine may take longer to take it in than its client would wait.
    let run = || Server::shared().run(&body, &["say", "x"]);
    let answer = tried(run, |answer| answer.status == 200);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("\"eA==\""), "{}", answer.text());
    body.push(0);
    let answer = Server::shared().run(&body, &["say", "x"]);
    assert_eq!((answer.status, answer.text()), (500, "http: request body too large\n"));
}

/// The place is taken for 4.5 s, and the client of the other waits for 5 s.
fn late() {
    let server = Server::start("log = \"none\"\n[line]\nslots = 1\n");
    let address = server.address;
    let first =
        thread::spawn(move || ask(address, "POST", "/run", &[("X-Argument", "sleep")], tool()));
    eventually("the first one runs", || init_above("play", server.pid()).is_some());
    let second = server.run(tool(), &["sleep"]);
    assert_eq!(first.join().unwrap().status, 200, "it has run");
    assert_eq!((second.status, second.text()), (500, NO_CELL));
    server.stop();
}

/// Whoever keeps connections must not send the next request through this one.
fn refusal_says_close() {
    let server = Server::shared();
    let head = "POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857601\r\n\r\n";
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
}
