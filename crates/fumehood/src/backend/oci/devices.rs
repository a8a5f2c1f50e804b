//! The `/dev` of programs that are root in gVisor, as those of an ordinary user are.
//!
//! gVisor makes one in memory that belongs to root and takes whatever is written there: it does not look
//! at options that say how large it is or whose. Read-only it is of no use, since nobody could write to a
//! device. So such a program gets a directory of the home, which holds next to nothing, with devices of the
//! host in it. There is no terminal among them: it would be the caller's.

use std::path::Path;

use serde_json::Value;

use super::Kind;
use super::config::bind;
use super::home::Lodging;
use super::place::Place;
use crate::Result;
use crate::backend::native::script::Scratch;
use crate::plan::Plan;

const NAME: &str = "dev";
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Whether the program gets one.
pub(super) fn are_ours(kind: Kind, plan: &Plan) -> bool {
    kind == Kind::Runsc && plan.identity.uid == 0 && super::as_is::dir(plan).is_none()
}

/// Where it is in the home.
pub(super) fn scratch(place: &Path) -> Scratch {
    Scratch { target: place.join(NAME), size: Some(64 << 10), inodes: Some(64), mode: 0o755 }
}

/// What is in it besides what is mounted there.
pub(super) fn furnish(place: &Place) -> Result<()> {
    let dev = Path::new(NAME);
    DEVICES.iter().try_for_each(|name| place.file(&dev.join(name), b""))?;
    ["pts", "shm"].iter().try_for_each(|name| place.dir(&dev.join(name), 0o755))?;
    LINKS.iter().try_for_each(|(name, target)| place.link(&dev.join(name), Path::new(target)))
}

/// It, and the devices.
pub(super) fn mounts(lodging: &Lodging) -> Vec<Value> {
    let options = ["rbind", "rw", "nosuid", "noexec"];
    let own = bind(&lodging.path(NAME), Path::new("/dev"), &options);
    let at = |name: &&str| Path::new("/dev").join(name);
    let devices = DEVICES.iter().map(|name| bind(&at(name), &at(name), &["bind", "rw", "noexec"]));
    std::iter::once(own).chain(devices).collect()
}
