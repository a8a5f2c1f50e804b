//! What a program changed in a copy-on-write mount, and what becomes of it.
//!
//! An overlay leaves the changes in a directory of their own, its upper layer: new and changed files
//! whole, deletions as devices 0:0, replaced directories with an attribute. When every process of
//! the cell has ended that directory is [scanned](scan) once against the host's; what is found is
//! the diff, and what [`Changes::apply`] works from. A hostile program made the layer, so nothing in
//! it is opened but regular files and directories, and no name of it is looked up anywhere but below
//! one of the two directories.

mod apply;
mod at;
mod base;
mod hunks;
pub(crate) mod kept;
mod patch;
mod scan;
mod show;
mod types;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use base::Base;
pub use show::quoted;
pub use types::{Applied, Change, ChangeKind, Diff, FileKind, NotApplied};

use crate::{Error, Result};
use apply::Applying;
use base::Mounted;
use scan::{Found, Scan};

/// The changes that a program made to its copy-on-write mounts. They last as long as this, and the
/// memory that they take is given back when it is dropped.
#[derive(Debug)]
pub struct Changes {
    layers: Vec<Layer>,
    base: Base,
    /// Whether everything is on the host now.
    applied: AtomicBool,
}

/// One mount and what was found in its upper layer.
#[derive(Debug)]
struct Layer {
    upper: OwnedFd,
    found: Vec<Found>,
    complete: bool,
    /// Directories that the program had closed, with their modes.
    opened: Vec<(PathBuf, u32)>,
}

impl Changes {
    /// Looks at the upper layers below `place`, in a cell that no process is left in.
    pub(crate) fn scan(place: &OwnedFd, base: Base) -> Result<Self> {
        let mut layers = Vec::with_capacity(base.mounts.len());
        for (number, mounted) in base.mounts.iter().enumerate() {
            let failed = |errno| Error::internal("look at the changes", errno);
            let upper = match &mounted.kept {
                Some(kept) => at::directory(&kept.upper, "."),
                None => at::directory(place, number.to_string())
                    .and_then(|own| at::directory(&own, "upper")),
            };
            let upper = upper.map_err(failed)?;
            let since = base.since(mounted);
            let Scan { found, complete, opened } =
                scan::scan(&upper, &mounted.host, since).map_err(failed)?;
            layers.push(Layer { upper, found, complete, opened });
        }
        Ok(Self { layers, base, applied: AtomicBool::new(false) })
    }

    /// What was changed, one for each copy-on-write mount. The same is in the [report](crate::Report).
    #[must_use]
    pub fn diff(&self) -> Vec<Diff> {
        let diff = |(mounted, layer): (&Mounted, &Layer)| Diff {
            source: mounted.source.clone(),
            target: mounted.target.clone(),
            changes: layer.found.iter().map(Found::change).collect(),
            complete: layer.complete,
        };
        self.base.mounts.iter().zip(&self.layers).map(diff).collect()
    }

    /// Writes the changes as a unified diff, in the form of `git diff`, that `git apply` and
    /// `patch -p1` take. Files that are no text, or longer than 1 MiB, are only named.
    ///
    /// # Errors
    /// Those of `out`, and of reading the files.
    pub fn patch(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut written = patch::Budget::default();
        for (mounted, layer) in self.base.mounts.iter().zip(&self.layers) {
            let sides = patch::Sides { host: &mounted.host, upper: &layer.upper };
            patch::write(out, &layer.found, sides, &mut written)?;
        }
        Ok(())
    }

    /// Makes the changes in the directories on the host.
    ///
    /// Each file is written beside its place and renamed, so that whoever looks sees the old or the
    /// new. What was changed on the host since the cell was built is left as it is, and what the program left
    /// stays beside it as `NAME.fumehood`. What a program has no business to bring in is left out: set-id bits,
    /// devices, FIFOs, sockets, and links that lead out of the directory. The result names it. Of all mounts,
    /// first everything is written, then what the host has is replaced, and then deleted; nothing is replaced
    /// or deleted if something could not be written: it may be what was moved. No link on the host is followed.
    /// Access control lists and other attributes are not brought along, and hard links become files of their
    /// own.
    /// Layers that a directory keeps are emptied, when this is dropped, if all of all mounts was applied.
    /// A file that replaces another is on the disk (`fdatasync(2)`) before it does; directories and
    /// new files get there when the system writes them back.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the clock was set back meanwhile or the
    /// file system keeps another, so that nobody can tell what was changed; nothing is written then.
    pub fn apply(&self) -> Result<Vec<Applied>> {
        self.base.can_tell()?;
        let layers = || self.base.mounts.iter().zip(&self.layers);
        let mut all = Vec::new();
        for (mounted, layer) in layers() {
            let found = if layer.complete { layer.found.as_slice() } else { &[] };
            all.push(Applying::new(found, &layer.upper, mounted, self.base.since(mounted)));
        }
        // What was moved may be in another of the directories, or in what was not looked at.
        let mut lost = self.layers.iter().any(|layer| !layer.complete);
        for one in &mut all {
            lost |= one.write();
        }
        for one in &mut all {
            one.replace(lost);
        }
        for one in &mut all {
            one.delete(lost);
        }
        let told = |((mounted, layer), one): ((&Mounted, &Layer), Applying<'_>)| {
            let (applied, mut refused) = one.finish();
            if !layer.complete {
                refused.push(NotApplied { path: ".".into(), reason: TOO_MUCH.to_owned() });
            }
            let (source, target) = (mounted.source.clone(), mounted.target.clone());
            Applied { source, target, applied, refused }
        };
        let applied: Vec<_> = layers().zip(all).map(told).collect();
        self.applied.store(applied.iter().all(|one| one.refused.is_empty()), Ordering::Relaxed);
        Ok(applied)
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        for (mounted, layer) in self.base.mounts.iter().zip(&self.layers) {
            let Some(kept) = &mounted.kept else { continue };
            kept::close_again(&layer.upper, &layer.opened);
            if self.applied.load(Ordering::Relaxed) {
                // What cannot be removed is listed again by the next run, as no change at all.
                let _ = kept.empty();
            }
        }
    }
}

const TOO_MUCH: &str = "the diff is not complete: there are more changes, or deeper ones, than are \
    looked at";

#[cfg(test)]
mod tests;
