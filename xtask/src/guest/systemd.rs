//! `cargo xtask test-v2 --systemd`: what `fumehood check` advises under systemd, done in guests in
//! which systemd is the first process: an old one and one that knows subgroups of units.
#![expect(clippy::print_stdout, reason = "a command talks to its caller")]

use std::path::{Path, PathBuf};

use super::{Options, Result, Threads, build_tests, debian, start_qemu, watch};
use crate::tally::Tally;

/// Debian 12 has systemd 252, Debian 13 has 257.
const SUITES: [&str; 2] = ["bookworm", "trixie"];

const PACKAGES: &str = "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,login,passwd,\
     mount,dash";

const INIT: &[u8] = include_bytes!("systemd-init.sh");

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
        let image = debian::image(suite, suite, PACKAGES)?;
        let initrd = debian::pack("systemd", INIT, &image, &binary, &TESTS)?;
        let tally = watch(start_qemu(kernel, &initrd, Threads::Many)?, options.timeout)?.tally;
        let nothing = || Tally::failure(format!("{suite}: the guest has tried nothing"));
        all += if tally == Tally::default() { nothing() } else { tally.of_whom(suite) };
    }
    Ok(all)
}

/// The statically linked binary: `FUMEHOOD_BIN` where it is not to be built.
pub(super) fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FUMEHOOD_BIN") {
        return Ok(path.into());
    }
    let built = build_tests(&["--package", "fumehood-cli", "--test", "promise"])?;
    let binary = built.into_iter().find(|path| path.ends_with("fumehood"));
    binary.ok_or_else(|| "no binary was built".into())
}
