//! What is left when `fumehood` itself is killed.

use std::thread;
use std::time::Duration;

use crate::support::{
    Feed, Fumehood, Live, Promise, TempDir, Traces, marker, names, processes_naming, promises,
    slowness, wait_until_gone,
};

promises![
    killed_while_it_runs_it_leaves_nothing,
    killed_at_any_moment_it_leaves_nothing,
    a_hundred_runs_leave_nothing,
];

/// A program with a family that ignores what can be ignored.
const STUBBORN: &str = "trap '' TERM HUP INT; (sleep 600; :) & (setsid sleep 600; :) & wait; wait";

fn start(scratch: &TempDir, word: &str) -> Live {
    let program = ["sh", "-c", STUBBORN, word];
    let scratch = scratch.path().display().to_string();
    Fumehood::new(&["--timeout", &format!("{}s", 60 * slowness())], &program)
        .env("TMPDIR", &scratch)
        .env("XDG_RUNTIME_DIR", &scratch)
        .feed(Feed::Held)
        .spawn()
}

#[track_caller]
fn left_nothing(scratch: &TempDir, word: &str, before: &Traces) {
    wait_until_gone(word);
    let files = names(&scratch.path().display().to_string());
    assert!(files.is_empty(), "files are left: {files:?}");
    before.are_all();
}

fn killed_while_it_runs_it_leaves_nothing() -> Promise {
    let (scratch, word, before) = (TempDir::open_to_all(), marker(), Traces::now());
    let mut live = start(&scratch, &word);
    live.confined();
    live.kill();
    left_nothing(&scratch, &word, &before);
    Ok(())
}

/// Moments are spread from the first instant to well after the program has started, however long that
/// takes on this machine.
fn killed_at_any_moment_it_leaves_nothing() -> Promise {
    let (scratch, before) = (TempDir::open_to_all(), Traces::now());
    let (mut moment, mut reached) = (Duration::ZERO, 0);
    while reached < 10 {
        let word = marker();
        let mut live = start(&scratch, &word);
        thread::sleep(moment);
        reached += u32::from(live.has_started());
        live.kill();
        drop(live);
        left_nothing(&scratch, &word, &before);
        moment += step(moment);
        assert!(moment < Duration::from_secs(20) * slowness(), "the program never starts");
    }
    Ok(())
}

/// Evenly at first. Where a start takes a hundred times as long, as many moments are enough.
fn step(moment: Duration) -> Duration {
    let part = if slowness() > 1 { moment / 8 } else { moment / 50 };
    (Duration::from_micros(150) * slowness()).max(part)
}

fn a_hundred_runs_leave_nothing() -> Promise {
    let (scratch, word, before) = (TempDir::open_to_all(), marker(), Traces::now());
    for _ in 0..100 {
        let program = ["sh", "-c", "sleep 600 & echo ran", &word];
        let scratch = scratch.path().display().to_string();
        let ran = Fumehood::new(&[], &program).env("TMPDIR", &scratch).run();
        assert_eq!(ran.prints(), "ran");
    }
    left_nothing(&scratch, &word, &before);
    assert_eq!(processes_naming(&word), Vec::<u32>::new());
    Ok(())
}
