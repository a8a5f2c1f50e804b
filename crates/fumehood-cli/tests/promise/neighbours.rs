//! What a program does to others that want the same processors.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{
    Feed, Fumehood, Live, Promise, field, groups_of, promises, run, skip, waiting_shell,
};

promises![
    a_program_gives_way_to_others,
    a_program_cannot_take_its_place_back,
    the_init_does_not_give_way,
    a_crowd_competes_as_one,
];

fn nice_of(stat: &str) -> i32 {
    // The name, in parentheses, may hold spaces; nice is field 19, and the state after it field 3.
    let (_, rest) = stat.rsplit_once(") ").expect("a name in parentheses");
    rest.split(' ').nth(16).and_then(|nice| nice.parse().ok()).expect("a nice value")
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
