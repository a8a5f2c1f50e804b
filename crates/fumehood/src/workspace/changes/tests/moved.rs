//! What was moved is never lost on the way.

use std::os::unix::fs::symlink;

use super::*;

/// A file that was moved to another directory, and a file and a tree that were deleted.
fn moved() -> Case {
    let case = Case::new();
    for name in ["a", "deleted", "tree/file"] {
        write(case.host(name), name);
    }
    fs::create_dir(case.host("to")).unwrap();
    write(case.up("to/a"), "a");
    for name in ["a", "deleted", "tree"] {
        whiteout(case.up(name));
    }
    case
}

#[test]
fn what_was_moved_stays_where_it_was_if_it_cannot_be_written() {
    let directory = |case: &Case| {
        fs::remove_dir(case.host("to")).unwrap();
        symlink(case.outside.path(), case.host("to")).unwrap();
    };
    let name = |case: &Case| write(case.host("to/a"), "theirs");
    for (stands_in_the_way, why) in [
        (&directory as &dyn Fn(&Case), "to/a: a link on the host stands in the way"),
        (&name, "to/a: was changed on the host since the run began"),
    ] {
        let case = moved();
        let changes = case.changes();
        stands_in_the_way(&case);
        let kept = "is kept, as not every file could be written: it may be what one of them was moved from";
        let refused = ["a", "deleted", "tree"].map(|name| format!("{name}: {kept}"));
        let refused = [&refused[..2], &[why.to_owned()], &refused[2..]].concat();
        assert_eq!(applied(&changes), (0, refused));
        for name in ["a", "deleted", "tree/file"] {
            assert_eq!(fs::read_to_string(case.host(name)).unwrap(), name);
        }
        case.assert_outside_untouched();
    }
}

/// What is refused for what it is was not moved from where something was deleted.
#[test]
fn what_has_no_business_on_the_host_keeps_nothing_from_being_deleted() {
    let case = moved();
    node(case.up("fifo"), FileType::Fifo);
    symlink("/etc/passwd", case.up("link")).unwrap();
    let (count, refused) = applied(&case.changes());
    assert_eq!((count, refused.len()), (4, 2), "{refused:?}");
    assert!(!case.host("a").exists() && !case.host("tree").exists());
}

#[test]
fn a_directory_stays_if_what_replaces_it_cannot_be_written() {
    let case = Case::new();
    write(case.host("x/file"), "kept");
    write(case.up("x"), "new");
    let changes = case.changes();
    fs::remove_file(case.up("x")).unwrap();
    assert_eq!(applied(&changes).0, 0);
    assert_eq!(fs::read_to_string(case.host("x/file")).unwrap(), "kept");
}

#[test]
fn what_was_moved_to_another_directory_stays_if_it_cannot_be_written() {
    let (from, to) = (Case::new(), Case::new());
    write(from.host("a"), "a");
    whiteout(from.up("a"));
    write(from.place.path().join("1/upper/a"), "a");
    let mut base = from.build();
    base.mounts.extend(to.build().mounts);
    let changes = from.scan(base);
    write(to.host("a"), "theirs");
    let applied = changes.apply().unwrap();
    assert!(applied.iter().all(|one| one.applied == 0 && one.refused.len() == 1), "{applied:?}");
    assert_eq!(fs::read_to_string(from.host("a")).unwrap(), "a");
    assert_eq!(fs::read_to_string(to.host("a")).unwrap(), "theirs");
}
