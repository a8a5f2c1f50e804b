//! Engines that are not there, go away, or have no room: an error that says so, and nothing left.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemons::{Engine, IMAGE, fresh};
use crate::fumehood::{binary, command, report, run, stderr};

/// Runs that need no engine.
pub(crate) fn a_missing_socket_is_named(name: &'static str) {
    let variable = if name == "docker" { "DOCKER_HOST" } else { "CONTAINER_HOST" };
    let run = |address: &str| {
        let args = ["run", "--backend", name, "--image", IMAGE, "--", "true"];
        let output =
            std::process::Command::new(binary()).args(args).env(variable, address).output();
        output.expect("it starts")
    };
    let output = run("unix:///nonexistent/engine.sock");
    assert_eq!(output.status.code(), Some(99), "{}", stderr(&output));
    assert!(stderr(&output).contains("is not running"), "{}", stderr(&output));
    let output = run("tcp://127.0.0.1:2375");
    assert!(stderr(&output).contains("only unix sockets"), "{}", stderr(&output));
    let dir = fresh("deaf");
    let deaf = std::os::unix::net::UnixListener::bind(dir.join("s")).expect("it can be bound");
    drop(deaf);
    let output = run(&format!("unix://{}", dir.join("s").display()));
    assert!(stderr(&output).contains("nobody listens"), "{}", stderr(&output));
    drop(fs::remove_dir_all(dir));
}

pub(crate) fn a_missing_image_is_named(engine: &Engine) {
    let pinned = format!("{IMAGE}@sha256:{}", "0".repeat(64));
    let said = crate::fumehood::job(
        engine,
        &serde_json::json!({
            "args": ["true"], "backend": engine.name, "root": { "image": pinned },
        }),
        &[],
    );
    assert_eq!(said["error"]["kind"], "image", "{said}");
    assert!(said["error"]["message"].to_string().contains(&pinned), "{said}");
    engine.has_nothing_left();
}

pub(crate) fn an_image_is_pinned_by_its_id(engine: &Engine) {
    let image = crate::http::get(&engine.socket, &format!("/images/{IMAGE}/json"));
    let id = image["Id"].as_str().expect("it has one");
    let id = format!("sha256:{}", id.strip_prefix("sha256:").unwrap_or(id));
    for pinned in [id.clone(), format!("{IMAGE}@{id}")] {
        let args = ["run", "--backend", engine.name, "--image", &pinned, "--", "echo", "pinned"];
        let output = command(engine, &args).output().expect("it starts");
        assert_eq!(output.stdout, b"pinned\n", "{}", stderr(&output));
    }
}

pub(crate) fn a_killed_supervisor_leaves_what_gc_finds(engine: &Engine) {
    let args = ["run", "--backend", engine.name, "--image", IMAGE, "--", "sleep", "60"];
    let mut child = command(engine, &args).spawn().expect("it starts");
    engine.inspect_first();
    child.kill().expect("it runs");
    drop(child.wait());
    let found = command(engine, &["gc", "--dry-run", "--json"]).output().expect("it starts");
    let found: Value = serde_json::from_slice(&found.stdout).expect("it is JSON");
    let is_ours = |one: &&Value| one["supervisor"] == child.id();
    let ours = found.as_array().expect("a list").iter().filter(is_ours).count();
    let left = engine.containers().len();
    // Podman may have seen the end of the line to its caller by now, and have removed it.
    if engine.name == "docker" || ours + left > 1 {
        assert_eq!(ours, 1, "{found}");
        assert_eq!(left, 1, "it was only looked for");
    }
    let swept = command(engine, &["gc"]).output().expect("it starts");
    assert!(swept.status.success(), "{}", stderr(&swept));
    engine.has_nothing_left();
}

/// Nobody is left, and the container ends all the same: its init knows how long it may live.
pub(crate) fn a_container_that_nobody_watches_ends(engine: &Engine) {
    let flags = ["run", "--backend", engine.name, "--image", IMAGE, "--timeout", "3s"];
    let args = [&flags[..], &["--", "sh", "-c", "trap '' TERM; sleep 600"]].concat();
    let mut child = command(engine, &args).spawn().expect("it starts");
    engine.inspect_first();
    child.kill().expect("it runs");
    drop(child.wait());
    let deadline = Instant::now() + Duration::from_secs(60);
    while !engine.containers().is_empty() {
        assert!(Instant::now() < deadline, "it is still there");
        sleep(Duration::from_millis(100));
    }
}

/// Y-13: an engine that goes away is an error, and no end of the program's.
pub(crate) fn y_13_an_engine_that_stops_in_mid_run_is_an_error(name: &'static str) {
    let mut engine = Engine::start(name).expect("one has started before");
    let dir = fresh("report");
    let report = dir.join("report.json");
    let report = report.to_str().expect("it is text");
    let args = ["run", "--report", report, "--backend", name, "--image", IMAGE, "--timeout", "50s"];
    let program = ["--", "sh", "-c", "echo ready; sleep 50"];
    let child = command(&engine, &[&args[..], &program].concat()).spawn();
    let mut child = child.expect("it starts");
    let mut line = [0; 6];
    let stdout = child.stdout.as_mut().expect("it is piped");
    std::io::Read::read_exact(stdout, &mut line).expect("it says that it is ready");
    if name == "docker" {
        engine.stop();
    } else {
        // Podman's containers do not belong to its service, which only carries their streams.
        engine.kill();
    }
    let output = child.wait_with_output().expect("it ends");
    let said = fs::read(report).expect("there is a report");
    let said: Value = serde_json::from_slice(&said).expect("it is JSON");
    drop(fs::remove_dir_all(dir));
    assert_eq!(said["error"]["kind"], "internal", "{said}");
    assert!(said["error"]["message"].to_string().contains("engine went away"), "{said}");
    assert_eq!(output.status.code(), Some(125));
}

/// A file system of 40 MB, which the image and one container's layer nearly fill.
pub(crate) fn a_full_disk_is_told(name: &'static str) {
    let dir = fresh("full");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &dir, "tmpfs", flags, c"size=40m").expect("we are root");
    let engine = Engine::start_in(name, dir.clone()).expect("one has started before");
    let filler = dir.join("filler");
    fill(&filler);
    let said = report(&engine, &[], &["true"]);
    assert!(said.get("error").is_some(), "{said}");
    let message = said["error"]["message"].to_string();
    assert!(message.to_lowercase().contains("no space left"), "{said}");
    fs::remove_file(&filler).expect("it is ours");
    engine.has_nothing_left();
    let output = run(&engine, &[], &["true"]);
    assert_eq!(output.status.code(), Some(0), "with room again: {}", stderr(&output));
    drop(engine);
    let _ = rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::DETACH);
    drop(fs::remove_dir_all(dir));
}

fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("there is room");
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}
