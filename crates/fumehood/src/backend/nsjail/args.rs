//! nsjail's command line.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::backend::oci::home::{Lodging, cover_of, own};
use crate::backend::oci::place::Place;
use crate::job::{Access, Limit};
use crate::plan::{Entry, Plan};
use crate::sabotage::leaves_out;
use crate::{Error, ErrorKind, Network, Result};

/// What all else in a program's life is nicer than: as for a cell of ours.
const NICE: &str = "10";

/// The arguments up to the program, nsjail's own name not among them.
pub(super) fn args(plan: &Plan, lodging: &Lodging) -> Args {
    let mut args = Args::default();
    args.pair("--log", lodging.path("log"));
    args.flag("--forward_signals");
    args.pair("--time_limit", "0");
    args.pair("--nice_level", NICE);
    args.pair("--hostname", &plan.job.hostname);
    args.pair("--cwd", &plan.job.cwd);
    let who = plan.identity;
    let (uid, gid) = outside(plan);
    args.pair("--user", format!("{}:{uid}:1", who.uid));
    args.pair("--group", format!("{}:{gid}:1", who.gid));
    limits(&mut args, plan);
    if plan.job.network == Network::Host || leaves_out("nsjail-network") {
        args.flag("--disable_clone_newnet");
    }
    for (name, value) in plan.env.iter() {
        let mut pair = OsString::from(name);
        pair.push("=");
        pair.push(value);
        args.pair("--env", pair);
    }
    for entry in plan.root.iter() {
        mount(&mut args, entry, plan, lodging);
    }
    args
}

/// Those of the program: it by its path, and its name as the job has it.
pub(super) fn with_program(mut args: Args, plan: &Plan, place: &Place) -> Result<Vec<OsString>> {
    args.pair("--exec_file", program(plan, place)?);
    args.flag("--");
    args.0.extend(plan.job.args.iter().map(OsString::from));
    Ok(args.0)
}

/// The program's ids as nsjail sees them: an ordinary user's home maps the caller to root.
fn outside(plan: &Plan) -> (u32, u32) {
    let who = plan.identity;
    if who.by_root { (who.host_uid, who.host_gid) } else { (0, 0) }
}

#[derive(Debug, Default)]
pub(super) struct Args(Vec<OsString>);

impl Args {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    fn pair(&mut self, flag: &str, value: impl AsRef<OsStr>) {
        self.0.extend([flag.into(), value.as_ref().to_owned()]);
    }

    fn bind(&mut self, flag: &str, source: &Path, target: &Path) {
        let mut pair = source.as_os_str().to_owned();
        pair.push(":");
        pair.push(target);
        self.pair(flag, pair);
    }
}

/// What nsjail does not limit, or has no default for, stays as the caller has it: raising a limit would
/// take a privilege.
fn limits(args: &mut Args, plan: &Plan) {
    let limits = &plan.job.limits;
    let number = |limit: Limit<u64>, resource: Resource, unit: u64| {
        let own = getrlimit(resource).maximum.map(|own| own / unit);
        match limit {
            Limit::Finite(value) if own.is_none_or(|own| value < own) => value.to_string(),
            _ => "hard".to_owned(),
        }
    };
    let mib = match limits.file_size() {
        Limit::Finite(size) => Limit::Finite(size.0 >> 20),
        Limit::Unlimited => Limit::Unlimited,
    };
    args.pair("--rlimit_fsize", number(mib, Resource::Fsize, 1 << 20));
    args.pair("--rlimit_nofile", number(limits.open_files(), Resource::Nofile, 1));
    let pids = if leaves_out("nsjail-pids") { Limit::Unlimited } else { limits.pids() };
    args.pair("--rlimit_nproc", number(pids, Resource::Nproc, 1));
    for unlimited in ["--rlimit_as", "--rlimit_cpu"] {
        args.pair(unlimited, "hard");
    }
    // That of core dumps has been set, to one byte: nsjail counts in MiB, and 0 starts the host's handler.
    for inherited in ["--rlimit_stack", "--rlimit_core"] {
        args.pair(inherited, "soft");
    }
}

/// The root itself is nsjail's own: one that is bound from a home could not be made read-only, as what
/// the kernel locks on such mounts is not kept. Parents of what is mounted it makes itself.
fn mount(args: &mut Args, entry: &Entry, plan: &Plan, lodging: &Lodging) {
    let made = |path: &Path| {
        let path = path.strip_prefix("/").unwrap_or(path);
        lodging.place.join("bundle/rootfs").join(path)
    };
    match entry {
        Entry::Dir { path, .. } | Entry::File { path, .. }
            if path.starts_with("/dev") || path.starts_with("/proc") || is_own(plan, path) => {}
        Entry::Dir { path, .. } if is_leaf(plan, path) => {
            args.bind("--bindmount_ro", &made(path), path);
        }
        Entry::File { path, .. } if is_leaf(plan, path) => {
            args.bind("--bindmount_ro", &made(path), path);
        }
        Entry::Link { path, target } => args.bind("--symlink", target, path),
        Entry::Bind { target, access: Access::ReadWrite, .. } => {
            args.bind("--bindmount", &lodging.source(target), target);
        }
        Entry::Bind { source, target, .. } => {
            let shown = lodging.read_from(source, target);
            let from = if shown == *source { reached(plan, lodging, source) } else { shown };
            args.bind("--bindmount_ro", &from, target);
        }
        Entry::Device { path } => args.bind("--bindmount", path, path),
        Entry::Tmpfs { target, size, inodes, .. } if target == Path::new("/dev/shm") => {
            let size = size.map_or_else(String::new, |size| format!("size={size},"));
            let inodes = inodes.map_or_else(String::new, |inodes| format!("nr_inodes={inodes},"));
            args.pair("--mount", format!("none:/dev/shm:tmpfs:{size}{inodes}mode=1777"));
        }
        Entry::Tmpfs { target, .. } => args.bind("--bindmount", &lodging.source(target), target),
        Entry::Cover { path, .. } => {
            args.bind("--bindmount_ro", &lodging.place.join(cover_of(path)), path);
        }
        // /proc is nsjail's own.
        _ => {}
    }
}

/// Where the program's user, as whom nsjail mounts, reaches a source: what only root reaches is shown in
/// the home.
pub(super) fn reached(plan: &Plan, lodging: &Lodging, source: &Path) -> PathBuf {
    let is_closed = |dir: &Path| fs::metadata(dir).is_ok_and(|found| found.mode() & EVERYBODY == 0);
    if plan.identity.by_root && source.ancestors().skip(1).any(is_closed) {
        return lodging.path("sources").join(source.strip_prefix("/").unwrap_or(source));
    }
    source.to_owned()
}

/// That everybody may go through a directory (`inode(7)`).
const EVERYBODY: u32 = 0o001;

/// Whether it lies in a directory of the program's own, which is shown with all that was made in it.
fn is_own(plan: &Plan, path: &Path) -> bool {
    plan.root.iter().any(|entry| match entry {
        Entry::Tmpfs { target, .. } => path != target && path.starts_with(target),
        _ => false,
    })
}

/// Whether nothing else is made at a path or below it.
fn is_leaf(plan: &Plan, path: &Path) -> bool {
    let paths = plan.root.iter().filter_map(crate::plan::mounts::at);
    paths.filter(|other| other.starts_with(path)).count() == 1
}

/// nsjail looks nothing up along a `PATH`. Inputs are where they are to be by now.
fn program(plan: &Plan, place: &Place) -> Result<PathBuf> {
    let named = plan.job.args.first().map_or("", String::as_str);
    let places = plan.candidates.iter().map(|candidate| plan.job.cwd.join(candidate));
    // What is named with a slash may be among the program's own files, which nobody else looks at.
    let mut found = places.filter(|path| {
        named.contains('/') || plan.shows_program(path) || place.has_program(&own(path))
    });
    found.next().ok_or_else(|| {
        let detail = "it is in none of the directories of PATH inside".to_owned();
        ErrorKind::ProgramNotFound { program: named.to_owned(), detail }.into()
    })
}

/// What the home must make unchangeable, because nsjail's read-only mounts are not recursive.
pub(super) fn frozen(plan: &Plan) -> Vec<PathBuf> {
    let sources = plan.root.iter().filter_map(|entry| match entry {
        Entry::Bind { source, access: Access::ReadOnly, .. } => Some(source.clone()),
        _ => None,
    });
    let mut sources: Vec<_> = sources.collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

/// Why a plan is refused whose writable mounts lie in read-only ones: the home freezes the latter.
pub(super) fn judge(plan: &Plan) -> Result<()> {
    let frozen = frozen(plan);
    for (index, mount) in plan.job.mounts.iter().enumerate() {
        let inside = |above: &&PathBuf| mount.source.starts_with(above);
        if mount.access == Access::ReadWrite
            && let Some(above) = frozen.iter().find(inside)
        {
            let problem = format!(
                "lies in {}, which is mounted read-only; use backend native",
                above.display()
            );
            let field = format!("mounts[{index}].source");
            return Err(Error::invalid(field, mount.source.display(), problem));
        }
    }
    Ok(())
}
