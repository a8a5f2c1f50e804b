//! Files of the host's that have several names.

use std::os::unix::fs::MetadataExt;

use super::*;

/// Removing one name stamps the file anew, which is no change that the host made.
#[test]
fn names_of_one_file_can_all_be_removed() {
    for gone in [&["a", "m", "z"][..], &["a", "z"], &["a/x", "a/y", "m", "z"], &["m", "z"]] {
        let case = Case::new();
        write(case.host("a/x"), "before");
        for name in ["a/y", "m", "z/deep/x"] {
            fs::create_dir_all(case.host(name).parent().unwrap()).unwrap();
            fs::hard_link(case.host("a/x"), case.host(name)).unwrap();
        }
        for name in gone {
            fs::create_dir_all(case.up(name).parent().unwrap()).unwrap();
            whiteout(case.up(name));
        }
        assert_eq!(applied(&case.changes()), (gone.len() as u64, vec![]));
        assert!(gone.iter().all(|name| !case.host(name).exists()), "{gone:?}");
    }
}

#[test]
fn a_replaced_file_s_other_name_can_be_removed() {
    let case = Case::new();
    write(case.host("a"), "before");
    fs::create_dir(case.host("z")).unwrap();
    fs::hard_link(case.host("a"), case.host("z/a")).unwrap();
    write(case.up("a"), "after");
    whiteout(case.up("z"));
    assert_eq!(applied(&case.changes()), (2, vec![]));
    assert_eq!(fs::read_to_string(case.host("a")).unwrap(), "after");
    assert!(!case.host("z").exists());
}

/// Whoever writes by another name after that is not taken for us.
#[test]
fn a_file_that_was_written_by_its_other_name_is_left_alone() {
    let case = Case::new();
    write(case.host("a"), "before");
    fs::create_dir(case.host("z")).unwrap();
    fs::hard_link(case.host("a"), case.host("z/a")).unwrap();
    whiteout(case.up("a"));
    whiteout(case.up("z"));
    let changes = case.changes();
    fs::write(case.host("z/a"), "theirs").unwrap();
    let (_, refused) = applied(&changes);
    let refused: Vec<_> = refused.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(refused, ["a", "z"]);
    assert_eq!(fs::read_to_string(case.host("z/a")).unwrap(), "theirs");
}

#[test]
fn a_mode_is_changed_under_one_name() {
    let case = Case::new();
    for name in ["a", "b"] {
        write(case.host(name), "before");
        mode(case.host(name), 0o644);
        write(case.up(name), "before");
        mode(case.up(name), 0o700);
    }
    fs::hard_link(case.host("a"), case.host("c")).unwrap();
    fs::hard_link(case.host("a"), case.out("other")).unwrap();
    fs::remove_file(case.host("b")).unwrap();
    fs::hard_link(case.host("a"), case.host("b")).unwrap();
    assert_eq!(applied(&case.changes()), (2, vec![]));
    let mode = |path: PathBuf| path.metadata().unwrap().mode() & 0o777;
    assert_eq!([mode(case.host("a")), mode(case.host("b"))], [0o700; 2]);
    assert_eq!([mode(case.host("c")), mode(case.out("other"))], [0o644; 2]);
    assert_eq!(fs::read_to_string(case.host("a")).unwrap(), "before");
}
