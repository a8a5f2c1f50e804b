//! The child can neither panic nor allocate: not by inspection, but in the machine code that an
//! optimizing build makes of it.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Assembly of the crate, as the release profile compiles it.
fn assembly(dir: &Path) -> String {
    let built = Command::new(env!("CARGO"))
        .args(["rustc", "--quiet", "--package", "fumehood-child", "--lib", "--release"])
        .args(["--target", "host-tuple"])
        .arg("--target-dir")
        .arg(dir)
        .args(["--", "--emit", "asm", "-C", "codegen-units=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success());
    let targets = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let built = targets.map(|target| target.join("release/deps")).find(|deps| deps.is_dir());
    let files = std::fs::read_dir(built.unwrap()).unwrap();
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("fumehood_child-") && name.ends_with(".s")
    };
    let path = files.map(|entry| entry.unwrap().path()).find(is_ours).unwrap();
    std::fs::read_to_string(path).unwrap()
}

/// Functions that the code refers to and that are not its own.
fn foreign(assembly: &str) -> Vec<&str> {
    let mut names: Vec<_> = assembly
        .lines()
        .filter(|line| line.starts_with('\t') && !line.trim_start().starts_with('.'))
        .flat_map(|line| line.split([' ', '\t', ',', '*', '(', '@']))
        .filter(|word| word.starts_with("_R") || word.starts_with("_ZN") || word.starts_with("mem"))
        .filter(|word| !word.contains("fumehood_child"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn the_child_calls_nothing_that_could_panic_or_allocate() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("assembly");
    let _ = std::fs::remove_dir_all(&dir);
    let assembly = assembly(&dir);
    assert!(assembly.contains("syscall") || assembly.contains("svc"), "not the code of the child");
    for name in foreign(&assembly) {
        // Of core it uses two pure functions; the mem* functions touch only what they are given.
        let pure = ["from_bytes_with_nul", "from_bytes_until_nul"];
        let harmless = pure.iter().any(|pure| name.contains(pure)) || name.starts_with("mem");
        assert!(harmless, "the child refers to {name}");
    }
    for word in ["panic", "unwrap_failed", "__rust_alloc", "len_mismatch", "handle_alloc_error"] {
        assert!(!assembly.contains(word), "the child refers to {word}");
    }
}
