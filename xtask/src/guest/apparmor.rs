//! `cargo xtask test-v2 --apparmor`: what AppArmor denies and what helps, on a kernel that has it.
//!
//! Debian's kernels mediate new user namespaces for programs with a profile only; what Ubuntu's do
//! to programs without one takes their kernel.

use super::{Options, Result, Threads, debian, start_qemu, systemd, watch};
use crate::tally::Tally;

/// The first Debian with an AppArmor that knows `userns` rules, in its kernel and in its tools.
const SUITE: &str = "trixie";

const INIT: &[u8] = include_bytes!("apparmor-init.sh");

const TESTS: [(&str, &str); 2] = [
    ("tests/packaged", include_str!("../../../packaging/apparmor/fumehood")),
    ("tests/tests.sh", include_str!("apparmor-tests.sh")),
];

pub(super) fn test(options: &Options) -> Result<Tally> {
    let kernel = options.kernel.clone().map_or_else(|| debian::kernel(SUITE), Ok)?;
    let image = debian::image("apparmor", SUITE, "apparmor,dash")?;
    let initrd = debian::pack("apparmor", INIT, &image, &systemd::binary()?, &TESTS)?;
    // This kernel now and then trips over its own patching where processors are emulated side by side.
    let tally = watch(start_qemu(&kernel, &initrd, Threads::One)?, options.timeout)?.tally;
    let nothing = || Tally::failure("apparmor: the guest has tried nothing".to_owned());
    Ok(if tally == Tally::default() { nothing() } else { tally.of_whom("AppArmor") })
}
