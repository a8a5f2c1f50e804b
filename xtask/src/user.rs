//! Who we are, and becoming nobody in particular.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The search path of a program that we start as somebody else.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether we run as root, by the owner of our own process.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A user id that no account has, so that nothing belongs to it.
pub(crate) fn nobody_in_particular() -> u32 {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let id = |line: &str| line.split(':').nth(2)?.parse().ok();
    let taken: BTreeSet<u32> = accounts.lines().filter_map(id).collect();
    (54_000..60_000).find(|id| !taken.contains(id)).unwrap_or(65_534)
}

/// A directory outside of every home, removed on drop. Everybody may read it, and one
/// subdirectory belongs to the user that programs are started as.
#[derive(Debug)]
pub(crate) struct Stage {
    dir: PathBuf,
    uid: u32,
}

impl Stage {
    pub(crate) fn new() -> Result<Self, String> {
        let dir = PathBuf::from(format!("/var/tmp/fumehood-xtask-{}", std::process::id()));
        let stage = Self { dir, uid: nobody_in_particular() };
        stage.make().map_err(|error| format!("{}: {error}", stage.dir.display()))?;
        Ok(stage)
    }

    fn make(&self) -> std::io::Result<()> {
        let home = self.home();
        fs::create_dir_all(&home)?;
        for dir in [&self.dir, &home] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
        }
        if is_root() { chown(&home, Some(self.uid), Some(self.uid)) } else { Ok(()) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// The directory of the user.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// Copies a program to where everybody can run it.
    pub(crate) fn copy(&self, program: &Path, name: &str) -> Result<PathBuf, String> {
        let target = self.dir.join(name);
        let copied = fs::copy(program, &target)
            .and_then(|_| fs::set_permissions(&target, fs::Permissions::from_mode(0o755)));
        copied
            .map_err(|error| format!("{} to {}: {error}", program.display(), target.display()))?;
        Ok(target)
    }

    /// Makes root's command one of the unprivileged user, with a clean environment. Without an
    /// explicit list, the standard library drops all supplementary groups with the user id.
    pub(crate) fn drop_privileges(&self, command: &mut Command) {
        let home = self.home();
        command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8");
        command.env("HOME", &home).env("TMPDIR", &home).current_dir(&home);
        command.uid(self.uid).gid(self.uid);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{}: {error}", self.dir.display());
        }
    }
}
