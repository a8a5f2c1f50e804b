//! What answers look like.

use crate::Case;
use crate::built::tool;
use crate::http::ask;
use crate::server::Server;

pub(crate) const ALL: &[Case] = &[
    ("l_1_output_is_returned", output_is_returned),
    ("l_1_no_output_is_null_and_no_error_output_is_empty", nothing_is_null),
    ("l_2_marks_of_the_original_are_bytes_like_others", marks),
    ("l_3_figures_have_the_names_of_the_original", figures),
    ("l_7_answers_have_the_documented_fields_and_no_other", fields),
    ("l_10_whatever_is_no_post_is_refused", methods),
    ("l_10_an_empty_body_is_a_program_that_does_not_start", empty),
    ("l_11_text_is_a_program_that_does_not_start", text),
    ("arguments_arrive_in_order", arguments),
    ("a_thousand_arguments_arrive", many_arguments),
    ("exit_codes_arrive", exit_codes),
    ("a_program_that_a_signal_ends_has_exit_code_255", signals),
    ("a_script_without_its_interpreter_does_not_start", interpreter),
    ("the_key_that_the_front_end_sends_with_every_program_means_nothing", idempotency),
    ("paths_say_what_they_say", paths),
];

const HELLO: &str = "{\n  \"exitCode\": 0,\n  \"stdout\": \"aGVsbG8K\",\n  \"stderr\": \"\"\n}";

fn output_is_returned() {
    let answer = Server::shared().run(tool(), &["say", "hello"]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), HELLO.replace("aGVsbG8K", "aGVsbG8="));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    let answer = Server::shared().run(tool(), &["say-err", "hello"]);
    let wanted = "{\n  \"exitCode\": 0,\n  \"stdout\": null,\n  \"stderr\": \"aGVsbG8=\"\n}";
    assert_eq!(answer.text(), wanted);
}

fn nothing_is_null() {
    let answer = Server::shared().run(tool(), &[]);
    assert_eq!(answer.status, 200);
    let wanted = "{\n  \"exitCode\": 0,\n  \"stdout\": null,\n  \"stderr\": \"\"\n}";
    assert_eq!(answer.text(), wanted);
}

/// The original finds out where a program's output begins by marks in it.
fn marks() {
    for (mark, base64) in [
        ("golang-gvisor-process-started", "Z29sYW5nLWd2aXNvci1wcm9jZXNzLXN0YXJ0ZWQ="),
        ("golang-gvisor-process-got-input", "Z29sYW5nLWd2aXNvci1wcm9jZXNzLWdvdC1pbnB1dA=="),
    ] {
        let answer = Server::shared().run(tool(), &["say-slowly", mark]);
        let wanted = format!(
            "{{\n  \"exitCode\": 0,\n  \"stdout\": \"{base64}\",\n  \"stderr\": \"{base64}\"\n}}"
        );
        assert_eq!(answer.text(), wanted);
    }
}

fn figures() {
    let server = Server::shared();
    server.run(tool(), &[]);
    assert!(server.figure("go_playground_sandbox_container_count") > 0);
    assert_eq!(server.figure("go_playground_sandbox_unwanted_container_count"), 0);
    assert_eq!(server.figure("go_playground_sandbox_max_container_count"), 32);
    let created = "go_playground_sandbox_container_create_count";
    assert!(server.figure(&format!("{created}{{container_create_success=\"success\"}}")) > 0);
    let lines = server.get("/statusz");
    let is_metric = |line: &str| line.starts_with('#') || line.rsplit_once(' ').is_some();
    assert!(lines.text().lines().all(is_metric), "{}", lines.text());
}

fn fields() {
    let answer = Server::shared().run(tool(), &["exit", "3"]);
    let object: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let names: Vec<_> = object.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(["exitCode", "stdout", "stderr"].iter().all(|name| object.get(name).is_some()));
}

fn methods() {
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let answer = ask(Server::shared().address, method, "/run", &[], tool());
        assert_eq!(answer.status, 400, "{method}");
        let body = if method == "HEAD" { "" } else { "expected a POST\n" };
        assert_eq!(answer.text(), body, "{method}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
}

/// The text on standard error of a program that was not started.
fn does_not_start(body: &[u8], reason: &str) {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let answer = Server::shared().run(body, &[]);
    assert_eq!(answer.status, 200);
    let object: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(object["exitCode"], 1, "{object}");
    assert_eq!(object["stdout"], serde_json::Value::Null);
    let stderr = BASE64_STANDARD.decode(object["stderr"].as_str().unwrap()).unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    let wanted = format!(" cmd.Start(): fork/exec /tmpfs/play: {reason}\n");
    assert!(stderr.ends_with(&wanted), "{stderr}");
}

fn empty() {
    does_not_start(b"", "exec format error");
}

fn text() {
    // Files of a playground program, which its front end takes apart: here they are but bytes.
    does_not_start(b"-- ../../evil.go --\npackage main\n", "exec format error");
}

fn interpreter() {
    does_not_start(b"#!/no/such/interpreter\n", "no such file or directory");
}

fn arguments() {
    let answer = Server::shared().run(tool(), &["arguments", "-b", "a, b", "", "-a"]);
    let wanted = "[/tmpfs/play][arguments][-b][a, b][][-a]";
    let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, wanted);
    assert!(answer.text().contains(&encoded), "{}", answer.text());
}

fn many_arguments() {
    let answer = Server::shared().run(b"#!/bin/sh\necho $#\n", &["-"; 1000]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), HELLO.replace("aGVsbG8K", "MTAwMAo="));
}

fn exit_codes() {
    for code in ["1", "2", "124", "137", "255"] {
        let answer = Server::shared().run(tool(), &["exit", code]);
        let wanted =
            format!("{{\n  \"exitCode\": {code},\n  \"stdout\": null,\n  \"stderr\": \"\"\n}}");
        assert_eq!(answer.text(), wanted);
    }
}

fn signals() {
    for signal in ["9", "11", "15", "31"] {
        let answer = Server::shared().run(tool(), &["signal", signal]);
        let wanted = "{\n  \"exitCode\": 255,\n  \"stdout\": null,\n  \"stderr\": \"\"\n}";
        assert_eq!(answer.text(), wanted, "signal {signal}");
    }
}

fn idempotency() {
    for text in ["one", "two"] {
        let headers = [("Idempotency-Key", "1"), ("X-Argument", "say"), ("X-Argument", text)];
        let answer = ask(Server::shared().address, "POST", "/run", &headers, tool());
        let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, text);
        assert!(answer.text().contains(&encoded), "{text}: {}", answer.text());
    }
}

fn paths() {
    let server = Server::shared();
    for (path, status, body) in [
        ("/", 200, Some("Hi from sandbox\n")),
        ("/health", 200, Some("OK\n")),
        ("/healthz", 200, Some("OK\n")),
        ("/no/such/path", 404, None),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}");
        if let Some(body) = body {
            assert_eq!(answer.text(), body, "{path}");
        }
    }
    assert_eq!(ask(server.address, "POST", "/", &[], b"").text(), "Hi from sandbox\n");
}
