//! Whether the program of a run that root starts gets at the mounts of its job.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Identity;
use super::layout::Entry;
use super::mounts::shown;
use crate::job::Access;
use crate::{Error, MountNote, MountNoteKind, Result};

/// Notes the listed mounts that are closed to the program, and refuses those that must not be opened to it.
pub(super) fn look(listed: &[Entry], who: Identity, notes: &mut Vec<MountNote>) -> Result<()> {
    for entry in listed {
        let Entry::Bind { source, target, access, as_owner, .. } = entry else { continue };
        let Ok(owned) = fs::metadata(source) else { continue };
        let writable = *access == Access::ReadWrite;
        if *as_owner && writable && (owned.uid() == 0 || owned.gid() == 0) {
            return Err(Error::invalid("mounts", shown(source), ROOT_S_OWN));
        }
        if !as_owner && !opens_to(who, &owned, writable) {
            notes.push(MountNote::new(target, MountNoteKind::Closed, closed(source, &owned, who)));
        }
    }
    Ok(())
}

const ROOT_S_OWN: &str = "belongs to root, and what the program makes in it would: with access rw \
    it cannot be mounted as_owner; give it to another user, or mount it cow";

/// Whether file modes let the program read, and write if it is to; without access control lists.
fn opens_to(who: Identity, owned: &fs::Metadata, writable: bool) -> bool {
    let mode = owned.mode();
    let bits = if owned.uid() == who.host_uid {
        mode >> 6
    } else if owned.gid() == who.host_gid {
        mode >> 3
    } else {
        mode
    };
    let search = if owned.is_dir() { 0o1 } else { 0 };
    let needed = 0o4 | search | if writable { 0o2 } else { 0 };
    bits & needed == needed
}

fn closed(source: &Path, owned: &fs::Metadata, who: Identity) -> String {
    format!(
        "{} belongs to user {} with mode {:o}, which is not open to the program (user {} on the \
         host); as_owner gives it the rights of the owner",
        shown(source),
        owned.uid(),
        owned.mode() & 0o7777,
        who.host_uid
    )
}
