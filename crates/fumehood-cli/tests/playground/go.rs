//! What Go programs print, and when, as a client plays it back that knows the documented protocol
//! and nothing else.

use std::fs;

use serde_json::{Value, json};

use crate::Case;
use crate::built::{client, faketime};
use crate::server::{Server, tried};

pub(crate) const ALL: &[Case] = &[
    ("l_8_bytes_outside_of_frames_belong_to_what_came_before", outside),
    ("l_8_two_streams_are_told_in_the_order_of_their_times", interleaved),
    ("l_8_a_cut_off_header_is_an_error_and_cut_off_data_are_not", cut_off),
    ("l_9_time_starts_when_go_was_announced", now),
    ("l_9_time_zones_are_there", zones),
    ("l_9_sleep_takes_no_time_and_is_told", sleep),
    ("l_9_streams_keep_their_order_by_a_nanosecond", streams),
    ("l_9_tickers_tick_in_order", tickers),
    ("l_9_files_that_programs_look_for_are_there", files),
    ("l_9_a_loop_is_stopped_and_its_output_kept", endless),
    ("l_9_addresses_are_parsed_without_c", ip),
    ("l_10_a_panic_is_exit_code_2_and_tells_of_itself", panics),
    ("bytes_that_are_no_text_are_replaced_by_the_client", bytes),
    ("arguments_reach_a_go_program", arguments),
];

fn event(message: &str, kind: &str, delay: u64) -> Value {
    json!({ "Message": message, "Kind": kind, "Delay": delay })
}

fn stdout(message: &str, delay: u64) -> Value {
    event(message, "stdout", delay)
}

/// What the client makes of a run.
fn play(arguments: &[&str]) -> Value {
    let url = Server::shared().url();
    let program = faketime().to_str().unwrap();
    read(&client(&[&["run", &url, program], arguments].concat()))
}

fn read(output: &std::process::Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the client makes of two streams.
fn decode(stdout: &[u8], stderr: &[u8]) -> std::process::Output {
    let dir = tempfile::tempdir().unwrap();
    let files = [dir.path().join("stdout"), dir.path().join("stderr")];
    fs::write(&files[0], stdout).unwrap();
    fs::write(&files[1], stderr).unwrap();
    client(&["decode", files[0].to_str().unwrap(), files[1].to_str().unwrap()])
}

const START: u64 = 1_257_894_000_000_000_000;

/// A frame of bytes that were written so long after the start.
fn frame(after: u64, text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap();
    [&b"\0\0PB"[..], &(START + after).to_be_bytes(), &len.to_be_bytes(), text.as_bytes()].concat()
}

fn outside() {
    let stream = [&b"head"[..], &frame(0, "one"), &frame(5, "two"), b"tail"].concat();
    let played = read(&decode(&stream, b""));
    assert_eq!(played["Events"], json!([stdout("headone", 0), stdout("twotail", 5)]));
}

fn interleaved() {
    let out = [frame(0, "a"), frame(10, "c"), frame(7, "d")].concat();
    let err = [frame(0, "first"), frame(4, "b")].concat();
    let wanted = json!([
        event("first", "stderr", 0),
        stdout("a", 0),
        event("b", "stderr", 4),
        // A time that goes back does not.
        stdout("cd", 6),
    ]);
    assert_eq!(read(&decode(&out, &err))["Events"], wanted);
}

fn cut_off() {
    let whole = frame(3, "text");
    let played = read(&decode(&whole[..whole.len() - 2], b""));
    assert_eq!(played["Events"], json!([stdout("te", 3)]));
    assert!(!decode(&whole[..10], b"").status.success());
}

fn now() {
    assert_eq!(play(&["now"])["Events"], json!([stdout("2009-11-10 23:00:00\n", 0)]));
}

fn zones() {
    if !std::path::Path::new("/usr/share/zoneinfo/Europe/Berlin").exists() {
        let played = play(&["zones"]);
        assert_eq!(played["Status"], 1, "this host has no zones, and says so: {played}");
        return;
    }
    assert_eq!(play(&["zones"])["Events"], json!([stdout("18:00 EST\n00:00 CET\n", 0)]));
}

fn sleep() {
    let wanted = json!([stdout("before\n", 0), stdout("after\n", 2_000_000_000)]);
    assert_eq!(play(&["sleep"])["Events"], wanted);
}

fn streams() {
    let wanted = json!([
        stdout("1", 0),
        event("2", "stderr", 1),
        stdout("3", 1),
        stdout("4", 999_999_998),
        stdout("5", 1_000_000_000),
    ]);
    assert_eq!(play(&["streams"])["Events"], wanted);
}

fn tickers() {
    let events = play(&["tickers"])["Events"].as_array().unwrap().clone();
    let printed: String = events.iter().map(|event| event["Message"].as_str().unwrap()).collect();
    // Of two that are due at the same moment either may come first.
    let sorted = |text: &str| {
        let mut ticks: Vec<_> = text.chars().collect();
        ticks.sort_unstable();
        ticks
    };
    assert_eq!(sorted(&printed), sorted("111211312"), "{printed}");
    assert!(printed.starts_with("11"), "{printed}");
    assert_eq!(
        events.iter().map(|event| event["Delay"].as_u64().unwrap()).sum::<u64>(),
        6_000_000_000
    );
}

fn files() {
    let there = ["/etc/hostname", "/dev/zero", "/etc/nsswitch.conf", "/bin/env", "/tmpfs"];
    let played = play(&[&["files"][..], &there].concat());
    let wanted: String = there.iter().map(|path| format!("{path} true\n")).collect();
    assert_eq!(played["Events"], json!([stdout(&wanted, 0)]));
}

fn endless() {
    // Its cell has little time to end: see the tests of limits.
    let played = tried(|| play(&["loop"]), |played| played["Errors"] == "");
    assert_eq!((&played["Errors"], &played["Status"]), (&json!(""), &json!(1)), "{played}");
    let wanted = json!([event("timeout running program\n", "stderr", 0), stdout("before\n", 0),]);
    assert_eq!(played["Events"], wanted);
}

fn ip() {
    assert_eq!(play(&["ip"])["Events"], json!([stdout("2001:db8::1\n", 0)]));
}

fn panics() {
    let played = play(&["panic"]);
    assert_eq!(played["Status"], 2);
    let message = played["Events"][0]["Message"].as_str().unwrap();
    assert!(message.starts_with("panic: no\n\ngoroutine 1"), "{message}");
    assert_eq!(played["Events"][0]["Kind"], "stderr");
}

fn bytes() {
    assert_eq!(play(&["bytes"])["Events"], json!([stdout("a\u{fffd}b", 0)]));
}

fn arguments() {
    assert_eq!(
        play(&["arguments", "-test.v", "", "a b"])["Events"],
        json!([stdout("-test.v||a b", 0)])
    );
}
