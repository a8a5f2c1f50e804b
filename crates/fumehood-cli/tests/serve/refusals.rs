//! What strangers' jobs may not ask for.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Promise, Request, Service, has_process, marker, promises};

promises! {
    nothing_of_the_host_is_given,
    limits_stay_below_their_ceilings,
    a_ceiling_below_a_default_takes_its_place,
    more_is_not_collected_than_can_be_compared,
    what_is_refused_never_runs,
    a_body_that_nobody_reads_ends_its_connection,
    headers_that_are_not_understood_are_not_passed_over,
    the_name_in_a_target_counts_more_than_host,
}

/// Asks for a job with these fields besides its program.
fn ask(service: &Service, fields: &Value) -> crate::support::Answer {
    let mut job = json!({ "args": ["true"] });
    let fields = fields.as_object().expect("an object").clone();
    job.as_object_mut().expect("an object").extend(fields);
    service.ask(&Request::run(&job))
}

/// Asserts that these are refused, each because of its field.
#[track_caller]
fn are_refused(service: &Service, asked: &[(Value, &str)]) {
    for (fields, field) in asked {
        let problem = ask(service, fields).problem(403, "forbidden");
        assert_eq!(problem["errors"][0]["field"], *field, "{fields}");
    }
}

fn nothing_of_the_host_is_given() -> Promise {
    let service = Service::start("");
    let mount = json!({ "source": "/etc", "target": "/mnt" });
    are_refused(
        &service,
        &[
            (json!({ "mounts": [mount] }), "mounts[0].source"),
            (json!({ "network": "host" }), "network"),
            (json!({ "waive": ["landlock"] }), "waive"),
            (json!({ "seccomp": { "profile": "/etc/passwd" } }), "seccomp.profile"),
            (json!({ "root": { "dir": "/" } }), "root.dir"),
            (json!({ "root": { "bundle": "/srv" } }), "root.bundle"),
            (json!({ "backend": "unconfined" }), "backend"),
            (json!({ "root": { "image": "busybox" } }), "root.image"),
            (json!({ "stdin": "inherit" }), "stdin"),
            (json!({ "stdin": { "file": "/etc/shadow" } }), "stdin.file"),
            (json!({ "inputs": [{ "dir": "/etc" }] }), "inputs[0].dir"),
            (json!({ "inputs": [{ "file": "/etc/shadow" }] }), "inputs[0].file"),
            (json!({ "inputs": [{ "tar": "/a.tar" }] }), "inputs[0].tar"),
            (json!({ "inputs": [{ "tar": "stdin" }] }), "inputs[0].tar"),
            (json!({ "collect": { "paths": ["a"], "to": { "dir": "/tmp/a" } } }), "collect.to"),
            (json!({ "env": { "inherit": ["PATH"] } }), "env.inherit"),
            (
                json!({ "env": { "set": { "AWS_SECRET_ACCESS_KEY": "x" } } }),
                "env.set.AWS_SECRET_ACCESS_KEY",
            ),
        ],
    );
    Ok(())
}

fn limits_stay_below_their_ceilings() -> Promise {
    let service = Service::start("");
    let limit = |name: &str, value: Value| json!({ "limits": { name: value } });
    are_refused(
        &service,
        &[
            (limit("memory", json!("1TiB")), "limits.memory"),
            (limit("memory", json!("unlimited")), "limits.memory"),
            (limit("wall_time", json!("1h")), "limits.wall_time"),
            (limit("cpu_time", json!("unlimited")), "limits.cpu_time"),
            (limit("pids", json!(100_000)), "limits.pids"),
            (limit("output", json!("1GiB")), "limits.output"),
            (limit("file_size", json!("1TiB")), "limits.file_size"),
            (limit("open_files", json!(1_000_000)), "limits.open_files"),
            (limit("workspace", json!("1TiB")), "limits.workspace"),
            (limit("tmp", json!("1TiB")), "limits.tmp"),
            (limit("inodes", json!("unlimited")), "limits.inodes"),
            (limit("grace", json!("1m")), "limits.grace"),
            (json!({ "tmpfs": [{ "target": "/a", "size": "1TiB" }] }), "tmpfs[0].size"),
            (json!({ "input_limits": { "size": "1TiB" } }), "input_limits.size"),
            (json!({ "collect": { "paths": [], "size": "1TiB" } }), "collect.size"),
        ],
    );
    ask(&service, &json!({ "limits": { "wall_time": "1m", "pids": 100 } })).is(200);
    Ok(())
}

fn a_ceiling_below_a_default_takes_its_place() -> Promise {
    let run = |ceiling: &str, args: &[&str]| {
        let service = Service::start(&format!("[ceilings]\n{ceiling}"));
        service.run(args)["outcome"]["kind"].clone()
    };
    assert_eq!(run("wall_time = '100ms'", &["sleep", "60"]), "timed-out");
    assert_eq!(run("output = '1KiB'", &["sh", "-c", "head -c 2000 /dev/zero"]), "output-limit");
    Ok(())
}

/// Every path is compared with every name, which no clock of the job counts.
fn more_is_not_collected_than_can_be_compared() -> Promise {
    let service = Service::start("");
    let collect = |paths: Vec<String>| ask(&service, &json!({ "collect": { "paths": paths } }));
    collect((0..1000).map(|number| format!("a{number}")).collect()).is(200);
    let problem = collect(vec!["a".to_owned(); 1001]).problem(422, "invalid-job");
    assert_eq!(problem["errors"][0]["field"], "collect.paths");
    let problem = collect(vec!["a".repeat(5000)]).problem(422, "invalid-job");
    assert_eq!(problem["errors"][0]["field"], "collect.paths[0]");
    Ok(())
}

fn what_is_refused_never_runs() -> Promise {
    let service = Service::start("");
    let (marker, path) = (marker(), service.dir().join("proof"));
    std::fs::create_dir(&path).expect("the directory is ours");
    let job = json!({
        "args": ["sh", "-c", "touch /mnt/ran; sleep 60", marker],
        "mounts": [{ "source": path, "target": "/mnt", "access": "rw" }],
    });
    service.ask(&Request::run(&job)).problem(403, "forbidden");
    assert!(!has_process(&marker));
    assert!(!path.join("ran").exists());
    assert_eq!(service.figure("fumehood_running"), 0);
    Ok(())
}

/// The answer comes although the client goes on sending, says that it is the last, and is.
fn a_body_that_nobody_reads_ends_its_connection() -> Promise {
    const LARGE: usize = 100 << 20;
    let tokens = "[[token]]\nname = 'one'\nsecret = 'a-token-of-our-own'";
    let dir = tempfile::tempdir().expect("a place for files");
    std::fs::write(dir.path().join("tokens"), tokens).expect("the directory is ours");
    let settings = "listen = ['127.0.0.1:0', 'unix:DIR/socket']\n[access]\ntokens = 'DIR/tokens'";
    std::fs::set_permissions(dir.path().join("tokens"), Permissions::from_mode(0o600))
        .expect("the file is ours");
    let service = Service::start_in(dir, settings);
    let known = ("authorization", "Bearer a-token-of-our-own");
    let run = Request::run(&json!({ "args": ["true"] })).header(known.0, known.1);
    let large = Request::new("POST", "/v1/runs").header("content-type", "application/json");
    let wrong_type = large.clone().header("content-type", "text/plain").header(known.0, known.1);
    for (request, status) in
        [(large.clone().header(known.0, known.1), 413), (large, 401), (wrong_type, 415)]
    {
        let mut client = service.client();
        assert_eq!(client.ask(&run).is(200).header("connection"), None);
        client.tell(&request.body(vec![b' '; LARGE]));
        let answer = client.answer().is(status);
        assert_eq!(answer.header("connection"), Some("close"), "{status}");
        assert!(client.is_closed(), "{status}");
    }
    Ok(())
}

/// The body is a job, which would run.
fn headers_that_are_not_understood_are_not_passed_over() -> Promise {
    let service = Service::start("");
    let run = Request::run(&json!({ "args": ["true"] }));
    let cases = [
        ("Content-Encoding", "gzip", 415, "media-type"),
        ("Content-Encoding", "identity, gzip", 415, "media-type"),
        ("Expect", "a-miracle", 417, "expectation"),
        ("Content-Type", "text/plain", 400, "bad-request"),
    ];
    for (name, value, status, kind) in cases {
        let problem = service.ask(&run.clone().header(name, value)).problem(status, kind);
        let detail = problem["detail"].as_str().expect("words");
        assert!(detail.starts_with(&format!("{name}: ")), "{detail}");
    }
    for (name, value) in [("Content-Encoding", "identity"), ("Content-Encoding", "")] {
        service.ask(&run.clone().header(name, value)).is(200);
    }
    let bare = |version: &str, target: &str| {
        let mut client = service.client();
        client.send(format!("GET {target} HTTP/{version}\r\n\r\n").as_bytes());
        client.answer()
    };
    for target in ["/livez", "http://localhost/livez"] {
        let problem = bare("1.1", target).problem(400, "bad-request");
        assert!(problem["detail"].as_str().expect("words").starts_with("Host: "), "{problem}");
    }
    bare("1.0", "/livez").problem(403, "forbidden");
    bare("1.0", "http://localhost/livez").is(200);
    let chunked = |coding: &str| {
        let mut client = service.client();
        client.send(
            b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n",
        );
        client.send(format!("transfer-encoding: {coding}\r\n\r\n").as_bytes());
        client.send(b"10\r\n{\"args\":[\"true\"]\r\n1\r\n}\r\n0\r\n\r\n");
        client.answer()
    };
    chunked("Chunked").is(200);
    for coding in ["gzip, chunked", "chunked, chunked", "gzip\r\ntransfer-encoding: chunked"] {
        chunked(coding).problem(501, "transfer-coding");
    }
    Ok(())
}

/// As proxies send it, and RFC 9112, section 3.2.2 has it.
fn the_name_in_a_target_counts_more_than_host() -> Promise {
    let service = Service::start("");
    let ask = |target: &str, host: &str| {
        let path = format!("http://{target}/livez");
        service.ask(&Request::get(&path).header("host", host))
    };
    ask("localhost", "evil.example").is(200);
    ask("evil.example", "localhost").problem(403, "forbidden");
    Ok(())
}
