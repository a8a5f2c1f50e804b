//! Signals: those that are passed on to a program, and those with which a run ends.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A run whose program has said that it is ready. It is killed when this is dropped.
struct Live {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Live {
    fn start(flags: &[&str], script: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fumehood"));
        command.arg("run").args(["--timeout", "90s"]).args(flags);
        command.args(["--", "sh", "-c", script]).stdin(Stdio::null());
        // Shells tell there of everybody who was ended by a signal.
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut live = Self { child, output };
        let mut line = String::new();
        live.output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        live
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What the program says from here on, and how it ended.
    fn finish(mut self) -> (String, Option<i32>) {
        let status = self.wait();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (rest, status.code())
    }

    fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(80);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the run does not end");
            sleep(Duration::from_millis(5));
        }
    }

    /// The init of its cell: whoever is process 1 there, and no copy of us.
    fn init(&self) -> Pid {
        let is_init = |pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            ids.is_some_and(|ids| ids.split_whitespace().count() > 1 && ids.ends_with("\t1"))
                && descends_from(*pid, self.child.id())
        };
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Pid::from_raw(pids.find(is_init).expect("the cell has an init")).unwrap()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn descends_from(pid: i32, ancestor: u32) -> bool {
    let parent = |pid: &String| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(status.lines().find_map(|line| line.strip_prefix("PPid:\t"))?.to_owned())
    };
    let ancestor = ancestor.to_string();
    std::iter::successors(Some(pid.to_string()), parent).any(|above| above == ancestor)
}

/// As from a terminal: what a shell runs in the foreground gets it, too.
#[test]
fn a_signal_reaches_the_program_and_its_group() {
    for (name, signal) in [
        ("INT", Signal::INT),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
    ] {
        let child = "echo ready; while :; do sleep 0.02; done";
        let script = format!(
            "trap 'echo program' {name}; sh -c \"trap 'echo child; exit' {name}; {child}\"; exit 3"
        );
        let live = Live::start(&[], &script);
        live.signal(signal);
        assert_eq!(live.finish(), ("child\nprogram\n".to_owned(), Some(3)), "{name}");
    }
}

/// Before anybody is killed everybody is asked, and has the grace: daemons, too.
#[test]
fn whoever_is_to_end_is_asked_in_whatever_session() {
    let daemon = "trap 'echo asked; exit' TERM; echo ready; while :; do sleep 0.02; done";
    let script = format!("trap 'wait $!; exit' TERM; setsid sh -c \"{daemon}\" & wait");
    let live = Live::start(&["--grace", "40s"], &script);
    live.signal(Signal::TERM);
    assert_eq!(live.finish().0, "asked\n");
}

/// Nobody in there can be killed by an init that does not run; then it is the init that is.
#[test]
fn a_run_ends_though_its_init_does_not_obey() {
    let live = Live::start(&["--grace", "0ms"], "echo ready; exec sleep 600");
    kill_process(live.init(), Signal::STOP).unwrap();
    live.signal(Signal::TERM);
    assert_eq!(live.finish(), (String::new(), Some(143)));
}

/// Whatever the caller ignores: a program that ignores it, too, could not be ended by it.
#[test]
fn no_signal_is_ignored_from_the_start() {
    let run = [env!("CARGO_BIN_EXE_fumehood"), "run", "--", "grep", "-E", "Sig(Ign|Blk)"];
    let script = "trap '' INT QUIT HUP PIPE TERM USR1 CHLD; exec \"$@\" /proc/self/status";
    let output = Command::new("sh").args(["-c", script, "sh"]).args(run).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let none = "0".repeat(16);
    assert_eq!(said, format!("SigBlk:\t{none}\nSigIgn:\t{none}\n"));
}
