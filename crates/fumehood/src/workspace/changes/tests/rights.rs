//! Trees of the host that whoever applies changes may not simply remove.

use std::os::unix::fs::{MetadataExt, chown};

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::*;

const NOBODY: u32 = 65534;

/// What was applied by somebody for whom permissions count: a thread has its own capabilities.
fn applied_by_a_user(changes: &Changes) -> (u64, Vec<String>) {
    std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            let rights = CapabilitySet::DAC_OVERRIDE
                | CapabilitySet::DAC_READ_SEARCH
                | CapabilitySet::FOWNER;
            let now = capabilities(None).unwrap();
            let sets = CapabilitySets { effective: now.effective - rights, ..now };
            set_capabilities(None, sets).unwrap();
            applied(changes)
        });
        user.join().unwrap()
    })
}

/// Why a user may not remove the directory `d`, which the run did.
fn refused(case: &Case) -> String {
    whiteout(case.up("d"));
    let (count, mut refused) = applied_by_a_user(&case.changes());
    assert_eq!((count, refused.len()), (0, 1), "{refused:?}");
    refused.remove(0)
}

/// Gives something to somebody else, which only root can.
fn give_away(path: impl AsRef<Path>) -> bool {
    chown(path, Some(NOBODY), None).is_ok()
}

/// A directory with one file of somebody else's, which only they can remove.
fn sticky(dir: &Path) -> bool {
    write(dir.join("theirs"), "theirs");
    mode(dir, 0o1777);
    give_away(dir) && give_away(dir.join("theirs"))
}

fn mode_of(path: impl AsRef<Path>) -> u32 {
    path.as_ref().metadata().unwrap().mode() & 0o7777
}

#[test]
fn a_tree_that_its_owner_may_not_write_to_is_removed() {
    let case = Case::new();
    for path in ["cache/mod/a/file", "cache/mod/b", "cache/z"] {
        write(case.host(path), "x");
    }
    for dir in ["cache/mod/a", "cache/mod", "cache"] {
        mode(case.host(dir), 0o555);
    }
    whiteout(case.up("cache"));
    assert_eq!(applied_by_a_user(&case.changes()), (1, vec![]));
    assert_eq!(names(case.host.path()), Vec::<String>::new());
}

#[test]
fn a_tree_with_a_directory_of_somebody_else_s_stays_whole() {
    let case = Case::new();
    write(case.host("d/a/mine"), "mine");
    write(case.host("d/b/theirs"), "theirs");
    mode(case.host("d/b"), 0o755);
    if !give_away(case.host("d/b")) {
        return;
    }
    let refused = refused(&case);
    assert!(refused.starts_with("d: Permission denied"), "{refused:?}");
    assert_eq!(names(case.host.path()), ["d"]);
    assert!(case.host("d/a/mine").exists() && case.host("d/b/theirs").exists());
}

#[test]
fn what_cannot_be_removed_goes_back_while_all_of_it_is_there() {
    let case = Case::new();
    if !sticky(&case.host("d/sticky")) {
        return;
    }
    write(case.host("d/z"), "z");
    mode(case.host("d"), 0o555);
    let refused = refused(&case);
    assert!(refused.starts_with("d: Operation not permitted"), "{refused:?}");
    assert_eq!(names(case.host.path()), ["d"]);
    assert!(case.host("d/sticky/theirs").exists() && case.host("d/z").exists());
    assert_eq!(mode_of(case.host("d")), 0o555);
}

#[test]
fn what_is_left_of_a_tree_is_named() {
    let case = Case::new();
    write(case.host("d/a"), "a");
    if !sticky(&case.host("d/sticky")) {
        return;
    }
    let refused = refused(&case);
    let left = names(case.host.path());
    assert!(left.len() == 1 && left[0].starts_with(".fumehood-"), "{left:?}");
    assert!(refused.contains(&format!("is now {} beside it", left[0])), "{refused:?}");
    assert!(case.host(&left[0]).join("sticky/theirs").exists());
}
