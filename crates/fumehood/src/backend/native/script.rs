//! The order of confinement, in one place.
//!
//! Each list is written in the order in which the child does it. What must come before what, and
//! why, stands beside the steps; the order is held by a test.

use std::borrow::Cow;
use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use fumehood_child::Step;
use fumehood_child::step::{Sink, Strings};
use linux_raw_sys::general as nr;

use super::launch;
use super::tree::Join;
use super::trees::Trees;
use crate::env::Environment;
use crate::job::Access;
use crate::plan::layout::{EMPTY_DIR, EMPTY_FILE, Entry, cover_of, inside};
use crate::plan::{Identity, Plan};
use crate::policy::landlock::{Allowed, Fence};
use crate::policy::seccomp::{self, Arch};
use crate::sabotage::{leaves_out, leaves_something_out};
use crate::{Error, Result};

#[path = "layers.rs"]
mod layers;
#[path = "rlimits.rs"]
mod rlimits;
#[path = "shared.rs"]
mod shared;
#[path = "tool.rs"]
mod tool;

use layers::Layers;
pub(crate) use rlimits::own_tasks;
use rlimits::rlimits;
pub(crate) use shared::{Split, rest, template};
pub(crate) use tool::{Home, Scratch, Shown, Tool, home, tool};

/// A list of steps, compiled for the child.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// What the child reads.
    pub(crate) bytes: Vec<u8>,
    /// What each step is called in messages: its name and its object.
    pub(crate) labels: Vec<Cow<'static, str>>,
    /// Descriptors that go along.
    pub(crate) fds: Vec<OwnedFd>,
    /// What there is on the new root.
    mounts: Mounts,
}

/// What is mounted on a new root so far. What a system shows of the host comes first, and is made
/// read-only all at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mounts {
    #[default]
    Nothing,
    /// Something of the host, which is not read-only yet.
    Host,
    /// Other things, too.
    Various,
}

struct Bytes<'a>(&'a mut Vec<u8>);

impl Sink for Bytes<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl Script {
    fn push(&mut self, step: &Step<'_>) {
        self.push_for(step, "");
    }

    fn push_for(&mut self, step: &Step<'_>, object: impl AsRef<OsStr>) {
        let object = object.as_ref();
        let label = if object.is_empty() {
            Cow::Borrowed(step.name())
        } else {
            Cow::Owned([step.name(), &object.to_string_lossy()].join(" "))
        };
        self.push_as(step, label);
    }

    fn push_as(&mut self, step: &Step<'_>, label: Cow<'static, str>) {
        if mounts_another(step) {
            self.settle();
        }
        if !leaves_out(step.name()) {
            step.encode(&mut Bytes(&mut self.bytes));
            self.labels.push(label);
        }
    }

    /// Makes what is there of the host read-only, before there is anything that is not to be.
    fn settle(&mut self) {
        if std::mem::replace(&mut self.mounts, Mounts::Various) == Mounts::Host {
            self.push(&Step::ReadOnly { attributes: u64::from(READ_ONLY) });
        }
    }

    /// The same list for another child, where nothing goes along.
    pub(crate) fn without_descriptors(&self) -> Self {
        let Self { bytes, labels, fds: _, mounts } = self;
        let mut copy = Self { mounts: *mounts, ..Self::default() };
        // The execution is still to come.
        copy.bytes.reserve(bytes.len() + 1024);
        copy.bytes.extend_from_slice(bytes);
        copy.labels.reserve(labels.len() + 1);
        copy.labels.extend_from_slice(labels);
        copy
    }

    /// The name of a step without its object.
    #[cfg(test)]
    fn names(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|label| label.split(' ').next().unwrap_or_default())
    }
}

/// Whether there is more on the new root after a step than what [`host`] puts there, or it is done.
const fn mounts_another(step: &Step<'_>) -> bool {
    use Step::{Bind, BindFd, Devpts, Mask, Overlay, SealRoot, ShowProc, Tmpfs};
    match step {
        Bind { attributes, .. } => *attributes != 0,
        BindFd { .. } | Tmpfs { .. } | Overlay { .. } | ShowProc { .. } => true,
        Devpts { .. } | Mask { .. } | SealRoot {} => true,
        _ => false,
    }
}

const READ_ONLY: u32 = nr::MOUNT_ATTR_RDONLY | nr::MOUNT_ATTR_NOSUID | nr::MOUNT_ATTR_NODEV;
const SCRATCH: u32 = nr::MOUNT_ATTR_NOSUID | nr::MOUNT_ATTR_NODEV;
const QUIET: u32 = nr::MOUNT_ATTR_NOSUID | nr::MOUNT_ATTR_NODEV | nr::MOUNT_ATTR_NOEXEC;

/// The steps of the cell, done by its init before there is a program. `trees` are mounts that the
/// supervisor cloned because only it may, by index of their entry in the root; `groups` are those
/// that the init joins.
pub(crate) fn cell(plan: &Plan, groups: Vec<Join>, trees: Trees) -> Result<Script> {
    let mut script = Script::default();
    if let Some(prelude) = launch::prelude(plan) {
        prelude.steps().iter().flatten().for_each(|step| script.push(step));
        if !leaves_something_out() {
            // The init does these unasked.
            script.bytes.clear();
        }
        join(&mut script, groups);
        // Its root becomes the group that the init is in now.
        script.push(&Step::CgroupNamespace {});
        if !plan.root.contains(&Entry::Proc) {
            limit_user(&mut script, "/proc/")?;
        }
        build_root(&mut script, plan, trees)?;
        if plan.share_root {
            script.push(&Step::ShareRoot {});
        }
        // Landlock looks up its paths in the root that the program will have.
        fence(&mut script, plan)?;
        drop_privileges(&mut script);
        if is_filtered_ahead(plan) {
            filter(&mut script, plan);
        }
    } else {
        join(&mut script, groups);
        script.push(&Step::NonDumpable {});
        // Without a process namespace it must outlive its supervisor until it has killed what it
        // watches over.
        script.push(&Step::Subreaper {});
        fence(&mut script, plan)?;
        drop_privileges_on_the_host(&mut script, plan.identity);
    }
    Ok(script)
}

/// Before there is anything that a program could make grow.
fn join(script: &mut Script, groups: Vec<Join>) {
    for (fd, group) in (0..).zip(groups) {
        script.push_for(&Step::JoinCgroup { fd }, group.name);
        script.fds.extend(group.file);
    }
}

/// What the kernel counts per user it also charges to whoever made the namespace: one cell could
/// take all that root, or the caller, has on the host.
fn limit_user(script: &mut Script, proc: &str) -> Result<()> {
    for (name, value) in [("max_inotify_instances", "8"), ("max_inotify_watches", "8192")] {
        let path = c_string(format!("{proc}sys/user/{name}").as_bytes())?;
        script.push_for(&Step::UserLimit { path: &path, value: value.as_bytes() }, name);
    }
    Ok(())
}

fn build_root(script: &mut Script, plan: &Plan, trees: Trees) -> Result<()> {
    script.push(&Step::Hostname { name: plan.job.hostname.as_bytes() });
    let mut layers = Layers::prepare(script, plan)?;
    let mut kept = trees.layers.into_iter().peekable();
    let mut trees = trees.sources.into_iter().peekable();
    for (index, entry) in plan.root.iter().enumerate() {
        let tree = trees.next_if(|(at, _)| *at == index).map(|(_, tree)| tree);
        match (entry, &mut layers) {
            (Entry::Cow { .. }, Some(layers)) => {
                let layer = kept.next_if(|(at, _)| *at == index).map(|(_, layer)| layer);
                layers.mount(script, entry, tree, layer)?;
            }
            _ => match tree {
                Some(tree) => attach_tree(script, entry, tree)?,
                None => place(script, entry, index < plan.listed_from)?,
            },
        }
    }
    if layers.is_some() {
        Layers::hide(script)?;
    }
    // Last among the mounts: everything above still had to make its mount points.
    script.push(&Step::SealRoot {});
    // After /proc, which the kernel only lets us mount while the host's is in sight.
    script.push(&Step::Pivot {});
    Ok(())
}

/// `plain` entries lie on the root itself: every directory on the way was made by steps before.
fn place(script: &mut Script, entry: &Entry, plain: bool) -> Result<()> {
    match entry {
        Entry::Dir { path, mode } => {
            let (parent, name) = split(path, plain)?;
            script.push_for(&Step::Mkdir { parent: &parent, name: &name, mode: *mode }, path);
            if path == Path::new(EMPTY_DIR) {
                useless(script, path)?;
            }
        }
        Entry::Link { path, target } => {
            let (parent, name) = split(path, plain)?;
            let target = c_string(target.as_os_str().as_bytes())?;
            script.push_for(&Step::Symlink { parent: &parent, name: &name, target: &target }, path);
        }
        Entry::File { path, data } if plain && data.is_empty() => {
            script.push_for(&Step::Touch { path: &c_string(inside(path))? }, path);
            if path == Path::new(EMPTY_FILE) {
                useless(script, path)?;
            }
        }
        Entry::File { path, data } => {
            let inside = c_string(inside(path))?;
            script.push_for(&Step::File { path: &inside, mode: 0o644, data }, path);
        }
        Entry::Bind { source, target, access: Access::ReadOnly, .. }
            if plain && script.mounts != Mounts::Various =>
        {
            host(script, source, target)?;
        }
        Entry::Bind { source, target, access, .. } => {
            bind(script, source, target, attributes(*access), plain)?;
        }
        Entry::Device { path } => {
            bind(script, path, path, nr::MOUNT_ATTR_NOSUID | nr::MOUNT_ATTR_NOEXEC, true)?;
        }
        Entry::Tmpfs { target, size, inodes, mode } => {
            tmpfs(script, target, *size, *inodes, *mode, plain)?;
        }
        // Only `Layers` can, and a plan with one has them.
        Entry::Cow { .. } => return Err(not_prepared()),
        Entry::Proc => {
            script.push(&Step::Proc {});
            limit_user(script, "")?;
            let attributes = u64::from(QUIET | nr::MOUNT_ATTR_RDONLY);
            script.push_for(&Step::ShowProc { target: c"proc", attributes }, "/proc");
        }
        Entry::Devpts => script.push_for(&Step::Devpts { target: c"dev/pts" }, "/dev/pts"),
        Entry::Cover { path, data } => cover(script, path, data)?,
        Entry::Mask { path, directory } => {
            let with = if *directory { EMPTY_DIR } else { EMPTY_FILE };
            let (path_inside, with) = (c_string(inside(path))?, c_string(inside(Path::new(with)))?);
            let step = Step::Mask { path: &path_inside, with: &with, attributes: 0, plain: true };
            script.push_for(&step, path);
        }
    }
    Ok(())
}

/// Makes a mount of a thing that nothing can be done with. So is every copy of it, wherever it hides
/// something.
fn useless(script: &mut Script, path: &Path) -> Result<()> {
    let at = c_string(inside(path))?;
    let attributes = u64::from(QUIET | nr::MOUNT_ATTR_RDONLY);
    script.push_for(&Step::Mask { path: &at, with: &at, attributes, plain: true }, path);
    Ok(())
}

/// Puts a file that is made here, where it can be, in place of one that cannot be changed.
fn cover(script: &mut Script, path: &Path, data: &[u8]) -> Result<()> {
    let with = c_string(inside(&cover_of(path)))?;
    script.push_for(&Step::File { path: &with, mode: 0o644, data }, cover_of(path));
    let to = c_string(inside(path))?;
    let attributes = u64::from(QUIET | nr::MOUNT_ATTR_RDONLY);
    let step = Step::Mask { path: &to, with: &with, attributes, plain: false };
    script.push_for(&step, path);
    Ok(())
}

fn attributes(access: Access) -> u32 {
    match access {
        Access::ReadOnly if leaves_out("read-only") => SCRATCH,
        Access::ReadOnly => READ_ONLY,
        Access::ReadWrite | Access::CopyOnWrite => SCRATCH,
    }
}

fn not_prepared() -> Error {
    Error::internal("mount copy-on-write", std::io::Error::other("no place for changes"))
}

/// Shows something of the host, which [`Script::settle`] makes read-only with all else of it.
fn host(script: &mut Script, source: &Path, target: &Path) -> Result<()> {
    bind(script, source, target, 0, true)?;
    script.mounts = Mounts::Host;
    Ok(())
}

fn bind(
    script: &mut Script,
    source: &Path,
    target: &Path,
    attributes: u32,
    plain: bool,
) -> Result<()> {
    let from = c_string(source.as_os_str().as_bytes())?;
    let to = c_string(inside(target))?;
    let attributes = u64::from(attributes);
    let step = Step::Bind { source: &from, target: &to, attributes, recursive: true, plain };
    script.push_for(&step, target);
    Ok(())
}

fn attach_tree(script: &mut Script, entry: &Entry, tree: OwnedFd) -> Result<()> {
    let Entry::Bind { target, access, .. } = entry else { return place(script, entry, false) };
    bind_tree(script, tree, target, attributes(*access))
}

fn bind_tree(script: &mut Script, tree: OwnedFd, target: &Path, attributes: u32) -> Result<()> {
    let fd = u32::try_from(script.fds.len()).unwrap_or(u32::MAX);
    let to = c_string(inside(target))?;
    let attributes = u64::from(attributes);
    script.push_for(&Step::BindFd { fd, target: &to, attributes }, target);
    script.fds.push(tree);
    Ok(())
}

fn tmpfs(
    script: &mut Script,
    target: &Path,
    size: Option<u64>,
    inodes: Option<u64>,
    mode: u32,
    plain: bool,
) -> Result<()> {
    // For tmpfs 0 means no limit (tmpfs(5)).
    let size = c_string(size.unwrap_or(0).to_string().as_bytes())?;
    let inodes = c_string(inodes.unwrap_or(0).to_string().as_bytes())?;
    let mode = c_string(format!("{mode:o}").as_bytes())?;
    let to = c_string(inside(target))?;
    let step = Step::Tmpfs {
        target: &to,
        size: &size,
        inodes: &inodes,
        mode: &mode,
        attributes: u64::from(SCRATCH),
        plain,
    };
    script.push_for(&step, target);
    Ok(())
}

/// Makes the ruleset that the program will enforce on itself.
fn fence(script: &mut Script, plan: &Plan) -> Result<()> {
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
fn allowed_paths(plan: &Plan) -> Vec<(std::path::PathBuf, Allowed, bool)> {
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

fn writable(entry: &Entry) -> Option<(std::path::PathBuf, Allowed, bool)> {
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

/// Inside a user namespace: the init itself needs no capability any more, so that it, too, has
/// none while it watches over hostile code.
fn drop_privileges(script: &mut Script) {
    // Emptying the bounding set takes CAP_SETPCAP, so it comes before the capabilities go.
    script.push(&Step::BoundingSet {});
    script.push(&Step::DropCapabilities {});
    script.push(&Step::NoNewPrivs {});
}

/// Without a user namespace: root becomes nobody for good; a user has nothing to drop. Root of a
/// user namespace without a nobody stays: under `no_new_privs` no execution gives back what it drops.
fn drop_privileges_on_the_host(script: &mut Script, identity: Identity) {
    if identity.by_root {
        script.push(&Step::BoundingSet {});
        let (uid, gid) = (identity.uid, identity.gid);
        script.push(&Step::SetIds { uid, gid, clear_groups: true });
    }
    script.push(&Step::DropCapabilities {});
    script.push(&Step::NoNewPrivs {});
}

/// Whether the filter belongs to the cell. Installing it takes as long as all other steps of a program
/// together, so the shipped one, under which an init can do whatever it still has to, is installed
/// before there is a program to wait for it. Any other might not let the init work.
fn is_filtered_ahead(plan: &Plan) -> bool {
    plan.namespaces.base && plan.filter.as_ref().is_some_and(|filter| filter.is_shipped)
}

fn filter(script: &mut Script, plan: &Plan) {
    let Some(filter) = &plan.filter else { return };
    let instructions = filter.program.to_bytes();
    let asking = asking(plan).map(|asking| asking.to_bytes()).unwrap_or_default();
    let flags = filter.program.flags();
    let timed =
        Arch::host().is_some_and(|arch| filter.program.always_allows(arch, "clock_gettime"));
    script.push(&Step::Filter { instructions: &instructions, asking: &asking, flags, timed });
}

/// A terminal for the program, by its size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TerminalSize {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// The steps of the program, done in the process that becomes it.
pub(crate) fn program(plan: &Plan, terminal: Option<TerminalSize>) -> Result<Script> {
    let mut script = before_execution(plan, terminal)?;
    let candidates = plan.candidates.iter().map(|path| path.as_os_str().as_bytes());
    execution(&mut script, &plan.job.args, candidates, &variables(&plan.env)?)?;
    Ok(script)
}

/// Those of them that come before its execution.
pub(crate) fn before_execution(plan: &Plan, terminal: Option<TerminalSize>) -> Result<Script> {
    let mut script = Script::default();
    if let Some(TerminalSize { rows, columns }) = terminal {
        script.push(&Step::Terminal { rows: rows.into(), columns: columns.into() });
    }
    script.push(&Step::Stdio {});
    script.push(&Step::Session {});
    if !plan.namespaces.pid {
        // No namespace ends with the init, so at least the program does.
        script.push(&Step::DieWithParent {});
    }
    if terminal.is_some() {
        // Only a session leader without a terminal can take one.
        script.push(&Step::ControllingTty {});
    }
    script.push(&Step::UnblockSignals {});
    script.push(&Step::Umask { mask: 0o022 });
    let cwd = c_string(plan.job.cwd.as_os_str().as_bytes())?;
    script.push_for(&Step::Chdir { path: &cwd }, &plan.job.cwd);
    // The init, which has to pass signals on and to kill, keeps its place before the program.
    script.push(&Step::Nice { value: nice() });
    rlimits(&mut script, plan);
    if plan.fence.is_some() {
        script.push(&Step::RestrictSelf {});
    }
    // After the ruleset, the last descriptor of ours that is used.
    script.push(&Step::CloseFds {});
    // Last: from here on the filter judges our own calls, too.
    if !is_filtered_ahead(plan) {
        filter(&mut script, plan);
    }
    Ok(script)
}

/// The filter in the form that asks where it kills, so that the init learns for which call. Without
/// a process namespace the init could not kill everyone before somebody is back from the call, and
/// its own end would let all calls fail instead of killing for them: there the filter kills.
pub(crate) fn asking(plan: &Plan) -> Option<seccomp::Program> {
    let filter = plan.filter.as_ref().filter(|_| plan.namespaces.pid && !leaves_out("denial"))?;
    filter.program.asking()
}

/// The program gives way to whoever is not as nice: a crowd of processes would otherwise keep
/// supervisors waiting, their own and others'. On a machine with time to spare it costs nothing.
fn nice() -> u32 {
    const GIVES_WAY: i32 = 10;
    const NICEST: i32 = 19;
    let own = rustix::process::getpriority_process(None).unwrap_or(0);
    (own + GIVES_WAY).clamp(0, NICEST).unsigned_abs()
}

/// The last step of a program, with its [`variables`].
pub(crate) fn execution<'a>(
    script: &mut Script,
    args: &[String],
    candidates: impl IntoIterator<Item = &'a [u8]>,
    variables: &[u8],
) -> Result<()> {
    let mut paths = Vec::with_capacity(256);
    candidates.into_iter().try_for_each(|path| append(&mut paths, path))?;
    let mut words = Vec::with_capacity(256);
    args.iter().try_for_each(|argument| append(&mut words, argument.as_bytes()))?;
    let step = Step::Exec {
        candidates: Strings::new(&paths),
        args: Strings::new(&words),
        env: Strings::new(variables),
    };
    script.push_for(&step, args.first().map_or("", String::as_str));
    Ok(())
}

/// An environment as a program gets it.
pub(crate) fn variables(env: &Environment) -> Result<Vec<u8>> {
    let mut variables = Vec::new();
    for (name, value) in env.iter() {
        append(&mut variables, &[name.as_bytes(), b"=", value.as_bytes()].concat())?;
    }
    Ok(variables)
}

fn append(strings: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    let string = c_string(bytes)?;
    fumehood_child::step::Field::put(&string.as_c_str(), &mut Bytes(strings));
    Ok(())
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        Error::invalid("job", format!("{shown:?}"), "contains a NUL byte")
    })
}

/// Directory and name of a path in the new root. A plain path needs no directory: it is looked up
/// from the root in one go.
fn split(path: &Path, plain: bool) -> Result<(CString, CString)> {
    if plain {
        return Ok((CString::default(), c_string(inside(path))?));
    }
    let parent = path.parent().map_or(b"".as_slice(), inside);
    let name = path.file_name().map_or(b"".as_slice(), OsStrExt::as_bytes);
    Ok((c_string(parent)?, c_string(name)?))
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
