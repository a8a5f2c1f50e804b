use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

/// A layer with a change of every kind.
fn all_kinds() -> Case {
    let case = Case::new();
    for (path, text) in [
        ("kept", "kept"),
        ("changed", "one\ntwo\nthree\n"),
        ("same", "same"),
        ("gone", "gone\n"),
        ("run.sh", "#!/bin/sh\n"),
        ("dir/kept", "kept"),
        ("dir/changed", "before"),
        ("old/a/b", "b"),
        ("was-file", "x"),
        ("was-dir/file", "x"),
    ] {
        write(case.host(path), text);
    }
    symlink("kept", case.host("link")).unwrap();
    mode(case.host("run.sh"), 0o644);
    mode(case.host("changed"), 0o640);
    write(case.up("changed"), "one\n2\nthree\n");
    mode(case.up("changed"), 0o640);
    write(case.up("same"), "same");
    mode(case.up("same"), case.host("same").metadata().unwrap().mode() & 0o777);
    whiteout(case.up("gone"));
    write(case.up("run.sh"), "#!/bin/sh\n");
    mode(case.up("run.sh"), 0o755);
    write(case.up("dir/changed"), "after");
    whiteout(case.up("old"));
    write(case.up("new/deep/file"), "new");
    symlink("dir/kept", case.up("link")).unwrap();
    write(case.up("was-file/now"), "y");
    write(case.up("was-dir"), "y");
    for dir in ["dir", "new", "new/deep", "was-file"] {
        mode(case.up(dir), 0o755);
    }
    mode(case.host("dir"), 0o755);
    for file in ["dir/changed", "was-dir"] {
        mode(case.up(file), 0o644);
        mode(case.host(file), if file == "was-dir" { 0o755 } else { 0o644 });
    }
    case
}

#[test]
fn a_diff_lists_what_changed_and_nothing_else() {
    let case = all_kinds();
    assert_eq!(
        lines(&case.changes()),
        [
            "modified  changed",
            "modified  dir/changed",
            "deleted   gone",
            "modified  link -> dir/kept",
            "added     new/",
            "added     new/deep/",
            "added     new/deep/file",
            "deleted   old/",
            "mode      run.sh (644 to 755)",
            "type      was-dir (directory to file)",
            "type      was-file/ (file to directory)",
            "added     was-file/now",
        ]
    );
}

#[test]
fn nothing_reaches_the_host_until_it_is_applied() {
    let case = all_kinds();
    let changes = case.changes();
    patch_of(&changes);
    assert_eq!(fs::read_to_string(case.host("changed")).unwrap(), "one\ntwo\nthree\n");
    assert!(case.host("gone").exists() && !case.host("new").exists());
    let inode = case.host("changed").metadata().unwrap().ino();

    assert_eq!(applied(&changes), (12, vec![]));
    let read = |path| fs::read_to_string(case.host(path)).unwrap();
    assert_eq!(read("changed"), "one\n2\nthree\n");
    assert_ne!(case.host("changed").metadata().unwrap().ino(), inode, "it was written in place");
    assert_eq!(case.host("changed").metadata().unwrap().mode() & 0o7777, 0o640);
    assert_eq!(read("dir/changed"), "after");
    assert_eq!(read("dir/kept"), "kept");
    assert_eq!(read("new/deep/file"), "new");
    assert_eq!(read("was-file/now"), "y");
    assert_eq!(read("was-dir"), "y");
    assert_eq!(case.host("run.sh").metadata().unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_link(case.host("link")).unwrap(), Path::new("dir/kept"));
    assert!(!case.host("gone").exists() && !case.host("old").exists());
    let all = names(case.host.path());
    assert!(all.iter().all(|name| !name.starts_with('.')), "something of ours was left: {all:?}");
    case.assert_outside_untouched();
}

#[test]
fn a_file_that_was_changed_on_the_host_is_left_alone() {
    let case = Case::new();
    for name in ["edited", "replaced", "gone", "mode", "other"] {
        write(case.host(name), "before");
    }
    write(case.host("tree/deep/file"), "before");
    write(case.host("older"), "moved over the other");
    let base = case.build();
    for name in ["edited", "replaced", "mode", "other", "new"] {
        write(case.up(name), "by the program");
    }
    whiteout(case.up("gone"));
    whiteout(case.up("tree"));
    let_the_clock_tick();
    fs::write(case.host("edited"), "edited").unwrap();
    fs::rename(case.host("older"), case.host("replaced")).unwrap();
    fs::write(case.host("gone"), "edited").unwrap();
    mode(case.host("mode"), 0o600);
    write(case.host("new"), "the host's");
    write(case.host("tree/deep/new"), "the host's");
    let changes = case.scan(base);

    let (count, refused) = applied(&changes);
    let refused: Vec<_> = refused.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(refused, ["edited", "gone", "mode", "new", "replaced", "tree"]);
    assert_eq!(count, 1);
    for (name, text) in [
        ("edited", "edited"),
        ("replaced", "moved over the other"),
        ("gone", "edited"),
        ("mode", "before"),
        ("new", "the host's"),
        ("tree/deep/new", "the host's"),
        ("tree/deep/file", "before"),
        ("other", "by the program"),
    ] {
        assert_eq!(fs::read_to_string(case.host(name)).unwrap(), text, "{name}");
    }
}

/// The scan has seen the host's files; they are changed after it.
#[test]
fn what_changes_between_diff_and_apply_is_left_alone_too() {
    let case = Case::new();
    for name in ["edited", "gone", "mode"] {
        write(case.host(name), "before");
    }
    write(case.host("tree/file"), "before");
    mode(case.host("mode"), 0o644);
    for name in ["edited", "new", "mode"] {
        write(case.up(name), if name == "mode" { "before" } else { "by the program" });
    }
    mode(case.up("mode"), 0o755);
    whiteout(case.up("gone"));
    whiteout(case.up("tree"));
    let changes = case.changes();
    let_the_clock_tick();
    for name in ["edited", "gone", "new", "mode"] {
        write(case.host(name), "the host's own");
    }
    write(case.host("tree/file"), "the host's own");
    let (count, refused) = applied(&changes);
    assert_eq!((count, refused.len()), (0, 5), "{refused:?}");
    for name in ["edited", "gone", "new", "mode", "tree/file"] {
        assert_eq!(fs::read_to_string(case.host(name)).unwrap(), "the host's own", "{name}");
    }
    assert_eq!(case.host("mode").metadata().unwrap().mode() & 0o777, 0o644);
}

#[test]
fn a_clock_that_was_set_back_stops_everything() {
    let case = Case::new();
    write(case.up("new"), "new");
    let mut base = case.build();
    base.since = base.since.as_if_set_back();
    let changes = case.scan(base);
    let error = changes.apply().unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("clock was set back"), "{source}");
    assert!(!case.host("new").exists());
}

#[test]
fn times_of_files_are_kept_for_build_tools() {
    let case = Case::new();
    write(case.up("object"), "object");
    let file = fs::File::options().write(true).open(case.up("object")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
    assert_eq!(applied(&case.changes()), (1, vec![]));
    assert_eq!(case.host("object").metadata().unwrap().mtime(), 1_000_000);
}
