//! The steps of a cell that is home to a tool: a program of the host that makes sandboxes itself, such
//! as an OCI runtime. It keeps its rights, and the host's root; what it gets of its own are processes
//! and mounts, so that nothing that it starts, mounts or notes down outlives the cell.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fumehood_child::Step;
use fumehood_child::step::Strings;
use linux_raw_sys::general as nr;

use super::rlimits::no_core;
use super::{Join, QUIET, SCRATCH, Script, TerminalSize, append, c_string, join, nice};
use crate::Result;
use crate::host::Host;

/// The home of a tool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Home {
    /// The user and group id of an ordinary user; none for root.
    pub(crate) user: Option<(u32, u32)>,
    /// Directories of the host that the tool is to find empty.
    pub(crate) covers: Vec<PathBuf>,
    /// Directories of the host that the tool can read and not change.
    pub(crate) frozen: Vec<PathBuf>,
    /// Memory file systems, parents before children, the first of which is on a directory of the host.
    pub(crate) scratch: Vec<Scratch>,
    /// What of the host is shown at another place, too.
    pub(crate) shown: Vec<Shown>,
}

impl Home {
    /// Whose it is on this host.
    pub(crate) fn user(host: &Host) -> Option<(u32, u32)> {
        (host.uid != 0).then_some((host.uid, host.gid))
    }
}

/// A memory file system.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    /// Where it is.
    pub(crate) target: PathBuf,
    /// Its size in bytes; `None` for unlimited.
    pub(crate) size: Option<u64>,
    /// How many files it holds; `None` for unlimited.
    pub(crate) inodes: Option<u64>,
    /// Permission bits of its root.
    pub(crate) mode: u32,
}

/// A file or directory of the host at another place.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Where it is on the host.
    pub(crate) source: PathBuf,
    /// Where it is shown.
    pub(crate) target: PathBuf,
    /// Whether it is a directory.
    pub(crate) directory: bool,
    /// Whether what is mounted below it is shown, too.
    pub(crate) nested: bool,
    /// What holds for it: one of the constants here, or 0 for what holds on the host.
    pub(crate) attributes: u32,
    /// What of it, at the other place, is to be seen empty: memory file systems are over its directories.
    pub(crate) hidden: Vec<(PathBuf, Hidden)>,
}

/// What something is that is to be seen empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    Directory,
    File,
}

impl Shown {
    /// Of what is the program's own.
    pub(crate) const WRITABLE: u32 = SCRATCH;
    pub(crate) const READ_ONLY: u32 = nr::MOUNT_ATTR_RDONLY;
}

/// A program of the host and how it is called.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    /// Its absolute path.
    pub(crate) program: PathBuf,
    /// Its arguments, its own name not among them.
    pub(crate) args: Vec<OsString>,
    /// Its environment, `NAME=VALUE` each.
    pub(crate) env: Vec<OsString>,
    /// Its working directory.
    pub(crate) cwd: PathBuf,
}

/// The steps of the home.
pub(crate) fn home(home: &Home, groups: Vec<Join>) -> Result<Script> {
    let mut script = Script::default();
    script.push(&Step::NoRealTime {});
    join(&mut script, groups);
    script.push(&Step::NonDumpable {});
    if home.user.is_some() {
        // Before the death signal, which a change of ids clears, and before the mounts, which belong
        // to whoever makes them.
        script.push(&Step::SetIds { uid: 0, gid: 0, clear_groups: false });
    }
    script.push(&Step::DieWithParent {});
    script.push(&Step::PrivateMounts {});
    for cover in &home.covers {
        tmpfs_at(&mut script, cover, &Scratch::small(cover))?;
    }
    for (index, scratch) in home.scratch.iter().enumerate() {
        if index > 0 {
            directories(&mut script, &scratch.target)?;
        }
        tmpfs_at(&mut script, &scratch.target, scratch)?;
    }
    for shown in &home.shown {
        show(&mut script, shown)?;
    }
    // After what is shown of them elsewhere, and writable.
    for frozen in &home.frozen {
        let path = c_string(frozen.as_os_str().as_bytes())?;
        let attributes = u64::from(nr::MOUNT_ATTR_RDONLY);
        let step =
            Step::Bind { source: &path, target: &path, attributes, recursive: true, plain: true };
        script.push_for(&step, frozen);
    }
    // The tool looks itself and its children up there, by the numbers of its own namespace.
    script.push(&Step::Proc {});
    script.push_for(&Step::ShowProc { target: c"/proc", attributes: u64::from(QUIET) }, "/proc");
    script.push(&Step::ShareRoot {});
    Ok(script)
}

impl Scratch {
    /// One that nothing is meant to be written to.
    fn small(target: &Path) -> Self {
        Self { target: target.into(), size: Some(64 << 10), inodes: Some(64), mode: 0o755 }
    }
}

fn tmpfs_at(script: &mut Script, target: &Path, scratch: &Scratch) -> Result<()> {
    let size = c_string(scratch.size.unwrap_or(0).to_string().as_bytes())?;
    let inodes = c_string(scratch.inodes.unwrap_or(0).to_string().as_bytes())?;
    let mode = c_string(format!("{:o}", scratch.mode).as_bytes())?;
    let to = c_string(target.as_os_str().as_bytes())?;
    let attributes = u64::from(SCRATCH);
    let step = Step::Tmpfs {
        target: &to,
        size: &size,
        inodes: &inodes,
        mode: &mode,
        attributes,
        plain: true,
    };
    script.push_for(&step, target);
    Ok(())
}

/// Makes a directory and those above it, as far as they are missing.
fn directories(script: &mut Script, path: &Path) -> Result<()> {
    let mut above: Vec<_> = path.ancestors().filter(|dir| dir.parent().is_some()).collect();
    above.reverse();
    for dir in above {
        // Directories of the host on the way are there already, which the step takes for done.
        let name = c_string(dir.as_os_str().as_bytes())?;
        script.push_for(&Step::Mkdir { parent: c"", name: &name, mode: 0o755 }, dir);
    }
    Ok(())
}

fn show(script: &mut Script, shown: &Shown) -> Result<()> {
    let Shown { source, target, directory, nested, .. } = shown;
    let from = c_string(source.as_os_str().as_bytes())?;
    let to = c_string(target.as_os_str().as_bytes())?;
    if *directory {
        directories(script, target)?;
    } else {
        if let Some(parent) = target.parent() {
            directories(script, parent)?;
        }
        script.push_for(&Step::Touch { path: &to }, target);
    }
    let attributes = u64::from(shown.attributes);
    let step =
        Step::Bind { source: &from, target: &to, attributes, recursive: *nested, plain: true };
    script.push_for(&step, target);
    shown.hidden.iter().try_for_each(|(path, what)| hide(script, path, *what))
}

fn hide(script: &mut Script, path: &Path, what: Hidden) -> Result<()> {
    if what == Hidden::Directory {
        return tmpfs_at(script, path, &Scratch::small(path));
    }
    let to = c_string(path.as_os_str().as_bytes())?;
    let (source, attributes) = (c"/dev/null", u64::from(SCRATCH));
    let step = Step::Bind { source, target: &to, attributes, recursive: false, plain: true };
    script.push_for(&step, path);
    Ok(())
}

/// The steps of the tool itself.
pub(crate) fn tool(tool: &Tool, terminal: Option<TerminalSize>) -> Result<Script> {
    let mut script = Script::default();
    if let Some(TerminalSize { rows, columns }) = terminal {
        script.push(&Step::Terminal { rows: rows.into(), columns: columns.into() });
    }
    script.push(&Step::Stdio {});
    script.push(&Step::Session {});
    if terminal.is_some() {
        script.push(&Step::ControllingTty {});
    }
    script.push(&Step::UnblockSignals {});
    script.push(&Step::Umask { mask: 0o022 });
    let cwd = c_string(tool.cwd.as_os_str().as_bytes())?;
    script.push_for(&Step::Chdir { path: &cwd }, &tool.cwd);
    script.push(&Step::Nice { value: nice() });
    no_core(&mut script);
    script.push(&Step::CloseFds {});
    exec(&mut script, tool)?;
    Ok(script)
}

fn exec(script: &mut Script, tool: &Tool) -> Result<()> {
    let candidates = strings([tool.program.as_os_str()])?;
    let name = tool.program.file_name().unwrap_or_default();
    let args = strings([name].into_iter().chain(tool.args.iter().map(OsString::as_os_str)))?;
    let env = strings(tool.env.iter().map(OsString::as_os_str))?;
    let step = Step::Exec {
        candidates: Strings::new(&candidates),
        args: Strings::new(&args),
        env: Strings::new(&env),
    };
    script.push_for(&step, &tool.program);
    Ok(())
}

fn strings<'a>(strings: impl IntoIterator<Item = &'a OsStr>) -> Result<Vec<u8>> {
    let mut encoded = Vec::new();
    for string in strings {
        append(&mut encoded, string.as_bytes())?;
    }
    Ok(encoded)
}
