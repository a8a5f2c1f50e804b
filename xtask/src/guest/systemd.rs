//! `cargo xtask test-v2 --systemd`: what `fumehood check` advises under systemd, done in guests in
//! which systemd is the first process: an old one and one that knows subgroups of units.
#![expect(clippy::print_stdout, reason = "a command talks to its caller")]

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::Archive;
use super::{Options, Result, build_tests, output, start_qemu, target_dir, update_lists, watch};
use crate::tally::Tally;

/// Debian 12 has systemd 252, Debian 13 has 257.
const SUITES: [&str; 2] = ["bookworm", "trixie"];

const PACKAGES: &str = "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,login,passwd,\
     mount,dash";

/// What a guest that tests nothing need not carry.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

const TESTS: [(&str, &str); 6] = [
    ("tests/fumehood.service", include_str!("../../../packaging/systemd/fumehood.service")),
    ("tests/fumehood.sysusers", include_str!("../../../packaging/systemd/fumehood.sysusers")),
    ("tests/serve.toml", include_str!("../../../packaging/config/serve.toml")),
    ("tests/ask.pl", include_str!("ask.pl")),
    ("tests/tests.sh", include_str!("systemd-tests.sh")),
    ("tests/limits.sh", include_str!("systemd-limits.sh")),
];

/// Boots every one of them, one after the other.
pub(super) fn test(options: &Options, kernel: &Path) -> Result<Tally> {
    let binary = binary()?;
    let mut all = Tally::default();
    for suite in SUITES {
        println!("--- {suite}");
        let initrd = pack(&image(suite)?, &binary)?;
        let tally = watch(start_qemu(kernel, &initrd)?, options.timeout)?.tally;
        let nothing = || Tally::failure(format!("{suite}: the guest has tried nothing"));
        all += if tally == Tally::default() { nothing() } else { tally.of_whom(suite) };
    }
    Ok(all)
}

/// The statically linked binary: `FUMEHOOD_BIN` where it is not to be built.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FUMEHOOD_BIN") {
        return Ok(path.into());
    }
    let built = build_tests(&["--package", "fumehood-cli", "--test", "promise"])?;
    let binary = built.into_iter().find(|path| path.ends_with("fumehood"));
    binary.ok_or_else(|| "no binary was built".into())
}

/// An archive of a small Debian with systemd, made once.
fn image(suite: &str) -> Result<PathBuf> {
    let cache = target_dir()?.join("guest");
    let (image, part) =
        (cache.join(format!("{suite}.tar")), cache.join(format!("{suite}.part.tar")));
    if image.exists() {
        return Ok(image);
    }
    if output(Command::new("mmdebstrap").arg("--version")).is_err() {
        update_lists()?;
        let install = ["install", "--yes", "--no-install-recommends", "mmdebstrap"];
        output(Command::new("apt-get").args(install))?;
    }
    let mut build = Command::new("mmdebstrap");
    build.arg("--variant=essential").arg(format!("--include={PACKAGES}"));
    build.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
    output(build.arg(suite).arg(&part))?;
    std::fs::rename(part, &image)?;
    Ok(image)
}

fn pack(image: &Path, binary: &Path) -> Result<PathBuf> {
    let initrd = target_dir()?.join("guest/systemd.cpio");
    let mut archive = Archive::new(BufWriter::new(File::create(&initrd)?));
    for dir in ["bin", "tests"] {
        archive.directory(dir)?;
    }
    archive.copy(Path::new("/bin/busybox"), "bin/busybox")?;
    archive.file("init", 0o755, include_bytes!("systemd-init.sh"))?;
    archive.copy(image, "root.tar")?;
    archive.copy(binary, "tests/fumehood")?;
    for (path, text) in TESTS {
        archive.file(path, 0o644, text.as_bytes())?;
    }
    archive.finish()?;
    Ok(initrd)
}
