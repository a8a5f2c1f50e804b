//! The steps that make the fence: what Landlock lets a program do where.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fumehood_child::Step;

use super::{Script, c_string};
use crate::Result;
use crate::job::Access;
use crate::plan::Plan;
use crate::plan::layout::Entry;
use crate::policy::landlock::{Allowed, Fence};

/// Makes the ruleset that the program will enforce on itself.
pub(super) fn fence(script: &mut Script, plan: &Plan) -> Result<()> {
    let Some(fence) = plan.fence else { return Ok(()) };
    script.push(&Step::Ruleset { fs: fence.fs, net: 0, scoped: fence.scoped });
    for (path, allowed, directory) in allowed_paths(plan) {
        allow(script, &fence, &path, allowed, directory)?;
    }
    Ok(())
}

fn allow(
    script: &mut Script,
    fence: &Fence,
    path: &Path,
    allowed: Allowed,
    directory: bool,
) -> Result<()> {
    let c_path = c_string(path.as_os_str().as_bytes())?;
    let access = fence.rights(allowed, directory);
    script.push_for(&Step::Allow { path: &c_path, access }, path);
    Ok(())
}

/// What Landlock allows. With a root of its own a program may read all of it; without one the
/// host's root is all around it, and only the allow-list is open.
fn allowed_paths(plan: &Plan) -> Vec<(PathBuf, Allowed, bool)> {
    let mut allowed = vec![("/dev".into(), Allowed::Devices, true)];
    if plan.namespaces.base {
        allowed.push(("/".into(), Allowed::ReadOnly, true));
        allowed.extend(plan.root.iter().filter_map(writable));
    } else {
        let system = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/proc"];
        let present = system.into_iter().filter(|path| Path::new(path).is_dir());
        allowed.extend(present.map(|path| (path.into(), Allowed::ReadOnly, true)));
        allowed.extend(plan.job.mounts.iter().map(|mount| {
            let access = match mount.access {
                Access::ReadOnly => Allowed::ReadOnly,
                Access::ReadWrite | Access::CopyOnWrite => Allowed::ReadWrite,
            };
            (mount.source.clone(), access, mount.source.is_dir())
        }));
    }
    allowed
}

fn writable(entry: &Entry) -> Option<(PathBuf, Allowed, bool)> {
    match entry {
        Entry::Tmpfs { target, .. } | Entry::Cow { target, .. } => {
            Some((target.clone(), Allowed::ReadWrite, true))
        }
        Entry::Bind { target, access: Access::ReadWrite, directory, .. } => {
            Some((target.clone(), Allowed::ReadWrite, *directory))
        }
        _ => None,
    }
}
