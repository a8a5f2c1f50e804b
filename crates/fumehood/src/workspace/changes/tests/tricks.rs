use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;

/// Something that a program may leave behind, and what must become of it.
struct Trick {
    name: &'static str,
    leave: fn(&Case),
    /// Lines of the diff.
    diff: &'static [&'static str],
    /// Starts of what is refused.
    refused: &'static [&'static str],
}

const TRICKS: [Trick; 21] = [
    Trick {
        name: "a FIFO, which nobody may wait for",
        leave: |case| node(case.up("f"), FileType::Fifo),
        diff: &["added     f (fifo)"],
        refused: &["f: is a FIFO"],
    },
    Trick {
        name: "a FIFO in place of a file",
        leave: |case| {
            write(case.host("f"), "kept");
            node(case.up("f"), FileType::Fifo);
        },
        diff: &["type      f (file to fifo)"],
        refused: &["f: is a FIFO"],
    },
    Trick {
        name: "a socket",
        leave: |case| drop(UnixListener::bind(case.up("s")).unwrap()),
        diff: &["added     s (socket)"],
        refused: &["s: is a socket"],
    },
    Trick {
        name: "a whiteout of nothing",
        leave: |case| whiteout(case.up("w")),
        diff: &[],
        refused: &[],
    },
    Trick {
        name: "a link to a file of the host",
        leave: |case| symlink(case.out("secret"), case.up("l")).unwrap(),
        diff: &["added     l -> OUTSIDE/secret"],
        refused: &["l: is a link that leads out"],
    },
    Trick {
        name: "a link upwards",
        leave: |case| {
            fs::create_dir_all(case.up("a/b")).unwrap();
            symlink("../../../etc", case.up("a/b/l")).unwrap();
        },
        diff: &["added     a/", "added     a/b/", "added     a/b/l -> ../../../etc"],
        refused: &["a/b/l: is a link that leads out"],
    },
    Trick {
        name: "links that lead out only together",
        leave: |case| {
            fs::create_dir_all(case.up("x/y")).unwrap();
            symlink("../..", case.up("x/y/s")).unwrap();
            symlink("x/y/s/../..", case.up("t")).unwrap();
        },
        diff: &[
            "added     t -> x/y/s/../..",
            "added     x/",
            "added     x/y/",
            "added     x/y/s -> ../..",
        ],
        refused: &["t: is a link that leads out"],
    },
    Trick {
        name: "a directory swapped for a link to outside",
        leave: |case| {
            write(case.host("d/file"), "kept");
            symlink(case.outside.path(), case.up("d")).unwrap();
        },
        diff: &["type      d (directory to symlink -> OUTSIDE)"],
        refused: &["d: is a link that leads out"],
    },
    Trick {
        name: "a link of the host's swapped for a directory",
        leave: |case| {
            symlink(case.outside.path(), case.host("d")).unwrap();
            write(case.up("d/secret"), "mine");
        },
        diff: &["type      d/ (symlink to directory)", "added     d/secret"],
        refused: &[],
    },
    Trick {
        name: "a file swapped for a link, through which the next would be written",
        leave: |case| {
            write(case.host("secret"), "before");
            symlink(case.out("secret"), case.up("secret")).unwrap();
        },
        diff: &["type      secret (file to symlink -> OUTSIDE/secret)"],
        refused: &["secret: is a link that leads out"],
    },
    Trick {
        name: "names with a newline, without a letter, with a dash",
        leave: |case| {
            write(case.up("a\nadded     b"), "");
            fs::write(case.upper().join(OsStr::from_bytes(b"\xff\xfe")), "").unwrap();
            write(case.up("-rf"), "");
            write(case.up("\u{1b}[2J"), "");
        },
        diff: &[
            r#"added     "\033[2J""#,
            "added     -rf",
            r#"added     "a\nadded     b""#,
            r#"added     "\377\376""#,
        ],
        refused: &[],
    },
    Trick {
        name: "set-id bits",
        leave: |case| {
            write(case.up("suid"), "x");
            mode(case.up("suid"), 0o6755);
            write(case.host("mine"), "x");
            mode(case.host("mine"), 0o755);
            write(case.up("mine"), "x");
            mode(case.up("mine"), 0o4755);
        },
        diff: &["mode      mine (755 to 4755)", "added     suid"],
        refused: &["mine: its set-id bits", "suid: its set-id bits"],
    },
    Trick {
        name: "a file with a hole of a terabyte",
        leave: |case| {
            let file = fs::File::create(case.up("sparse")).unwrap();
            file.set_len(1 << 40).unwrap();
        },
        diff: &["added     sparse"],
        refused: &[],
    },
    Trick {
        name: "files and directories without any right",
        leave: |case| {
            write(case.up("d/f"), "x");
            mode(case.up("d/f"), 0o000);
            mode(case.up("d"), 0o000);
        },
        diff: &["added     d/", "added     d/f"],
        refused: &[],
    },
    Trick {
        name: "attributes of the overlay that point elsewhere",
        leave: |case| {
            write(case.host("d/kept"), "kept");
            write(case.up("d/f"), "x");
            mode(case.host("d"), 0o755);
            mode(case.up("d"), 0o755);
            for (path, name, value) in [
                ("d", "redirect", "/etc"),
                ("d", "opaque", "n"),
                ("d/f", "metacopy", ""),
                ("d/f", "redirect", "/etc/passwd"),
                ("d/f", "origin", "rubbish"),
            ] {
                attribute(case.up(path), name, value);
            }
        },
        diff: &["added     d/f"],
        refused: &[],
    },
    Trick {
        name: "one file under two names",
        leave: |case| {
            write(case.up("one"), "x");
            fs::hard_link(case.up("one"), case.up("two")).unwrap();
        },
        diff: &["added     one", "added     two"],
        refused: &[],
    },
    Trick {
        name: "a device in place of a directory",
        leave: |case| {
            write(case.host("d/f"), "x");
            whiteout(case.up("d"));
        },
        diff: &["deleted   d/"],
        refused: &[],
    },
    Trick {
        name: "a name like our own temporary files have",
        leave: |case| {
            write(case.up(&format!(".fumehood-{}-0", std::process::id())), "x");
        },
        diff: &["added     .fumehood-PID-0"],
        refused: &[],
    },
    Trick {
        name: "a patch in a file's name",
        leave: |case| write(case.up("b\n--- a\n+++ b"), "x"),
        diff: &[r#"added     "b\n--- a\n+++ b""#],
        refused: &[],
    },
    Trick {
        name: "a thousand empty directories",
        leave: |case| {
            for number in 0..1000 {
                fs::create_dir(case.up(&format!("d{number:04}"))).unwrap();
            }
        },
        diff: &["…"],
        refused: &[],
    },
    Trick {
        name: "links in a loop",
        leave: |case| {
            symlink("b", case.up("a")).unwrap();
            symlink("a", case.up("b")).unwrap();
        },
        diff: &["added     a -> b", "added     b -> a"],
        refused: &[],
    },
];

#[test]
fn whatever_a_program_leaves_has_its_verdict_and_stays_inside() {
    for trick in &TRICKS {
        let case = Case::new();
        (trick.leave)(&case);
        let changes = case.changes();
        let outside = case.outside.path().to_string_lossy().into_owned();
        let pid = std::process::id().to_string();
        let seen: Vec<_> = lines(&changes)
            .iter()
            .map(|line| line.replace(&outside, "OUTSIDE").replace(&pid, "PID"))
            .collect();
        if trick.diff != ["…"] {
            assert_eq!(seen, trick.diff, "{}", trick.name);
        }
        patch_of(&changes);
        let (_, refused) = applied(&changes);
        assert_eq!(refused.len(), trick.refused.len(), "{}: {refused:?}", trick.name);
        for (is, should) in refused.iter().zip(trick.refused) {
            assert!(is.starts_with(should), "{}: {is:?} is not {should:?}", trick.name);
        }
        case.assert_outside_untouched();
        assert_no_special_file(case.host.path(), trick.name);
    }
}

/// No device, FIFO, socket, set-id bit or link to outside has come to the host, and nothing was left
/// over there.
fn assert_no_special_file(dir: &Path, trick: &str) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let metadata = entry.path().symlink_metadata().unwrap();
        let kind = metadata.file_type();
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink(), "{trick}: {entry:?}");
        assert_eq!(metadata.mode() & 0o6000, 0, "{trick}: {entry:?}");
        if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            assert!(target.is_relative(), "{trick}: {entry:?}");
        }
        if kind.is_dir() && metadata.mode() & 0o500 == 0o500 {
            assert_no_special_file(&entry.path(), trick);
        }
    }
}

#[test]
fn a_file_with_a_hole_takes_no_space_on_the_host() {
    let case = Case::new();
    let file = fs::File::create(case.up("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"end", (1 << 40) - 3).unwrap();
    assert_eq!(applied(&case.changes()), (1, vec![]));
    let metadata = case.host("sparse").metadata().unwrap();
    assert_eq!(metadata.len(), 1 << 40);
    assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
}

#[test]
fn an_opaque_directory_hides_what_the_host_has() {
    let case = Case::new();
    for path in ["d/a", "d/sub/b", "d/both"] {
        write(case.host(path), "before");
        mode(case.host(path), 0o644);
    }
    write(case.up("d/both"), "before");
    mode(case.up("d/both"), 0o644);
    write(case.up("d/sub/c"), "new");
    for dir in [case.host("d"), case.host("d/sub"), case.up("d"), case.up("d/sub")] {
        mode(dir, 0o755);
    }
    if !attribute(case.up("d"), "opaque", "y") {
        return;
    }
    let changes = case.changes();
    assert_eq!(lines(&changes), ["deleted   d/a", "deleted   d/sub/b", "added     d/sub/c"]);
    assert_eq!(applied(&changes), (3, vec![]));
    assert_eq!(names(&case.host("d")), ["both", "sub"]);
    assert_eq!(names(&case.host("d/sub")), ["c"]);
}

#[test]
fn more_levels_than_anybody_needs_are_not_followed() {
    let case = Case::new();
    let mut dir = case.upper();
    for _ in 0..200 {
        dir.push("d");
        fs::create_dir(&dir).unwrap();
    }
    let changes = case.changes();
    assert!(!changes.diff()[0].complete);
    let (count, refused) = applied(&changes);
    assert_eq!(count, 0);
    assert!(refused[0].contains("the diff is not complete"), "{refused:?}");
    assert_eq!(names(case.host.path()), Vec::<String>::new());
}

#[test]
fn a_directory_that_becomes_a_link_on_the_host_is_not_followed() {
    let written = |case: &Case| {
        write(case.up("d/secret"), "by the program");
        write(case.up("d/new"), "by the program");
    };
    let deleted = |case: &Case| {
        fs::create_dir(case.up("d")).unwrap();
        whiteout(case.up("d/secret"));
    };
    for leave in [&written as &dyn Fn(&Case), &deleted] {
        let case = Case::new();
        write(case.host("d/secret"), "before");
        leave(&case);
        let changes = case.changes();
        fs::rename(case.host("d"), case.host("d-away")).unwrap();
        symlink(case.outside.path(), case.host("d")).unwrap();
        let (count, refused) = applied(&changes);
        assert_eq!(count, 0, "{refused:?}");
        assert!(refused.iter().all(|line| line.contains("a link on the host")), "{refused:?}");
        case.assert_outside_untouched();
    }
}

/// Whoever owns what they are in can exchange two directories though one of them is closed to them.
#[test]
fn a_directory_that_is_exchanged_meanwhile_is_not_opened() {
    let case = Case::new();
    for name in ["closed", "another", "seen"] {
        write(case.host(&format!("{name}/secret")), "secret");
        mode(case.host(name), 0o700);
    }
    fs::create_dir(case.up("new")).unwrap();
    fs::create_dir(case.up("seen")).unwrap();
    mode(case.up("new"), 0o777);
    mode(case.up("seen"), 0o777);
    let changes = case.changes();
    let (mounted, layer) = (&changes.base.mounts[0], &changes.layers[0]);
    let mut applying = Applying::new(&layer.found, &layer.upper, mounted, changes.base.since);
    assert!(!applying.write());
    for (theirs, name) in [("closed", "new"), ("another", "seen")] {
        fs::rename(case.host(name), case.host(&format!("{name}-away"))).unwrap();
        fs::rename(case.host(theirs), case.host(name)).unwrap();
    }
    let (_, refused) = applying.finish();
    assert_eq!(refused.len(), 2, "{refused:?}");
    for name in ["new", "seen"] {
        assert_eq!(case.host(name).metadata().unwrap().mode() & 0o777, 0o700, "{name}");
    }
}

#[test]
fn a_fifo_on_the_host_is_not_waited_for() {
    let case = Case::new();
    write(case.host("f"), "same");
    write(case.up("f"), "diff");
    let base = case.build();
    fs::remove_file(case.host("f")).unwrap();
    node(case.host("f"), FileType::Fifo);
    let changes = case.scan(base);
    patch_of(&changes);
    assert_eq!(applied(&changes).0, 0);
    assert!(!case.host("f").symlink_metadata().unwrap().is_file());
}

#[test]
fn a_device_in_a_layer_is_refused() {
    let case = Case::new();
    let made = mknodat(
        CWD,
        case.up("null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 3),
    );
    if made.is_err() {
        // Only root can try.
        return;
    }
    let changes = case.changes();
    assert_eq!(lines(&changes), ["added     null (device)"]);
    assert_eq!(applied(&changes).1, ["null: is a device; only files, directories and links are"]);
    assert!(!case.host("null").exists());
}
