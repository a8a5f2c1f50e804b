//! Programs, built once.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// Where everything is built; removed at the end.
fn dir() -> &'static tempfile::TempDir {
    DIR.get_or_init(|| tempfile::tempdir().unwrap())
}

static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();

/// Removes what was built.
pub(crate) fn clean_up() {
    if let Some(dir) = DIR.get() {
        let _ = std::fs::remove_dir_all(dir.path());
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/playground").join(name)
}

/// The C compiler that this machine has, if any.
pub(crate) fn cc() -> Option<&'static str> {
    let works = |program: &&str| {
        let mut command = Command::new(program);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    ["cc", "gcc"].into_iter().find(works)
}

/// The Go command that this machine has, if any.
pub(crate) fn go() -> Option<&'static str> {
    let works = |program: &&str| Command::new(program).arg("version").output().is_ok();
    ["go", "/usr/local/go/bin/go", "/usr/lib/go/bin/go"].into_iter().find(works)
}

/// The program `programs/tool.c`.
pub(crate) fn tool() -> &'static [u8] {
    static TOOL: OnceLock<Vec<u8>> = OnceLock::new();
    TOOL.get_or_init(|| {
        let program = dir().path().join("tool");
        let mut command = Command::new(cc().expect("tests that need it are skipped without it"));
        command.args(["-static", "-O1", "-s", "-o"]).arg(&program).arg(source("programs/tool.c"));
        succeed(&mut command);
        std::fs::read(program).unwrap()
    })
}

/// The program in `faketime`, with a clock that it does not have to wait for.
pub(crate) fn faketime() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| go_program("faketime", &["-tags=faketime"]))
}

/// The client in `client`, which speaks the documented protocol and nothing else.
pub(crate) fn client(arguments: &[&str]) -> Output {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| go_program("client", &[]));
    Command::new(program).args(arguments).output().unwrap()
}

fn go_program(name: &str, flags: &[&str]) -> PathBuf {
    let program = dir().path().join(name);
    let mut command = Command::new(go().expect("tests that need it are skipped without it"));
    command.arg("build").args(flags).arg("-o").arg(&program).arg(".").current_dir(source(name));
    let offline = [("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")];
    command.envs(offline).env("GOFLAGS", "-buildvcs=false");
    if std::env::var_os("HOME").is_none() {
        command.env("GOCACHE", dir().path().join("cache"));
    }
    succeed(&mut command);
    program
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {stderr}", output.status);
}
