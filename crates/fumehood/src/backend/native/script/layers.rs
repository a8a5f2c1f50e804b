//! The steps of copy-on-write mounts.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use fumehood_child::Step;

use super::{READ_ONLY, SCRATCH, Script, bind, bind_tree, c_string, inside, not_prepared, tmpfs};
use crate::Result;
use crate::plan::Plan;
use crate::plan::layout::Entry;

/// Where all layers are while the root is being made. Nobody may mount there, and it is gone before
/// the root is sealed.
const PLACE: &str = "/.changes";

/// Counts the copy-on-write mounts of a root. All their changes share one memory file system, which
/// has the limits of the workspace; each has a directory in it, named by its number.
#[derive(Debug)]
pub(super) struct Layers {
    count: u32,
}

impl Layers {
    /// Mounts the place for changes, if the plan has any use for it.
    pub(super) fn prepare(script: &mut Script, plan: &Plan) -> Result<Option<Self>> {
        if !plan.root.iter().any(|entry| matches!(entry, Entry::Cow { .. })) {
            return Ok(None);
        }
        let limits = &plan.job.limits;
        let size = limits.workspace().finite().map(|size| size.0);
        mkdir(script, Path::new(PLACE), 0o700)?;
        tmpfs(script, Path::new(PLACE), size, limits.inodes().finite(), 0o700, true)?;
        Ok(Some(Self { count: 0 }))
    }

    /// Mounts the host's directory where nobody sees it, and the overlay where it belongs.
    pub(super) fn mount(
        &mut self,
        script: &mut Script,
        entry: &Entry,
        tree: Option<OwnedFd>,
        layer: Option<OwnedFd>,
    ) -> Result<()> {
        let Entry::Cow { source, target, mode, upper: kept } = entry else {
            return Err(not_prepared());
        };
        let own = Path::new(PLACE).join(self.count.to_string());
        self.count += 1;
        let lower = own.join("lower");
        mkdir(script, &own, 0o700)?;
        mkdir(script, &lower, 0o700)?;
        let [upper, work] = match kept {
            Some(kept) => keep(script, &own, kept, layer)?,
            None => make(script, &own, *mode)?,
        };
        match tree {
            Some(tree) => bind_tree(script, tree, &lower, READ_ONLY)?,
            None => bind(script, source, &lower, READ_ONLY, true)?,
        }
        let path = |path: &PathBuf| c_string(inside(path));
        let step = Step::Overlay {
            lower: &path(&lower)?,
            upper: &path(&upper)?,
            work: &path(&work)?,
            target: &path(target)?,
            attributes: u64::from(SCRATCH),
        };
        script.push_for(&step, target);
        Ok(())
    }

    /// Gives the changes to the supervisor and takes the place away: whoever wrote to a layer behind
    /// the overlay's back could make it show anything.
    pub(super) fn hide(script: &mut Script) -> Result<()> {
        let path = c_string(inside(Path::new(PLACE)))?;
        script.push(&Step::ShareChanges { path: &path });
        script.push(&Step::Detach { path: &path });
        Ok(())
    }
}

/// The layer in memory. The root of an overlay is what its upper directory is.
fn make(script: &mut Script, own: &Path, mode: u32) -> Result<[PathBuf; 2]> {
    let [upper, work] = ["upper", "work"].map(|name| own.join(name));
    mkdir(script, &upper, mode)?;
    mkdir(script, &work, 0o700)?;
    Ok([upper, work])
}

/// The layer of a directory on the host, where its supervisor has made all that it needs.
fn keep(
    script: &mut Script,
    own: &Path,
    kept: &Path,
    tree: Option<OwnedFd>,
) -> Result<[PathBuf; 2]> {
    let layer = own.join("layer");
    mkdir(script, &layer, 0o700)?;
    match tree {
        Some(tree) => bind_tree(script, tree, &layer, SCRATCH)?,
        None => bind(script, &kept.join("layer"), &layer, SCRATCH, true)?,
    }
    Ok(["upper", "work"].map(|name| layer.join(name)))
}

fn mkdir(script: &mut Script, path: &Path, mode: u32) -> Result<()> {
    let name = c_string(inside(path))?;
    script.push_for(&Step::Mkdir { parent: c"", name: &name, mode }, path);
    Ok(())
}
