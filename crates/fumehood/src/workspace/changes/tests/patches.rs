//! What a patch says, and what Git and GNU patch make of it.

use std::collections::BTreeMap;
use std::io::ErrorKind::NotFound;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;

#[test]
fn a_patch_shows_text_and_names_the_rest() {
    let case = Case::new();
    write(case.host("text"), "one\ntwo\nthree\n");
    write(case.host("gone"), "gone\n");
    write(case.up("text"), "one\n2\nthree\n");
    mode(case.up("text"), 0o644);
    mode(case.host("text"), 0o644);
    write(case.up("binary"), "a\0b");
    write(case.up("large"), &"x\n".repeat(1 << 20));
    write(case.up("new"), "no newline");
    whiteout(case.up("gone"));
    let text = patch_of(&case.changes());
    for part in [
        "diff --git a/text b/text\n--- a/text\n+++ b/text\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n",
        "# added     binary\n",
        "# added     large\n",
        "--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+no newline\n\\ No newline at end of file\n",
        "deleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-gone\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

/// What a patch cannot say must not keep the rest of it from being applied.
#[test]
fn git_and_patch_take_a_patch_that_leaves_something_out() {
    let case = Case::new();
    for name in ["blob", "gone-blob", "blob-to-link", "blob-to-directory"] {
        write(case.host(name), "a\0b");
    }
    for name in ["mode", "text", "directory/in", "directory-to-link/in"] {
        write(case.host(name), "one\n");
        mode(case.host(name), 0o644);
    }
    write(case.up("blob"), "c\0d");
    write(case.up("new-blob"), "c\0d");
    whiteout(case.up("gone-blob"));
    write(case.up("mode"), "one\n");
    mode(case.up("mode"), 0o600);
    symlink("text", case.up("blob-to-link")).unwrap();
    symlink("text", case.up("directory-to-link")).unwrap();
    write(case.up("blob-to-directory/in"), "new\n");
    write(case.up("directory"), "now a file\n");
    for (name, text) in [("text", "two\n"), ("z", "z\n")] {
        write(case.up(name), text);
        mode(case.up(name), 0o644);
    }
    let text = patch_of(&case.changes());
    let [blob, one] = ["a\0b", "one\n"].map(Made::file);
    for tool in TOOLS {
        let Some(made) = patched(&case, tool, &text) else { continue };
        assert_eq!(made["text"], Made::file("two\n"), "{tool:?}");
        assert_eq!(made["z"], Made::file("z\n"), "{tool:?}");
        for name in ["blob", "gone-blob", "blob-to-link", "blob-to-directory"] {
            assert_eq!(made[name], blob, "{name}");
        }
        for name in ["mode", "directory/in", "directory-to-link/in"] {
            assert_eq!(made[name], one, "{name}");
        }
    }
}

#[test]
fn git_and_patch_make_of_a_patch_what_applying_makes() {
    let case = Case::new();
    for dir in ["plain", " in front", "behind ", "\"quoted\"", "a\tb", "a\nb", "a\\b", "ä", "-p0"]
    {
        for (name, text) in [
            ("changed", "one\ntwo\n"),
            ("changed too ", "one"),
            ("emptied", "one\n"),
            ("gone", "one\n"),
            ("gone empty", ""),
            ("made executable", "one\n"),
            ("to link", ""),
        ] {
            write(case.host(dir).join(name), text);
            mode(case.host(dir).join(name), 0o644);
        }
        symlink("old", case.host(dir).join("link")).unwrap();
        for (name, text) in [
            ("changed", "two\r\n"),
            ("changed too ", "one\ntwo"),
            ("emptied", ""),
            ("made executable", "one\n"),
            ("new", "--- a\n+++ b\n"),
            (" new empty", ""),
        ] {
            write(case.up(dir).join(name), text);
            mode(case.up(dir).join(name), 0o644);
        }
        mode(case.up(dir).join("made executable"), 0o755);
        symlink("new", case.up(dir).join("link")).unwrap();
        symlink("new", case.up(dir).join("to link")).unwrap();
        whiteout(case.up(dir).join("gone"));
        whiteout(case.up(dir).join("gone empty"));
    }
    let changes = case.changes();
    let text = patch_of(&changes);
    let made: Vec<_> = TOOLS.into_iter().filter_map(|tool| patched(&case, tool, &text)).collect();
    assert_eq!(applied(&changes).1, [""; 0]);
    let expected = tree(case.host.path());
    for made in made {
        assert_eq!(made, expected, "{text}");
    }
}

#[test]
fn what_the_host_does_not_let_us_read_is_named() {
    let case = Case::new();
    for (name, text) in [("fleeting", "one\n"), ("text", "one\n")] {
        write(case.host(name), text);
        write(case.up(name), "two\n");
    }
    let changes = case.changes();
    fs::remove_file(case.host("fleeting")).unwrap();
    let text = patch_of(&changes);
    assert!(text.starts_with("# modified  fleeting\ndiff --git a/text b/text\n"), "{text}");
}

const TOOLS: [&[&str]; 2] = [&["git", "apply"], &["patch", "-p1", "--batch", "-i"]];

/// What a tool makes of a copy of the host's directory; none if it is not installed.
fn patched(case: &Case, tool: &[&str], text: &str) -> Option<BTreeMap<String, Made>> {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    let copied = Command::new("cp").arg("-a").arg(case.host.path()).arg(&copy).status().unwrap();
    assert!(copied.success());
    fs::write(dir.path().join("patch"), text).unwrap();
    let mut command = Command::new(tool[0]);
    command.args(&tool[1..]).arg("../patch").current_dir(&copy);
    let output = match command.env("GIT_CEILING_DIRECTORIES", "/").output() {
        Err(error) if error.kind() == NotFound => return None,
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{tool:?}: {output:?}\n{text}");
    Some(tree(&copy))
}

/// A file as Git knows it.
#[derive(Debug, PartialEq, Eq)]
enum Made {
    Link(PathBuf),
    File { text: String, executable: bool },
}

impl Made {
    fn file(text: &str) -> Self {
        Self::File { text: text.to_owned(), executable: false }
    }
}

/// Every file below a directory.
fn tree(dir: &Path) -> BTreeMap<String, Made> {
    let mut all = BTreeMap::new();
    for name in names(dir) {
        let path = dir.join(&name);
        let stat = path.symlink_metadata().unwrap();
        if stat.is_dir() {
            let below = tree(&path).into_iter();
            all.extend(below.map(|(path, made)| (format!("{name}/{path}"), made)));
        } else if stat.is_symlink() {
            all.insert(name, Made::Link(fs::read_link(path).unwrap()));
        } else {
            let executable = stat.permissions().mode() & 0o100 != 0;
            let text = fs::read_to_string(path).unwrap();
            all.insert(name, Made::File { text, executable });
        }
    }
    all
}
