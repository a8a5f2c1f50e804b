//! What supervisors that died left behind.
//!
//! A cell ends with its supervisor, however that ends, and takes its processes, namespaces, mounts
//! and memory file systems along: the kernel sees to that. What remains of it are empty control
//! groups, whose names say whose they were.

use std::path::PathBuf;

use serde::Serialize;

use crate::backend::native::cgroup;
use crate::{Error, Result};

/// Something that a dead supervisor left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Leftover {
    /// Where it is: a control group's directory; of a container the engine, and its id.
    pub path: PathBuf,
    /// Process id of the supervisor that it belonged to.
    pub supervisor: u32,
    /// How many processes were killed in it; of a container 1 if its program ran, as all others end with
    /// its process 1.
    pub killed: usize,
    /// Why it is still there, if it is.
    pub failure: Option<String>,
}

/// Removes what supervisors that died left behind, of all users as far as this one may.
///
/// What belongs to a living supervisor is never touched, nor what belongs to one in another
/// process namespace, whose life cannot be judged from here. Doing it again, or from several
/// processes at once, does no harm.
///
/// # Errors
/// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the mounts of this process cannot be
/// read. What could not be removed is no error but says so itself.
pub fn gc() -> Result<Vec<Leftover>> {
    let removed = cgroup::gc().map_err(looking)?.into_iter();
    let leftover = |one: cgroup::Removed| Leftover {
        path: one.path,
        supervisor: one.owner.pid(),
        killed: one.killed,
        failure: one.failure.map(|error| error.to_string()),
    };
    #[cfg_attr(not(feature = "engine"), expect(unused_mut, reason = "engines add theirs"))]
    let mut all: Vec<_> = removed.map(leftover).collect();
    #[cfg(feature = "engine")]
    all.extend(containers(false));
    Ok(all)
}

/// Finds what [`gc`] would remove, and leaves it.
///
/// # Errors
/// As for [`gc`].
pub fn leftovers() -> Result<Vec<Leftover>> {
    let found = cgroup::leftovers().map_err(looking)?.into_iter();
    let leftover = |(owner, path): (cgroup::Owner, PathBuf)| Leftover {
        path,
        supervisor: owner.pid(),
        killed: 0,
        failure: None,
    };
    #[cfg_attr(not(feature = "engine"), expect(unused_mut, reason = "engines add theirs"))]
    let mut all: Vec<_> = found.map(leftover).collect();
    #[cfg(feature = "engine")]
    all.extend(containers(true));
    Ok(all)
}

/// Containers of dead supervisors, in every engine that answers. It removes them by itself when their
/// program has ended, so mostly those that were never started are left.
#[cfg(feature = "engine")]
fn containers(only_look: bool) -> impl Iterator<Item = Leftover> {
    crate::backend::engine::gc(only_look).into_iter().map(|one| Leftover {
        path: format!("{}: container {}", one.engine, one.id).into(),
        supervisor: one.supervisor,
        killed: usize::from(one.ran),
        failure: one.failure,
    })
}

fn looking(source: std::io::Error) -> Error {
    Error::internal("look for control groups", source)
}
