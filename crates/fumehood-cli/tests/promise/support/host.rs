//! What the machine has.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Ran, Skip, run_reported, skip};

/// Where a tool may be that the sandbox shows by default, or that a test shows it.
const TOOL_DIRS: [&str; 5] =
    ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/go/bin", "/usr/lib/go/bin"];

/// The names of all guarantees.
pub(crate) const GUARANTEES: [&str; 15] = [
    "filesystem",
    "read-only-root",
    "processes",
    "network",
    "ipc",
    "no-privileges",
    "syscall-filter",
    "landlock",
    "memory",
    "pids",
    "cpu-time",
    "wall-time",
    "output",
    "disk",
    "kernel-boundary",
];

/// A word that no other process or file on the machine has in its name.
pub(crate) fn marker() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("promise-{}-{count}", std::process::id())
}

/// Skips what only root can arrange.
pub(crate) fn needs_root(why: &str) -> Result<(), Skip> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { skip(format!("only root can {why}")) }
}

/// Skips where no control group counts and limits whole trees, unless `FUMEHOOD_NO_SKIP` says that
/// some must.
pub(crate) fn needs_control_groups() -> Result<(), Skip> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    match REASON.get_or_init(|| why_no_control_groups(&run_reported(&[], &["true"]))) {
        None => Ok(()),
        Some(reason) if std::env::var_os("FUMEHOOD_NO_SKIP").is_some() => panic!("{reason}"),
        Some(reason) => skip(reason.clone()),
    }
}

fn why_no_control_groups(ran: &Ran) -> Option<String> {
    if ran.status.code() != Some(0) {
        return Some(ran.stderr.clone());
    }
    let guarantees = &ran.report()["confinement"]["guarantees"];
    ["memory", "pids", "cpu-time"].into_iter().find_map(|name| {
        let reason = guarantees[name]["reason"].as_str()?;
        Some(format!("{name}: {reason}"))
    })
}

/// How many times slower than usual this machine is: what tests wait for takes that much longer.
/// `FUMEHOOD_SLOWNESS` says so, where a processor is emulated.
pub(crate) fn slowness() -> u32 {
    let named = std::env::var("FUMEHOOD_SLOWNESS").ok();
    named.map_or(1, |text| text.parse().expect("FUMEHOOD_SLOWNESS is a whole number"))
}

/// A program of the host in a system directory, so that the sandbox shows it too.
pub(crate) fn host_tool(name: &str) -> Result<String, Skip> {
    let found =
        TOOL_DIRS.iter().map(|dir| PathBuf::from(dir).join(name)).find(|path| path.exists());
    match found {
        Some(path) => Ok(path.display().to_string()),
        None => skip(format!("{name} is in none of {}", TOOL_DIRS.join(" "))),
    }
}

/// Skips if one of these tools is missing.
pub(crate) fn require_tools(names: &[&str]) -> Result<(), Skip> {
    names.iter().try_for_each(|name| host_tool(name).map(drop))
}

/// The host's Python.
pub(crate) fn python() -> Result<String, Skip> {
    host_tool("python3")
}

/// A listener on the host's loopback interface.
#[derive(Debug)]
pub(crate) struct Listener(TcpListener);

impl Listener {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the host has a loopback");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        Self(listener)
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().expect("it is bound").port()
    }

    /// Who has connected since the last call.
    pub(crate) fn visitor(&self) -> Option<SocketAddr> {
        match self.0.accept() {
            Ok((_, address)) => Some(address),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept: {error}"),
        }
    }
}
