//! What figures depend on: the machine, and versions.

use std::fs;
use std::process::{Command, Stdio};

use super::launchers::words;
use super::peers::Peer;
use crate::build::root;
use crate::components::find;

/// A name and what this machine has there.
pub(super) type Fact = (&'static str, String);

pub(super) fn facts() -> Vec<Fact> {
    let kernel = read("/proc/sys/kernel/osrelease");
    vec![
        ("processor", cpu(&read("/proc/cpuinfo"))),
        ("cores", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("memory", memory(&read("/proc/meminfo"))),
        ("kernel", kernel.trim().to_owned()),
        ("load average", read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")),
        ("Fumehood", output("git", "describe --always --dirty --tags")),
        ("compiler", output("rustc", "--version")),
    ]
}

/// The first line that a peer prints when asked for its version.
pub(super) fn version(peer: &Peer) -> String {
    find(peer.program()).map_or_else(String::new, |program| output(&program, "--version"))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn output(program: &str, args: &str) -> String {
    let mut command = Command::new(program);
    command.args(words(args)).current_dir(root()).stdin(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = text.as_deref().and_then(|text| text.lines().find(|line| !line.trim().is_empty()));
    line.unwrap_or("unknown").trim().to_owned()
}

/// The name of the first processor.
fn cpu(cpuinfo: &str) -> String {
    let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let mut names = fields.filter(|(name, _)| name.trim() == "model name");
    names.next().map_or_else(|| "unknown".into(), |(_, model)| model.trim().to_owned())
}

/// The kernel says kB and means KiB.
fn memory(meminfo: &str) -> String {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
    kib.map_or_else(|| "unknown".into(), |kib| format!("{} MiB", kib / 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_and_memory_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2GHz\nmodel\t: 1\n";
        assert_eq!(cpu(cpuinfo), "Some CPU @ 2GHz");
        assert_eq!(cpu(""), "unknown");
        assert_eq!(memory("MemTotal:       2048000 kB\nMemFree: 1 kB\n"), "2000 MiB");
        assert_eq!(memory("MemFree: 1 kB\n"), "unknown");
    }
}
