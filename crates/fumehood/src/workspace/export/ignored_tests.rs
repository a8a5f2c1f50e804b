//! Held against Git itself.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn gitignore(text: &str) -> Ignored {
    let lines = lines(text.as_bytes()).unwrap();
    Ignored(vec![Gitignore { directory: PathBuf::new(), lines }])
}

#[test]
fn a_line_that_is_no_pattern_is_refused_by_its_number() {
    for (text, words) in [
        ("a\n[b\n", "line 2: [b: has a [ without its ]"),
        ("a\\", "line 1: a\\: ends with a backslash"),
        ("[[:alpha:]]", "line 1: [[:alpha:]]: has more in its brackets"),
    ] {
        let problem = lines(text.as_bytes()).unwrap_err();
        assert!(problem.contains(words), "{problem}");
    }
}

#[test]
fn marks_and_spaces_mean_what_they_mean_to_git() {
    let ignored = gitignore("\u{feff}#no\n\\#yes\nspace \\ \r\ntrail  \n*.o\n!keep.o\nd/\n");
    let names = |path: &str| ignored.names(Path::new(path), false);
    assert!(names("#yes") && names("space  ") && names("trail") && names("x.o") && names("a/x.o"));
    assert!(!names("#no") && !names("no") && !names("keep.o") && !names("d"));
    assert!(ignored.names(Path::new("d"), true));
}

const TREE: [&str; 11] =
    ["a", "b/a", "b/b", "b/ab/a", "b/ab/c", "c/b/a", "ab/a", "ab/b", "abc", "#a", "b/c/c/a"];

/// A repository with the tree in it.
fn repository() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in TREE {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let made = Command::new("git").args(["init", "--quiet"]).current_dir(&dir).status();
    assert!(made.expect("git").success());
    dir
}

/// The files of the tree that Git ignores.
fn by_git(dir: &TempDir, text: &str) -> BTreeSet<&'static str> {
    fs::write(dir.path().join(".gitignore"), text).unwrap();
    let list = dir.path().join(".git/list");
    fs::write(&list, TREE.join("\n")).unwrap();
    let output = Command::new("git")
        .args(["-c", "core.quotepath=off", "check-ignore", "--no-index", "--stdin"])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .current_dir(dir)
        .stdin(File::open(list).unwrap())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    TREE.into_iter().filter(|path| said.lines().any(|line| line == *path)).collect()
}

/// The same by us: what is in an ignored directory is never looked at.
fn by_us(text: &str) -> BTreeSet<&'static str> {
    let ignored = gitignore(text);
    let is_ignored = |path: &&str| {
        let above = Path::new(path).ancestors().skip(1).filter(|dir| *dir != Path::new(""));
        above.into_iter().any(|dir| ignored.names(dir, true))
            || ignored.names(Path::new(path), false)
    };
    TREE.into_iter().filter(is_ignored).collect()
}

/// Lines of what patterns are made of; few enough that they often fit something.
fn pattern() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b", "c", "ab", "*", "**", "?", "/", "/", "[ab]", "[!a]", "[a-b]", "\\a", ".", " ",
        "#",
    ]);
    let line = prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat());
    (prop::bool::weighted(0.2), line)
        .prop_map(|(not, line)| if not { format!("!{line}") } else { line })
}

/// Brackets and a backslash in one line are refused here; and what two stars beside something else
/// mean to Git is not what it documents: `ab**/c` fits `abc`, depending on where the two lie in memory.
fn is_understood(text: &str) -> bool {
    let is_odd = |name: &str| name.contains("**") && name.trim_start_matches('!').trim() != "**";
    lines(text.as_bytes()).is_ok() && !text.split(['/', '\n']).any(is_odd)
}

#[test]
fn what_git_ignores_is_ignored_and_nothing_else() {
    let dir = repository();
    let config =
        ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    let patterns = prop::collection::vec(pattern(), 1..4).prop_map(|lines| lines.join("\n"));
    let mut ignored = 0;
    proptest::test_runner::TestRunner::new(config)
        .run(&patterns.prop_filter("refused", |text| is_understood(text)), |text| {
            prop_assert_eq!(by_us(&text), by_git(&dir, &text), "{:?}", text);
            Ok(())
        })
        .unwrap();
    for text in ["a", "b/**\n!b/a", "**/c\n!b/c", "/*\n!/b\n/b/*\n!/b/ab"] {
        let git = by_git(&dir, text);
        assert_eq!(by_us(text), git, "{text}");
        ignored += git.len();
    }
    assert!(ignored > 12, "the tree has something for these to fit: {ignored}");
}
