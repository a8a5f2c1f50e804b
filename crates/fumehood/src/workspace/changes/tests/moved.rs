//! What was moved is never lost on the way.

use std::os::unix::fs::symlink;

use super::*;

const KEPT: &str =
    "is kept, as not every file could be written: it may be what one of them was moved from";

/// A file that was moved to another directory, one that was changed, and a file and a tree that were deleted.
fn moved() -> Case {
    let case = Case::new();
    for name in ["a", "changed", "deleted", "tree/file"] {
        write(case.host(name), name);
    }
    fs::create_dir(case.host("to")).unwrap();
    write(case.up("to/a"), "a");
    write(case.up("changed"), "after");
    for name in ["a", "deleted", "tree"] {
        whiteout(case.up(name));
    }
    case
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn nothing_is_replaced_or_deleted_if_something_cannot_be_written() {
    let case = moved();
    let changes = case.changes();
    fs::remove_dir(case.host("to")).unwrap();
    symlink(case.outside.path(), case.host("to")).unwrap();
    let mut refused =
        ["a", "changed", "deleted", "tree"].map(|name| format!("{name}: {KEPT}")).to_vec();
    refused.insert(3, "to/a: a link on the host stands in the way".to_owned());
    assert_eq!(applied(&changes), (0, refused));
    for name in ["a", "changed", "deleted", "tree/file"] {
        assert_eq!(read(case.host(name)), name);
    }
    assert_eq!(names(case.host.path()), ["a", "changed", "deleted", "to", "tree"]);
    case.assert_outside_untouched();
}

#[test]
fn what_finds_its_place_taken_stays_beside_it() {
    let case = moved();
    let changes = case.changes();
    write(case.host("to/a"), "theirs");
    let refused = "to/a: was changed on the host since the run began; what the program left is \
        a.fumehood beside it";
    assert_eq!(applied(&changes), (4, vec![refused.to_owned()]));
    assert_eq!(names(case.host.path()), ["changed", "to"]);
    assert_eq!(
        (read(case.host("to/a")), read(case.host("to/a.fumehood"))),
        ("theirs".into(), "a".into())
    );
    assert_eq!(read(case.host("changed")), "after");
}

/// What it was moved from is replaced by something else, which nothing stands in the way of.
#[test]
fn what_was_moved_away_from_what_is_replaced_is_not_lost() {
    for before_the_scan in [true, false] {
        let case = Case::new();
        for name in ["file", "dir/old", "other"] {
            write(case.host(name), &format!("old {name}"));
        }
        let base = case.build();
        write(case.up("file/new"), "new");
        write(case.up("dir"), "new");
        write(case.up("other"), "new");
        for (name, text) in [("a", "old file"), ("b", "old dir/old"), ("c", "old other")] {
            write(case.up(name), text);
        }
        let theirs = || ["a", "b", "c"].iter().for_each(|name| write(case.host(name), "theirs"));
        let_the_clock_tick();
        if before_the_scan {
            theirs();
        }
        let changes = case.scan(base);
        if !before_the_scan {
            theirs();
        }
        assert_eq!(applied(&changes).0, 4);
        for (name, text) in [("a", "old file"), ("b", "old dir/old"), ("c", "old other")] {
            assert_eq!(read(case.host(name)), "theirs");
            assert_eq!(read(case.host(&format!("{name}.fumehood"))), text);
        }
        assert_eq!(read(case.host("file/new")), "new");
    }
}

/// The file was moved into the directory that took its name.
#[test]
fn a_directory_that_finds_its_place_taken_stays_beside_it_with_what_is_in_it() {
    let case = Case::new();
    write(case.host("file"), "old");
    write(case.up("file/sub/old"), "old");
    let changes = case.changes();
    write(case.host("file"), "theirs");
    let (count, refused) = applied(&changes);
    assert_eq!((count, refused.len()), (0, 1), "{refused:?}");
    assert_eq!(names(case.host.path()), ["file", "file.fumehood"]);
    assert_eq!(read(case.host("file")), "theirs");
    assert_eq!(read(case.host("file.fumehood/sub/old")), "old");
}

#[test]
fn a_file_stays_if_the_directory_that_replaces_it_cannot_be_filled() {
    let case = Case::new();
    write(case.host("file"), "old");
    write(case.up("file/sub/old"), "old");
    let changes = case.changes();
    fs::remove_file(case.up("file/sub/old")).unwrap();
    assert_eq!(applied(&changes).0, 0);
    assert_eq!(names(case.host.path()), ["file"]);
    assert_eq!(read(case.host("file")), "old");
}

/// Of two files that changed places, one finds its place taken when the other has been put.
#[test]
fn files_that_changed_places_are_both_there() {
    let case = Case::new();
    for (one, other) in [("a", "b"), ("b", "a")] {
        write(case.host(one), one);
        write(case.up(one), &format!("{other} "));
    }
    let changes = case.changes();
    write(case.host("b"), "theirs");
    assert_eq!(applied(&changes).0, 1);
    let texts = ["a", "b", "b.fumehood"].map(|name| read(case.host(name)));
    assert_eq!(texts, ["b ", "theirs", "a "]);
}

/// A name beside it that is taken is nobody's to replace, and neither is what a killed run left.
#[test]
fn what_is_called_like_ours_on_the_host_is_left_alone() {
    let case = Case::new();
    write(case.host("a"), "before");
    write(case.host("a.fumehood"), "earlier");
    let pid = std::process::id();
    let left = |number: u32| case.host(&format!(".fumehood-{pid}-{number}"));
    (0..100).for_each(|number| write(left(number), "left"));
    write(case.up("a"), "after");
    write(case.up("b"), "b");
    let changes = case.changes();
    write(case.host("a"), "theirs");
    let (count, refused) = applied(&changes);
    assert_eq!((count, refused.len()), (1, 1), "{refused:?}");
    let (_, name) = refused[0].split_once("what the program left is ").unwrap();
    let own = name.split(' ').next().unwrap();
    assert_eq!(read(case.host(own)), "after");
    assert_eq!(
        (read(case.host("a")), read(case.host("a.fumehood"))),
        ("theirs".into(), "earlier".into())
    );
    assert!((0..100).all(|number| read(left(number)) == "left"));
}

/// What is refused for what it is was not moved from where something was deleted.
#[test]
fn what_has_no_business_on_the_host_keeps_nothing_from_being_deleted() {
    let case = moved();
    node(case.up("fifo"), FileType::Fifo);
    symlink("/etc/passwd", case.up("link")).unwrap();
    let (count, refused) = applied(&case.changes());
    assert_eq!((count, refused.len()), (5, 2), "{refused:?}");
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

/// Two mounts: `a` is moved from one to the other, and in the one `changed` is changed.
fn moved_between() -> (Case, Case, Base) {
    let (from, to) = (Case::new(), Case::new());
    for name in ["a", "changed"] {
        write(from.host(name), name);
    }
    whiteout(from.up("a"));
    write(from.up("changed"), "after");
    fs::create_dir(to.host("to")).unwrap();
    write(from.place.path().join("1/upper/to/a"), "a");
    let mut base = from.build();
    base.mounts.extend(to.build().mounts);
    (from, to, base)
}

#[track_caller]
fn assert_nothing_is_taken(from: &Case, changes: &Changes) {
    let applied = changes.apply().unwrap();
    let refused: Vec<_> = applied[0].refused.iter().map(|left| left.reason.as_str()).collect();
    assert_eq!((applied[0].applied, refused), (0, vec![KEPT; 2]), "{applied:?}");
    assert!(!applied[1].refused.is_empty(), "{applied:?}");
    for name in ["a", "changed"] {
        assert_eq!(read(from.host(name)), name);
    }
}

#[test]
fn what_was_moved_to_another_mount_stays_if_it_cannot_be_written() {
    let (from, to, base) = moved_between();
    let changes = from.scan(base);
    fs::remove_dir(to.host("to")).unwrap();
    symlink(to.outside.path(), to.host("to")).unwrap();
    assert_nothing_is_taken(&from, &changes);
}

#[test]
fn what_was_moved_to_another_mount_stays_if_not_all_of_that_was_looked_at() {
    let (from, _to, base) = moved_between();
    let mut deep = from.place.path().join("1/upper");
    (0..200).for_each(|_| deep.push("d"));
    fs::create_dir_all(deep).unwrap();
    let changes = from.scan(base);
    assert!(changes.diff()[0].complete && !changes.diff()[1].complete);
    assert_nothing_is_taken(&from, &changes);
}
