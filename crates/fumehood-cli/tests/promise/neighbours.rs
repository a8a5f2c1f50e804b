//! What a program can do to another cell that runs at the same time as the same user of the host, and
//! what it can take of what both share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{
    Feed, Fumehood, Live, Probe, Promise, Skip, TempDir, Verdict, field, groups_of, host_tool,
    marker, parse, promises, run, skip, waiting_shell,
};

promises![
    a_program_gives_way_to_others,
    a_program_cannot_take_its_place_back,
    the_init_does_not_give_way,
    a_program_of_a_real_time_caller_is_ordinary,
    a_program_of_a_background_caller_stays_one,
    a_crowd_competes_as_one,
    cannot_find_what_another_cell_offers,
    cannot_touch_a_process_of_another_cell,
    cannot_change_what_is_said_of_another_s_end,
    cannot_take_all_inotify_instances_of_the_host,
    cannot_take_all_timers_of_the_host,
    cannot_take_all_terminals_of_the_host,
];

fn nice_of(stat: &str) -> i32 {
    field_of(stat, 19)
}

/// `SCHED_OTHER` is 0, `SCHED_FIFO` 1, `SCHED_BATCH` 3, `SCHED_IDLE` 5 (`sched_setscheduler(2)`).
fn policy_of(stat: &str) -> i32 {
    field_of(stat, 41)
}

/// A field by its number in proc_pid_stat(5).
fn field_of(stat: &str, number: usize) -> i32 {
    // The name, in parentheses, may hold spaces; the state after it is field 3.
    let (_, rest) = stat.rsplit_once(") ").expect("a name in parentheses");
    rest.split(' ').nth(number - 3).and_then(|field| field.parse().ok()).expect("a number")
}

fn own() -> i32 {
    nice_of(&fs::read_to_string("/proc/self/stat").expect("we have one"))
}

fn live() -> Live {
    let program = waiting_shell();
    let program = program.each_ref().map(String::as_str);
    let live = Fumehood::new(&["--timeout", "60s"], &program).feed(Feed::Held).spawn();
    live.confined();
    live
}

fn a_program_gives_way_to_others() -> Promise {
    let stat = run(&[], &["cat", "/proc/self/stat"]).prints();
    assert_eq!(nice_of(&stat), (own() + 10).min(19));
    Ok(())
}

fn a_program_cannot_take_its_place_back() -> Promise {
    let stat = run(&[], &["nice", "-n", "-10", "cat", "/proc/self/stat"]);
    assert_eq!(nice_of(&stat.text()), (own() + 10).min(19), "{stat}");
    Ok(())
}

fn the_init_does_not_give_way() -> Promise {
    let live = live();
    let init = field(&live.confined().read("status"), "PPid");
    let stat = fs::read_to_string(format!("/proc/{init}/stat")).expect("the init lives");
    assert_eq!(nice_of(&stat), own());
    live.finish().exits(0);
    Ok(())
}

/// A program of a real-time policy would go before everybody on the host, however nice.
fn a_program_of_a_real_time_caller_is_ordinary() -> Promise {
    let real_time = [host_tool("chrt")?, "--fifo".to_owned(), "1".to_owned()];
    let [chrt, fifo, first] = real_time.each_ref().map(String::as_str);
    let under = |program: &str| Command::new(chrt).args([fifo, first, program]).output();
    let possible = under("true").expect("it is there");
    if !possible.status.success() {
        return skip(format!("chrt: {}", String::from_utf8_lossy(&possible.stderr).trim()));
    }
    let stat = Fumehood::new(&[], &["cat", "/proc/self/stat"]).under(&[chrt, fifo, first]).run();
    let stat = stat.prints();
    assert_eq!(policy_of(&stat), 0, "{stat}");
    Ok(())
}

/// Only policies that go before everybody are given up.
fn a_program_of_a_background_caller_stays_one() -> Promise {
    let chrt = host_tool("chrt")?;
    for (policy, number) in [("--batch", 3), ("--idle", 5)] {
        let caller = Fumehood::new(&[], &["cat", "/proc/self/stat"]).under(&[&chrt, policy, "0"]);
        let stat = caller.run().prints();
        assert_eq!(policy_of(&stat), number, "{policy}: {stat}");
    }
    Ok(())
}

/// The kernel divides a processor among groups, and only then among the processes of each: however
/// many a cell has, and however many sessions they start.
fn a_crowd_competes_as_one() -> Promise {
    let refused = run(&["--cpus", "1"], &["true"]);
    if refused.status.code() == Some(99) {
        return skip(refused.stderr);
    }
    let live = live();
    let pid = live.confined().pid().to_string();
    let is_its = |group: &PathBuf| {
        let weighs = |file: &str| Path::new(group).join(file).exists();
        let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        (weighs("cpu.shares") || weighs("cpu.weight")) && procs.lines().any(|line| line == pid)
    };
    let groups = groups_of(live.pid());
    assert!(groups.iter().any(is_its), "none of {groups:?} divides processors for it");
    live.finish().exits(0);
    Ok(())
}

const KEY: &str = "1179993156";

/// A cell that offers what can be found by name: socket, System V IPC, files.
fn offering(word: &str) -> Result<Live, Skip> {
    let neighbour = Probe::get()?.neighbour(&["offer", word, KEY]);
    // It has to outlast whoever reaches for it.
    let live = neighbour.flag("--timeout=60s").feed(Feed::Held).spawn();
    live.confined();
    Ok(live)
}

/// Ends it, and holds that nothing happened to it and that it could be found from inside.
#[track_caller]
fn is_unharmed(live: Live) {
    let ran = live.finish().exits(0);
    let text = ran.text();
    let found = text.strip_suffix("\nready\nalive").unwrap_or_else(|| panic!("{ran}"));
    let verdicts = parse(found);
    assert_eq!(verdicts.len(), 7, "{ran}");
    assert!(verdicts.values().all(|verdict| *verdict == Verdict::Done), "{ran}");
}

fn cannot_find_what_another_cell_offers() -> Promise {
    let word = marker();
    let other = offering(&word)?;
    let tried = parse(&Probe::get()?.neighbour(&["reach", &word, KEY]).run().prints());
    is_unharmed(other);
    assert_eq!(tried.len(), 7);
    // ENOENT; ECONNREFUSED or, by Landlock, EPERM for a socket.
    let missing = |verdict: &Verdict| [2, 111, 1].map(Verdict::Errno).contains(verdict);
    assert!(tried.values().all(missing), "{tried:?}");
    Ok(())
}

fn cannot_touch_a_process_of_another_cell() -> Promise {
    let word = marker();
    let other = offering(&word)?;
    let pid = other.confined().pid().to_string();
    let tried = parse(&Probe::get()?.neighbour(&["touch", &pid]).run().prints());
    is_unharmed(other);
    let done: Vec<_> = tried.iter().filter(|(_, verdict)| **verdict == Verdict::Done).collect();
    assert!(done.is_empty(), "{done:?}");
    assert_eq!(tried.len(), 11);
    Ok(())
}

/// Not even of one that helps: it hands over the file in which its process 1 writes how it ended, where there
/// is one.
fn cannot_change_what_is_said_of_another_s_end() -> Promise {
    let both = TempDir::open_to_all();
    let share = |neighbour: Fumehood| neighbour.flag("-v").flag(both.volume("/both", "rw"));
    let socket = both.join("socket");
    let receiver = share(Probe::get()?.neighbour(&["receive", "/both/socket", &marker()]));
    let receiver = receiver.flag("--timeout=60s").feed(Feed::Held).spawn();
    receiver.confined();
    while !socket.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let ran = share(Probe::get()?.neighbour(&["hand-over", "/both/socket"])).run();
    receiver.finish().exits(0);
    // What was written over is no word of anybody's.
    assert!([Some(5), Some(125)].contains(&ran.status.code()), "{ran}");
    Ok(())
}

#[track_caller]
fn take(what: &str) -> Result<String, Skip> {
    Ok(Probe::get()?.neighbour(&["take", what]).run().prints())
}

/// The kernel counts them for the cell and, once more, for whoever started it.
fn cannot_take_all_inotify_instances_of_the_host() -> Promise {
    assert_eq!(take("inotify")?, "8 errno 24", "EMFILE");
    Ok(())
}

/// Each sets a signal aside, of which a user has only so many.
fn cannot_take_all_timers_of_the_host() -> Promise {
    assert_eq!(take("timers")?, "1024 errno 11", "EAGAIN");
    Ok(())
}

fn cannot_take_all_terminals_of_the_host() -> Promise {
    assert_eq!(take("terminals")?, "64 errno 28", "ENOSPC");
    Ok(())
}
