//! One job file, unchanged, by our own cells and by an engine.

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
    let own = fumehood(&["run", "--json", "--job", file]);
    let other = fumehood(&["run", "--json", "--job", file, "--backend", engine.name]);
    assert_eq!(essence(&own), essence(&other));
    assert_eq!(own["outcome"]["code"], 9);
    assert_eq!(other["artifacts"].as_array().map(Vec::len), Some(2), "{other}");
    let held = |said: &Value, guarantee: &str| {
        said["confinement"]["guarantees"][guarantee]["state"].as_str() == Some("held")
    };
    assert!(held(&own, "landlock") && !held(&other, "landlock"), "they differ as they truly do");
    assert_eq!(own["confinement"]["backend"], "native");
    assert_eq!(other["confinement"]["backend"], engine.name);
    drop(fs::remove_dir_all(dir));
}
