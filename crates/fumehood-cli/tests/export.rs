//! What `fumehood export` and `fumehood policy` write.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const FUMEHOOD: &str = env!("CARGO_BIN_EXE_fumehood");

fn fumehood(dir: &Path, args: &[&str]) -> Output {
    Command::new(FUMEHOOD).args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn succeeds(dir: &Path, args: &[&str]) -> String {
    let output = fumehood(dir, args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(dir: &Path, args: &[&str]) -> String {
    let output = fumehood(dir, args);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert_eq!(output.stdout, b"", "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A project with what must stay behind and what must not be taken for it.
fn project() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in ["main.rs", "src/tokenizer.rs", ".env", "id_ed25519", "sessions/1", "dist/app"] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "content\n").unwrap();
    }
    dir
}

#[test]
fn this_repository_is_exported_to_the_same_bytes_twice() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if !repository.join("README.md").exists() {
        eprintln!("skipped: there is no {}", repository.display());
        return;
    }
    let out = tempfile::tempdir().unwrap();
    for name in ["a.zip", "a.tar", "a.tar.gz"] {
        let archives = ["one", "two"].map(|directory| {
            let path = out.path().join(directory).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let said = succeeds(&repository, &["export", "-o", path.to_str().unwrap()]);
            assert!(!said.contains(".rs, "), "code stays behind: {said}");
            fs::read(path).unwrap()
        });
        assert!(archives[0].len() > 100_000, "{name}");
        assert!(archives[0] == archives[1], "{name} differs");
    }
}

#[test]
fn what_is_left_out_is_said_with_its_rule() {
    let dir = project();
    let said = succeeds(dir.path(), &["export", "--list"]);
    assert_eq!(
        said,
        "main.rs\nsrc/tokenizer.rs\n2 files, 16 bytes\n\
         skipped: .env, env-file\nskipped: dist/, build-output\n\
         skipped: id_ed25519, private-key\nskipped: sessions/, secret-name\n\
         what is no secret can be kept by its path: --keep .env\n"
    );
    let said = succeeds(dir.path(), &["export", "--list", "--json", "--keep", "sessions/"]);
    let document: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(document["archive"], Value::Null);
    assert_eq!(document["files"][1]["path"], "sessions/1");
    assert_eq!(document["skipped"].as_array().unwrap().len(), 3);
    assert_eq!(document["skipped"][0]["rule"], "env-file");
}

#[test]
fn an_archive_is_whole_or_not_there() {
    let dir = project();
    let said = fails(dir.path(), &["export", "-o", "out.zip", "--max-total", "10B"]);
    let expected =
        "fumehood: cannot export: src/tokenizer.rs: is where all files exceed 10B together\n";
    assert_eq!(said, expected);
    let said = fails(dir.path(), &["export", "-o", "out.zip", "--secrets", "refuse"]);
    assert!(said.contains(".env: looks like a secret (env-file)"), "{said}");
    let names = || fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names(), 6, "something was left behind");
    for _ in 0..2 {
        succeeds(dir.path(), &["export", "-o", "out.zip"]);
        assert_eq!(names(), 7);
    }
    let list = Command::new("python3")
        .args(["-m", "zipfile", "-l", "out.zip"])
        .current_dir(dir.path())
        .output();
    let Ok(list) = list else {
        eprintln!("skipped: python3 is not there to read the archive");
        return;
    };
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("src/tokenizer.rs") && !list.contains("id_ed25519"), "{list}");
}

#[test]
fn an_archive_can_go_to_standard_output() {
    let dir = project();
    let output = fumehood(dir.path(), &["export", "-o", "-", "--format", "tar"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    succeeds(dir.path(), &["export", "-o", "same.tar"]);
    assert_eq!(output.stdout, fs::read(dir.path().join("same.tar")).unwrap());
    assert!(String::from_utf8(output.stderr).unwrap().contains("skipped: .env, env-file"));
    assert!(fails(dir.path(), &["export", "-o", "-"]).contains("needs --format"));
    assert!(fails(dir.path(), &["export", "-o", "a.rar"]).contains("must end with .zip"));
}

#[test]
fn the_policy_says_what_is_done_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let policy = |flags: &[&str]| -> Value {
        let said = succeeds(dir.path(), &[&["policy", "--json"], flags].concat());
        serde_json::from_str(&said).unwrap()
    };
    let plain = policy(&[]);
    assert_eq!(plain["network"], "none");
    assert_eq!(plain["guarantees"]["network"]["state"], "held");
    assert_eq!(plain["guarantees"]["kernel-boundary"]["state"], "not-held");
    assert_eq!(plain["limits"]["wall_time"], "10s");
    assert_eq!(plain["files"]["writable"], Value::Array(Vec::new()));
    assert_eq!(plain["export"]["limits"]["files"], 10_000);
    let rules = plain["export"]["rules"].as_array().unwrap();
    let keys = rules.iter().find(|rule| rule["name"] == "private-key").unwrap();
    assert_eq!(keys["about_secrets"], true);
    assert!(keys["names"].as_array().unwrap().contains(&"file id_ed25519".into()));
    let volume = format!("{}:/data:rw", dir.path().display());
    let open = policy(&["--network", "host", "--volume", &volume, "--timeout", "3s"]);
    assert_eq!(open["guarantees"]["network"]["state"], "not-held");
    assert_eq!(open["files"]["writable"][0]["path"], "/data");
    assert_eq!(open["limits"]["wall_time"], "3s");
}

/// What a rule says that it leaves alone.
fn are_not_skipped(patterns: &str, rule: &str) {
    let tree = tempfile::tempdir().unwrap();
    let (patterns, _unless) = patterns.split_once(", unless").unwrap_or((patterns, ""));
    for pattern in patterns.split(' ') {
        fs::write(tree.path().join(pattern.replace('*', "session")), "").unwrap();
    }
    let said = succeeds(tree.path(), &["export", "--list"]);
    assert!(!said.contains(&format!(", {rule}\n")), "{said}");
}

#[test]
fn every_name_of_the_policy_s_rules_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let said = succeeds(dir.path(), &["policy", "--json"]);
    let policy: Value = serde_json::from_str(&said).unwrap();
    let mut tried = 0;
    for rule in policy["export"]["rules"].as_array().unwrap() {
        for pattern in rule["names"].as_array().unwrap() {
            let pattern = pattern.as_str().unwrap();
            if let Some(others) = pattern.strip_prefix("but not file ") {
                are_not_skipped(others, rule["name"].as_str().unwrap());
                continue;
            }
            let (directory, name) = match pattern.split_once(' ') {
                Some(("directory", name)) => (true, name),
                Some((_, name)) => (false, name),
                None => (false, pattern),
            };
            let name = name.replace('*', "x");
            let tree = tempfile::tempdir().unwrap();
            if let Some(tag) = name.strip_prefix("with ") {
                fs::create_dir(tree.path().join("d")).unwrap();
                fs::write(tree.path().join("d").join(tag), "").unwrap();
            } else if directory {
                fs::create_dir(tree.path().join(&name)).unwrap();
            } else {
                fs::write(tree.path().join(&name), "").unwrap();
            }
            let said = succeeds(tree.path(), &["export", "--list"]);
            let line = format!(", {}\n", rule["name"].as_str().unwrap());
            assert!(said.contains(&line), "{pattern}: {said}");
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried}");
}
