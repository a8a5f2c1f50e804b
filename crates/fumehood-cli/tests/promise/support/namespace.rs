//! Mounts of the suite's own, so that what others mount on the same machine meanwhile is not taken for
//! what a run left behind.

use std::io::{self, Write};

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use super::backend;

/// Gives this process, which has no other thread yet, and everybody that it starts a mount namespace that
/// nothing reaches from the host's.
///
/// The mounts in it propagate to whoever has a copy of it, and theirs back to it, as on a host with
/// systemd (`mount_namespaces(7)`): a run that does not part from it leaves its mounts here.
///
/// An engine mounts where it is, so programs that it runs would not see what a test has mounted here:
/// with one the suite stays where it is. An ordinary user stays there, too, and so do runs that it can
/// start: they mount nothing without a namespace of their own.
pub(crate) fn part_from_the_host() {
    if !rustix::process::geteuid().is_root() || backend::is_engine() {
        return;
    }
    if let Err(error) = part() {
        // It may be tried where that is not allowed, and is then as right as others are quiet.
        let _ = writeln!(io::stderr(), "the mounts of others are seen: {error}");
    }
}

#[expect(deprecated, reason = "only what shares descriptors would not be safe, and nothing does")]
fn part() -> rustix::io::Result<()> {
    rustix::thread::unshare(UnshareFlags::NEWNS)?;
    let all = MountPropagationFlags::REC;
    mount_change("/", MountPropagationFlags::PRIVATE | all)?;
    mount_change("/", MountPropagationFlags::SHARED | all)
}
