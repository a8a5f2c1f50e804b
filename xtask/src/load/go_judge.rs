//! The same hello at another service, for comparison: `go-judge`, built by whoever wants to know.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::http::{Request, once};
use super::kinds::Kind;

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
    let body = r#"{"cmd":[{"args":["/bin/echo","hello"],"env":["PATH=/usr/bin:/bin"],"files":[{"content":""},{"name":"stdout","max":10240},{"name":"stderr","max":10240}],"cpuLimit":10000000000,"memoryLimit":536870912,"procLimit":64}]}"#;
    let request = Request::post("/run", "Content-Type: application/json\r\n", body.as_bytes());
    Kind::having("go-judge", request, &["\"Accepted\"", "hello\\n"])
}
