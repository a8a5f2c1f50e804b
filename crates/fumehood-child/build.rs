//! Compiles process 1 of containers, `src/one/main.rs`: a program without any library, which cargo cannot
//! make as a part of a library, and whose panics must not unwind whatever the profile says.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    for source in ["build.rs", "src/one", "src/sys/x86_64.rs", "src/sys/aarch64.rs"] {
        println!("cargo::rerun-if-changed={source}");
    }
    let program = PathBuf::from(variable("OUT_DIR")).join("one");
    let attempts = linkers().map(|linker| compile(&program, &linker));
    let failures: Vec<_> = attempts.map_while(Result::err).collect();
    if failures.len() == linkers().count() {
        for line in failures.iter().flat_map(|said| said.lines()) {
            println!("cargo::error={line}");
        }
    }
}

fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name} for build scripts"))
}

/// How to link, until one works: as cargo links for the target, if that is set up; with the linker that
/// comes with the compiler; with the C compiler that the target has by default.
fn linkers() -> impl Iterator<Item = Vec<OsString>> {
    let chosen = env::var_os("RUSTC_LINKER").map(|linker| with_linker(&linker));
    let bundled = ["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"].map(OsString::from).to_vec();
    chosen.into_iter().chain([bundled, vec!["-Clink-arg=-nostartfiles".into()]])
}

fn with_linker(linker: &OsString) -> Vec<OsString> {
    let mut argument = OsString::from("-Clinker=");
    argument.push(linker);
    vec![argument, "-Clink-arg=-nostartfiles".into()]
}

/// What the compiler or the linker says if it fails.
fn compile(program: &Path, linker: &[OsString]) -> Result<(), String> {
    let mut command = Command::new(variable("RUSTC"));
    command.args(["--edition=2024", "--crate-name=one", "--crate-type=bin", "--cap-lints=allow"]);
    command.arg("--target").arg(variable("TARGET")).args(linker);
    if variable("CARGO_CFG_TARGET_ENV") == "musl" {
        // It begins by itself, and not with what the compiler brings along for programs of this C library.
        command.arg("-Clink-self-contained=no");
    }
    command.args([
        "-Copt-level=s",
        "-Cpanic=abort",
        "-Ccodegen-units=1",
        "-Cdebuginfo=0",
        "-Cstrip=symbols",
        "-Cforce-unwind-tables=no",
        // Nothing in it is relocated, so that it runs as it is mapped.
        "-Crelocation-model=static",
        "-Ctarget-feature=+crt-static",
        "-Crelro-level=off",
        // The same bytes wherever it is built.
        "--remap-path-prefix",
    ]);
    let mut here = variable("CARGO_MANIFEST_DIR");
    here.push("=.");
    command.arg(here).arg("-o").arg(program).arg("src/one/main.rs");
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}
