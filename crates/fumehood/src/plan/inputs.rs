//! Where inputs may go, judged before anything is made.

use std::path::Path;

use super::layout::Entry;
use crate::{BackendName, Error, Job, Result};

/// Inputs are written as the program's own files, so they go where nothing but the cell is changed.
pub(super) fn check(job: &Job, root: &[Entry]) -> Result<()> {
    for (index, input) in job.inputs.iter().enumerate() {
        if !in_scratch(root, &input.to) {
            let problem = "is not in the program's own scratch, such as /workspace or /tmp, where \
                           inputs go: they never change what is mounted from the host";
            let field = format!("inputs[{index}].to");
            return Err(Error::invalid(field, format_args!("{:?}", input.to), problem));
        }
    }
    Ok(())
}

/// Refuses what would be lost: tools mount `/dev/shm` themselves when inputs are written already. gVisor is
/// shown a directory of the home there.
pub(super) fn check_for_tools(job: &Job) -> Result<()> {
    if job.backend == BackendName::Runsc {
        return Ok(());
    }
    let lost = job.inputs.iter().position(|input| input.to.starts_with("/dev/shm"));
    let Some(index) = lost else { return Ok(()) };
    let problem = format!(
        "backend {} has no inputs in /dev/shm; use /workspace, /tmp or a tmpfs, or backend native",
        job.backend.name()
    );
    Err(Error::invalid(format!("inputs[{index}].to"), job.inputs[index].to.display(), problem))
}

/// Whether the mount that a path is on, the nearest above it, belongs to the cell alone.
fn in_scratch(root: &[Entry], path: &Path) -> bool {
    let mounted = root.iter().filter_map(|entry| match entry {
        Entry::Tmpfs { target, .. } => Some((target.as_path(), true)),
        Entry::Bind { target, .. } | Entry::Cow { target, .. } => Some((target.as_path(), false)),
        _ => None,
    });
    let above = mounted.filter(|(target, _)| path.starts_with(target));
    // Of two at one place the later covers the earlier.
    let nearest = above.max_by_key(|(target, _)| target.components().count());
    nearest.is_some_and(|(_, scratch)| scratch)
}
