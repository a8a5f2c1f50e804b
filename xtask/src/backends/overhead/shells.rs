//! The shells that runs are started by.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// Which one depends on what a tool by hand needs.
pub(super) struct Shells {
    /// As nice as it comes, for ours and for clients of engines.
    pub(super) plain: Shell,
    nice: Shell,
    /// Without the groups of version 2: crun refuses hosts that have both.
    version_1: Shell,
    grouped: Shell,
    grouped_covered: Shell,
}

/// On a machine with other work to do, it decides how long a tool waits for a processor.
const AS_NICE: &str = "renice -n 10 $$ >/dev/null;";

const GROUPS: &str = "for c in cpu cpuacct memory pids; do g=/sys/fs/cgroup/$c/fumehood-overhead; \
    test -e /sys/fs/cgroup/$c/tasks && mkdir -p $g && echo $$ >$g/cgroup.procs; done;";

/// Where nsjail makes its groups.
pub(super) const PARENT: &str = "fumehood-overhead";

/// Removes what is made there when nothing is in it any more.
pub(super) fn remove_groups() {
    for dir in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        for name in ["", "-runsc", "-crun", "-runc"] {
            drop(fs::remove_dir(dir.path().join(format!("{PARENT}{name}"))));
        }
    }
}

impl Shells {
    pub(super) fn start() -> Result<Self, String> {
        let plain = || {
            let mut command = Command::new("sh");
            command.arg("-c");
            command
        };
        let covered = || {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c"]);
            command
        };
        let v1 = "! test -e /sys/fs/cgroup/unified || \
            mount -t tmpfs none /sys/fs/cgroup/unified;";
        let none = "mount -t tmpfs none /sys/fs/cgroup;";
        Ok(Self {
            plain: Shell::start(plain(), "")?,
            nice: Shell::start(plain(), AS_NICE)?,
            version_1: Shell::start(covered(), &format!("{AS_NICE} {v1}"))?,
            grouped: Shell::start(plain(), &format!("{AS_NICE} {GROUPS}"))?,
            grouped_covered: Shell::start(covered(), &format!("{AS_NICE} {GROUPS} {none}"))?,
        })
    }

    /// Where a tool makes its groups itself.
    pub(super) fn by_hand(&mut self, tool: &str) -> &mut Shell {
        match tool {
            // What their clients start is the engine's.
            "docker" | "podman" => &mut self.plain,
            "crun" => &mut self.version_1,
            _ => &mut self.nice,
        }
    }

    /// Where a tool runs in groups that are there, as it does for us.
    pub(super) fn without_limits(&mut self, tool: &str) -> &mut Shell {
        match tool {
            "runsc" | "crun" => &mut self.grouped_covered,
            _ => &mut self.grouped,
        }
    }
}

/// Runs one line after another.
pub(super) struct Shell {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Shell {
    /// With this before its first line.
    fn start(mut command: Command, before: &str) -> Result<Self, String> {
        let script = format!("{before} while read -r line; do $line </dev/null >&2; echo $?; done");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().ok_or("it is piped")?);
        Ok(Self { child, stdin, stdout })
    }

    /// Microseconds of a run that must succeed.
    pub(super) fn time(&mut self, line: &str) -> Result<u128, String> {
        let started = Instant::now();
        let mut status = String::new();
        self.stdin
            .as_mut()
            .map_or(Ok(()), |stdin| writeln!(stdin, "{line}"))
            .and_then(|()| self.stdout.read_line(&mut status))
            .map_err(|error| format!("{line}: {error}"))?;
        let micros = started.elapsed().as_micros();
        if status.trim() == "0" { Ok(micros) } else { Err(format!("{line}: {}", status.trim())) }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.stdin = None;
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_times_what_succeeds_and_names_what_does_not() {
        let mut sh = Command::new("sh");
        sh.arg("-c");
        let mut shell = Shell::start(sh, "").unwrap();
        assert!(shell.time("true").is_ok());
        assert!(shell.time("false").unwrap_err().contains("false: 1"));
    }
}
