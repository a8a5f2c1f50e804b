//! Directories that go away with the test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::marker;

/// A directory that everybody may enter and read, and that is removed on drop.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// A new, empty directory.
    pub(crate) fn new() -> Self {
        let path = base().join(marker());
        // Its parent may be there already: it is shared.
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let dir = Self(path.canonicalize().expect("it was just made"));
        dir.mode(0o755);
        dir
    }

    /// A new directory that everybody may write to, whoever they are inside or outside.
    pub(crate) fn open_to_all() -> Self {
        let dir = Self::new();
        dir.mode(0o777);
        dir
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(&self.0, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that everybody may read and write.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, content).expect("the directory is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("the file is ours");
        path
    }

    /// The value of `--volume` that shows this directory at `target`.
    pub(crate) fn volume(&self, target: &str, access: &str) -> String {
        format!("{}:{target}:{access}", self.0.display())
    }
}

/// The directory of all directories of this process.
fn base() -> PathBuf {
    std::env::temp_dir().join(format!("promises-{}", std::process::id()))
}

/// Removes what is left at the end: a `static` is never dropped.
pub(crate) fn clean_up() {
    drop(fs::remove_dir_all(base()));
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What a test left unreadable is not worth a second failure.
        drop(fs::remove_dir_all(&self.0));
    }
}
