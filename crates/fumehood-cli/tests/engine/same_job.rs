//! One job file, unchanged, by our own cells, by runtimes and by an engine.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::daemons::{Engine, IMAGE, fresh};
use crate::fumehood::{binary, stderr};
use crate::http;

const SCRIPT: &str = "cat; cat in/data; id -u > /dev/null; mkdir out; echo made > out/a; ln -s a out/l; \
                      echo tmp > /tmp/t; echo $GREETING >&2; pwd; exit 9";

/// What must be the same: not what was used, nor what held.
fn essence(said: &Value) -> Value {
    assert!(said.get("outcome").is_some(), "{said}");
    let mut parts = json!({});
    for part in ["outcome", "stdout", "stderr", "artifacts", "skipped"] {
        parts[part] = said[part].clone();
    }
    parts
}

#[expect(clippy::print_stdout, reason = "what is not tried is said")]
pub(crate) fn one_job_file_gives_the_same_everywhere(engine: &Engine) {
    let dir = fresh("same");
    let image = http::ask(&engine.socket, "GET", &format!("/images/{IMAGE}/get"), "", b"");
    let (status, archive) = image.expect("the engine answers");
    assert_eq!(status, 200);
    fs::write(dir.join("image.tar"), archive).expect("there is room");
    let file = dir.join("job.json");
    let job = json!({
        "args": ["sh", "-c", SCRIPT], "root": { "image": IMAGE },
        "stdin": { "text": "from stdin\n" }, "env": { "set": { "GREETING": "hello" } },
        "inputs": [{ "text": "from an input\n", "to": "/workspace/in/data" }],
        "collect": { "paths": ["out", "/tmp/t", "none"] },
    });
    fs::write(&file, job.to_string()).expect("there is room");
    let (name, value) = engine.variable();
    let fumehood = |args: &[&str]| {
        let mut command = Command::new(binary());
        command.args(args).env(name, &value).env("XDG_CACHE_HOME", dir.join("cache"));
        let output = command.output().expect("it starts");
        assert!(!output.stdout.is_empty(), "{}", stderr(&output));
        serde_json::from_slice::<Value>(&output.stdout).expect("it is JSON")
    };
    let archive = dir.join("image.tar");
    let archive = archive.to_str().expect("it is text");
    fumehood(&["image", "import", "--json", "--name", IMAGE, archive]);
    let file = file.to_str().expect("it is text");
    let run = |backend: &str| fumehood(&["run", "--json", "--job", file, "--backend", backend]);
    let own = fumehood(&["run", "--json", "--job", file]);
    assert_eq!(own["outcome"]["code"], 9);
    assert_eq!(own["artifacts"].as_array().map(Vec::len), Some(2), "{own}");
    differs_as_it_does("native", &own);
    for backend in ["runsc", "crun", "runc", engine.name] {
        let other = run(backend);
        if other["error"]["kind"] == "no-backend" && backend != engine.name {
            println!("not compared: {backend}: {}", other["error"]["message"]);
            continue;
        }
        assert_eq!(essence(&own), essence(&other), "{backend}");
        differs_as_it_does(backend, &other);
    }
    drop(fs::remove_dir_all(dir));
}

/// By what the walls are told apart: nothing of it can be had in the other ways.
fn differs_as_it_does(backend: &str, said: &Value) {
    let confinement = &said["confinement"];
    assert_eq!(confinement["backend"], backend);
    let expected = match backend {
        "native" => [false, true, true],
        "runsc" => [true, false, false],
        _ => [false, false, true],
    };
    let guarantees = ["kernel-boundary", "landlock", "syscall-filter"];
    let held = guarantees.map(|name| confinement["guarantees"][name]["state"] == "held");
    assert_eq!(held, expected, "{backend}: {guarantees:?}");
    for always in
        ["filesystem", "read-only-root", "processes", "network", "no-privileges", "memory"]
    {
        assert_eq!(confinement["guarantees"][always]["state"], "held", "{backend}: {always}");
    }
}
