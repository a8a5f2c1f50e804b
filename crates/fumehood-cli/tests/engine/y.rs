//! A job of synchestra's `sandbox` package, and how it is said here: what `docs/migrating.md` tells
//! in words. Its cases are run against this.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::daemons::{Engine, IMAGE};
use crate::fumehood::job;

/// Its `Job`.
#[derive(Debug, Default)]
pub(crate) struct Job<'a> {
    pub(crate) cmd: &'a [&'a str],
    pub(crate) env: &'a [(&'a str, &'a str)],
    pub(crate) work_dir: Option<&'a str>,
    pub(crate) mounts: &'a [(&'a str, &'a str, bool)],
    pub(crate) input_tar: Option<Vec<u8>>,
    pub(crate) input_dir: Option<&'a str>,
    pub(crate) collect: &'a [&'a str],
    pub(crate) limits: Limits<'a>,
}

/// Its `Limits`: zero stands for none.
#[derive(Debug, Default)]
pub(crate) struct Limits<'a> {
    pub(crate) cpus: f64,
    pub(crate) memory_mb: u64,
    pub(crate) pids: u64,
    pub(crate) timeout_ms: u64,
    /// Empty was `bridge` there, and is `none` here.
    pub(crate) network: &'a str,
}

/// Its `Result`.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit_code: i64,
    pub(crate) logs: String,
    pub(crate) artifacts: BTreeMap<String, Vec<u8>>,
    pub(crate) timed_out: bool,
}

/// Its default for `InputDir`, and the directory that is in memory in any case.
const INPUT_DIR: &str = "/workspace";

impl Job<'_> {
    /// The job as it is written here.
    pub(crate) fn lowered(&self, engine: &Engine) -> Value {
        let input_dir = self.input_dir.unwrap_or(INPUT_DIR);
        let mut job = json!({
            "args": self.cmd,
            "root": { "image": IMAGE, "entrypoint": [] },
            "backend": engine.name,
            "env": { "set": self.env.iter().copied().collect::<BTreeMap<_, _>>() },
            "cwd": self.work_dir.unwrap_or(INPUT_DIR),
            "limits": self.limits.lowered(),
            "collect": { "paths": self.collect },
        });
        job["mounts"] = self.mounts.iter().map(mount).collect();
        let nested = input_dir == INPUT_DIR || input_dir.starts_with("/workspace/");
        if !nested {
            job["tmpfs"] = json!([{ "target": input_dir }]);
        }
        if let Some(tar) = &self.input_tar {
            let tar = json!({ "base64": BASE64_STANDARD.encode(tar) });
            job["inputs"] = json!([{ "tar": tar, "to": input_dir }]);
        }
        match self.limits.network {
            "" => {}
            "none" | "host" => job["network"] = json!(self.limits.network),
            name => job["network"] = json!({ "named": name }),
        }
        job
    }

    /// `RunOnce`: an error if the program did not run, and a result however it ended.
    pub(crate) fn run_once(&self, engine: &Engine) -> Result<Outcome, String> {
        let said = job(engine, &self.lowered(engine), &[]);
        if said.get("outcome").is_none() {
            return Err(said.to_string());
        }
        let timed_out = said["outcome"]["kind"] == "timed-out";
        let exit_code = match said["outcome"]["kind"].as_str() {
            Some("exited") => said["outcome"]["code"].as_i64().unwrap_or(-1),
            Some("signaled") => 128 + said["outcome"]["signal"].as_i64().unwrap_or(0),
            Some("out-of-memory") => 137,
            _ => -1,
        };
        let files = said["artifacts"].as_array().into_iter().flatten();
        let artifacts = files.map(|file| (text(&file["path"]), bytes(&file["data"]))).collect();
        let streams = ["stdout", "stderr"].map(|name| bytes(&said[name]["data"]));
        let logs = String::from_utf8_lossy(&streams.concat()).into_owned();
        Ok(Outcome { exit_code, logs, artifacts, timed_out })
    }
}

impl Limits<'_> {
    fn lowered(&self) -> Value {
        let mut limits = json!({});
        let mut set = |name: &str, is_set: bool, value: Value| {
            if is_set {
                limits[name] = value;
            }
        };
        set("cpus", self.cpus > 0.0, json!(self.cpus));
        set("memory", self.memory_mb > 0, json!(format!("{}MiB", self.memory_mb)));
        set("pids", self.pids > 0, json!(self.pids));
        set("wall_time", self.timeout_ms > 0, json!(format!("{}ms", self.timeout_ms)));
        limits
    }
}

fn mount(&(source, target, read_only): &(&str, &str, bool)) -> Value {
    let access = if read_only { "ro" } else { "rw" };
    json!({ "source": source, "target": target, "access": access })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn bytes(value: &Value) -> Vec<u8> {
    match (value["text"].as_str(), value["base64"].as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(base64)) => BASE64_STANDARD.decode(base64).expect("it is base64"),
        _ => Vec::new(),
    }
}

/// An archive of these files.
pub(crate) fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, content.as_bytes()).expect("a path of a test");
    }
    archive.into_inner().expect("memory does not fail")
}
