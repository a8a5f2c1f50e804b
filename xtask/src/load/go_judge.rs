//! The same hello at another service, for comparison: `go-judge`, built by whoever wants to know.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::http::{Request, once};
use super::kinds::{Kind, Kinds};

/// One that runs.
#[derive(Debug)]
pub(super) struct GoJudge {
    child: Child,
    pub(super) address: SocketAddr,
}

impl GoJudge {
    /// Starts it with as many runs at a time as there are processors, as ours has.
    pub(super) fn start(binary: &Path, dir: &Path) -> Result<Self, String> {
        let address = SocketAddr::from(([127, 0, 0, 1], 5049));
        let mut command = Command::new(binary);
        let slots = thread::available_parallelism().map_or(2, |number| number.get().max(2));
        command.args(["-http-addr", &address.to_string(), "-parallelism", &slots.to_string()]);
        command.args(["-silent", "-dir"]).arg(dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("{}: {error}", binary.display()))?;
        let judge = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while once(address, &Request::get("/version")).is_err() {
            if Instant::now() > deadline {
                return Err(format!("{} does not answer", binary.display()));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(judge)
    }
}

impl Drop for GoJudge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A hello in its words.
pub(super) fn hello() -> Kind {
    Kind::having("go-judge", 0, run(r#"["/bin/echo","hello"]"#, "{}"), HELLO)
}

const HELLO: &[&str] = &["\"Accepted\"", "hello\\n"];

/// All kinds in its words; programs are where they were compiled.
pub(super) fn all(kinds: &Kinds, dir: &Path) -> Kinds {
    kinds.reworded(|kind| {
        let (request, parts) = match kind.name {
            "echo" => (run(r#"["/bin/echo","hello"]"#, "{}"), HELLO),
            "compile" => (run(COMPILE, "{}"), &["\"exitStatus\":42"][..]),
            name => {
                let program = dir.join(name.replace(' ', "_"));
                let files = format!(r#"{{"a":{{"src":"{}"}}}}"#, program.display());
                (run(r#"["./a"]"#, &files), answer(name))
            }
        };
        Kind::having(kind.name, kind.share(), request, parts)
    })
}

const COMPILE: &str =
    r#"["/bin/sh","-c","echo 'int main(void){return 42;}' >a.c && cc -o b a.c && ./b"]"#;

/// What it must say of a program; which limit a bomb comes to first is not certain.
fn answer(name: &str) -> &'static [&'static str] {
    match name {
        "hello" => HELLO,
        "sleeper" => &["\"Accepted\"", "slept\\n"],
        "crash" => &["\"Signalled\""],
        "flood" => &["\"Output Limit Exceeded\""],
        _ => &["\"status\":", "\"exitStatus\":"],
    }
}

/// With the limits that ours has for programs of a playground.
fn run(args: &str, files: &str) -> Request {
    let body = format!(
        r#"{{"cmd":[{{"args":{args},"env":["PATH=/usr/bin:/bin"],"files":[{{"content":""}},{{"name":"stdout","max":4194304}},{{"name":"stderr","max":10240}}],"cpuLimit":10000000000,"clockLimit":10000000000,"memoryLimit":104857600,"procLimit":256,"copyIn":{files}}}]}}"#
    );
    Request::post("/run", "Content-Type: application/json\r\n", body.as_bytes())
}
