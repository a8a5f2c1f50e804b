//! Layers as programs leave them, and as hostile ones would.
//!
//! They are made by hand rather than by an overlay, so that what no overlay lets a program do is
//! tried as well.

mod moved;
mod names;
mod ordinary;
mod patches;
mod rights;
mod tricks;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};
use tempfile::TempDir;

use super::*;
use crate::workspace::let_the_clock_tick;
use base::Since;

/// A directory of the host, a layer over it, and a directory that nobody may touch.
struct Case {
    host: TempDir,
    place: TempDir,
    outside: TempDir,
}

impl Case {
    fn new() -> Self {
        let dir = || tempfile::tempdir().unwrap();
        let case = Self { host: dir(), place: dir(), outside: dir() };
        fs::create_dir_all(case.upper()).unwrap();
        for dir in [case.host.path(), &case.upper()] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(case.outside.path().join("secret"), "secret").unwrap();
        case
    }

    fn upper(&self) -> PathBuf {
        self.place.path().join("0/upper")
    }

    fn up(&self, path: &str) -> PathBuf {
        self.upper().join(path)
    }

    fn host(&self, path: &str) -> PathBuf {
        self.host.path().join(path)
    }

    fn out(&self, path: &str) -> PathBuf {
        self.outside.path().join(path)
    }

    /// Has the cell be built now, which what the host has is older than.
    fn build(&self) -> Base {
        let_the_clock_tick();
        let host = at::named(self.host.path()).unwrap();
        let (source, target) = (self.host.path().into(), "/workspace".into());
        Base { mounts: vec![Mounted { source, target, host, kept: None }], since: Since::now() }
    }

    fn scan(&self, base: Base) -> Changes {
        let place = at::named(self.place.path()).unwrap();
        Changes::scan(&place, base).unwrap()
    }

    /// The changes, if the host's directory was made before and is left alone.
    fn changes(&self) -> Changes {
        // The layer is made by now, but its own times do not count.
        let base = self.build();
        self.scan(base)
    }

    /// Nobody has been at what lies outside.
    #[track_caller]
    fn assert_outside_untouched(&self) {
        let names: Vec<_> = fs::read_dir(self.outside.path()).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(fs::read_to_string(self.out("secret")).unwrap(), "secret");
    }
}

fn write(path: impl AsRef<Path>, text: &str) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn node(path: impl AsRef<Path>, kind: FileType) {
    mknodat(CWD, path.as_ref(), kind, Mode::from_raw_mode(0o644), 0).unwrap();
}

fn whiteout(path: impl AsRef<Path>) {
    node(path, FileType::CharacterDevice);
}

/// False where the file system of temporary files keeps no attributes.
fn attribute(path: impl AsRef<Path>, name: &str, value: &str) -> bool {
    let name = format!("user.overlay.{name}");
    setxattr(path.as_ref(), name, value.as_bytes(), XattrFlags::empty()).is_ok()
}

fn lines(changes: &Changes) -> Vec<String> {
    changes.diff().iter().flat_map(|diff| &diff.changes).map(ToString::to_string).collect()
}

/// How many changes were made, and what was refused, each as `path: reason`.
fn applied(changes: &Changes) -> (u64, Vec<String>) {
    let applied = changes.apply().unwrap().remove(0);
    let line = |left: &NotApplied| format!("{}: {}", quoted(&left.path), left.reason);
    (applied.applied, applied.refused.iter().map(line).collect())
}

fn patch_of(changes: &Changes) -> String {
    let mut text = Vec::new();
    changes.patch(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
