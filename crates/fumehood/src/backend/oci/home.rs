//! Where a runtime lives, and where the program's files are in it.
//!
//! ```text
//! PLACE            memory file system over a directory of the host, in the home's mount namespace
//! ├── bundle       config.json and the root: mount points, links, files that are made
//! ├── covers       files that cover others
//! ├── dev          devices, of who is root in gVisor
//! ├── init end     process 1 of the container, and what it writes
//! ├── sources      what a bundle that somebody else wrote shows of the host
//! ├── files        /workspace, /tmp, gVisor's /dev/shm, writable mounts: each where the program sees it
//! ├── state log pid   the runtime's own
//! ```

use std::path::{Component, Path, PathBuf};

use super::place::Place;
use super::{Kind, devices, sources};
use crate::backend::native::script::{Hidden, Home, Scratch, Shown};
use crate::host::Host;
use crate::job::Access;
use crate::plan::{Entry, Plan};
use crate::sabotage::leaves_out;
use crate::{BackendName, Error, ErrorKind, Result};

/// Directories that hosts have and runtimes do not look into. The first that exists and has no source
/// of a mount below it is covered, for the runtime only.
const PLACES: [&str; 7] = [
    "/sys/kernel/debug",
    "/sys/fs/fuse/connections",
    "/sys/kernel/tracing",
    "/sys/fs/pstore",
    "/mnt",
    "/media",
    "/srv",
];

/// For the bundle and the runtime's state: some kilobytes.
const SIZE: u64 = 32 << 20;
const INODES: u64 = 16 << 10;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Shared memory is no place for files that come and go: nobody looks into it before or after the program.
pub(super) const SHM: &str = "/dev/shm";

/// What is where in the home of one run.
#[derive(Clone, Debug)]
pub(in crate::backend) struct Lodging {
    pub(in crate::backend) place: PathBuf,
    pub(in crate::backend) home: Home,
    /// The word by which process 1 proves itself, if it is ours.
    pub(in crate::backend) token: Option<String>,
}

impl Lodging {
    pub(in crate::backend) fn of(kind: Kind, plan: &Plan) -> Result<Self> {
        let place = choose(plan)?;
        let mut scratch = vec![Scratch {
            target: place.clone(),
            size: Some(SIZE),
            inodes: Some(INODES),
            mode: 0o755,
        }];
        scratch.extend(plan.root.iter().filter_map(|entry| match entry {
            // gVisor cannot limit the number of files in a directory of its own.
            Entry::Tmpfs { target, size, inodes, mode }
                if kind == Kind::Runsc || target != Path::new(SHM) =>
            {
                let target = inside(&place.join("files"), target);
                Some(Scratch { target, size: *size, inodes: *inodes, mode: *mode })
            }
            _ => None,
        }));
        scratch.extend(devices::are_ours(kind, plan).then(|| devices::scratch(&place)));
        let mut home = Home {
            user: Home::user(Host::current()),
            // crun refuses hosts with both versions of control groups, even where it is to leave
            // them alone. runc insists on seeing them, and can do without groups of its own, whose
            // removal would be nobody's business, only where it must.
            covers: if kind == Kind::Runc { Vec::new() } else { vec![CGROUPS.into()] },
            frozen: match kind {
                Kind::Runc => vec![CGROUPS.into()],
                Kind::Crun => Vec::new(),
                Kind::Runsc => frozen(&place, plan),
            },
            scratch,
            shown: match super::as_is::dir(plan) {
                Some(dir) => sources::shown(&place, dir),
                None => shown(&place, plan),
            },
        };
        home.frozen = home.frozen.iter().map(|path| resolved(path)).collect();
        if leaves_out("home-frozen") {
            home.frozen.clear();
        }
        let token = lets_init_work(plan).then(super::container::random);
        Ok(Self { place, home, token })
    }

    /// A path of the home by its name in the place.
    pub(in crate::backend) fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// Where the home has what a read-only mount shows.
    pub(in crate::backend) fn read_from(&self, source: &Path, target: &Path) -> PathBuf {
        if self.place.starts_with(source) { self.source(target) } else { source.to_owned() }
    }

    /// Where on the host a path of the program's own files is.
    pub(in crate::backend) fn source(&self, target: &Path) -> PathBuf {
        inside(&self.place.join("files"), target)
    }
}

/// A filter that is not ours may kill for what process 1 has to do; a bundle that is not ours is left
/// as it is.
fn lets_init_work(plan: &Plan) -> bool {
    !leaves_out("home-init")
        && super::as_is::dir(plan).is_none()
        && plan.filter.as_ref().is_none_or(|filter| filter.is_shipped)
}

/// What gVisor is to show read-only the kernel makes read-only for all of gVisor: its own check of a
/// file that is opened to be truncated comes when it is empty already (seen with 20240729).
fn frozen(place: &Path, plan: &Plan) -> Vec<PathBuf> {
    let sources = plan.root.iter().filter_map(|entry| match entry {
        Entry::Bind { source, access: Access::ReadOnly, .. } => Some(source.clone()),
        _ => None,
    });
    // What has the place in it is shown read-only.
    let sources = sources.filter(|source| !place.starts_with(source));
    let mut sources: Vec<_> = sources.collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

/// What a link on the host leads to: a link itself can be no mount point, and what is shown of it is what
/// it leads to.
pub(in crate::backend) fn resolved(path: &Path) -> PathBuf {
    let is_link = path.is_symlink();
    let target = is_link.then(|| std::fs::canonicalize(path).ok()).flatten();
    target.unwrap_or_else(|| path.into())
}

/// Writable mounts are shown among the program's files, so that they can be collected from; and what has the
/// place in it, so that it can be hidden.
fn shown(place: &Path, plan: &Plan) -> Vec<Shown> {
    let entries = plan.root.iter().filter_map(|entry| match entry {
        Entry::Bind { source, target, access, directory, .. }
            if *access == Access::ReadWrite || place.starts_with(source) =>
        {
            let target = inside(&place.join("files"), target);
            let within = place.strip_prefix(source).ok();
            let hidden = within.map(|path| (target.join(path), Hidden::Directory));
            let sealed = if *access == Access::ReadWrite { 0 } else { Shown::READ_ONLY };
            Some(Shown {
                source: source.clone(),
                target,
                directory: *directory,
                nested: true,
                attributes: Shown::WRITABLE | sealed,
                hidden: hidden.into_iter().collect(),
            })
        }
        _ => None,
    });
    entries.collect()
}

/// The first place that no source of a mount is in, best one that is in no source either: what is shown of
/// a source with the place in it is a copy in which that is hidden.
fn choose(plan: &Plan) -> Result<PathBuf> {
    let bundle = super::as_is::dir(plan);
    let mut sources: Vec<_> = plan
        .root
        .iter()
        .filter_map(|entry| match entry {
            Entry::Bind { source, .. } => Some(source.clone()),
            _ => None,
        })
        .collect();
    sources.extend(bundle.into_iter().flat_map(crate::bundle::sources).map(|source| source.path));
    let has_none = |place: &&Path| {
        let used = sources.iter().map(PathBuf::as_path).chain(bundle);
        place.is_dir() && !used.into_iter().any(|path| path.starts_with(place))
    };
    let is_free = |place: &&Path| !sources.iter().any(|path| place.starts_with(path));
    let places: Vec<_> = PLACES.into_iter().map(Path::new).filter(has_none).collect();
    let chosen = places.iter().copied().find(is_free).or(places.first().copied());
    chosen.map(PathBuf::from).ok_or_else(|| {
        let reason = format!(
            "finds no directory to work in: one of {} must exist, with nothing mounted from it",
            PLACES.join(", ")
        );
        let fix = Some("mkdir /mnt".to_owned());
        ErrorKind::NoBackend { backend: plan.backend(), reason, fix }.into()
    })
}

fn inside(above: &Path, path: &Path) -> PathBuf {
    above.join(path.strip_prefix("/").unwrap_or(path))
}

/// Where in the place a path of the program's own files is.
pub(in crate::backend) fn own(path: &Path) -> PathBuf {
    inside(Path::new("files"), path)
}

/// Makes the root of the bundle: what is not mounted in it.
pub(in crate::backend) fn furnish(
    place: &Place,
    plan: &Plan,
    init: Option<&[u8]>,
    owner: Option<(u32, u32)>,
) -> Result<()> {
    if let Some(program) = init {
        place.program(Path::new("init"), program)?;
    }
    place.file(Path::new("end"), b"")?;
    if let Some(owner) = owner {
        place.give_one(Path::new("end"), owner)?;
    }
    place.dir(Path::new("bundle/rootfs"), 0o755)?;
    place.dir(Path::new("covers"), 0o755)?;
    place.dir(Path::new("state"), 0o700)?;
    let own = own_places(plan);
    for entry in plan.root.iter() {
        match entry {
            Entry::Dir { path, mode } if is_ours(path) => place.dir(&at(&own, path), *mode)?,
            Entry::Link { path, target } if is_ours(path) => place.link(&at(&own, path), target)?,
            Entry::File { path, data } if is_ours(path) => place.new_file(&at(&own, path), data)?,
            Entry::Cover { path, data } => place.file(&cover_of(path), data)?,
            _ => {}
        }
    }
    if let Some(owner) = owner {
        for target in own.iter().filter(|target| !is_shown(plan, target)) {
            place.give(&inside(Path::new("files"), target), owner)?;
        }
    }
    Ok(())
}

/// Runtimes fill `/dev` and `/proc` themselves.
fn is_ours(path: &Path) -> bool {
    let made = |above: &str| path.starts_with(above) && path != Path::new(above);
    !made("/dev") && !made("/proc")
}

/// Where the program's own files are: memory file systems and writable mounts.
fn own_places(plan: &Plan) -> Vec<PathBuf> {
    let targets = plan.root.iter().filter_map(|entry| match entry {
        Entry::Tmpfs { target, .. }
            if plan.backend() == BackendName::Runsc || target != Path::new(SHM) =>
        {
            Some(target.clone())
        }
        Entry::Bind { target, access: Access::ReadWrite, .. } => Some(target.clone()),
        _ => None,
    });
    targets.collect()
}

fn is_shown(plan: &Plan, path: &Path) -> bool {
    plan.root.iter().any(|entry| matches!(entry, Entry::Bind { target, .. } if target == path))
}

/// Where something of the root is in the place.
fn at(own: &[PathBuf], path: &Path) -> PathBuf {
    let is_own = own.iter().any(|target| path.starts_with(target) && path != target);
    inside(Path::new(if is_own { "files" } else { "bundle/rootfs" }), path)
}

/// Where a file that covers another is in the place.
pub(in crate::backend) fn cover_of(path: &Path) -> PathBuf {
    let name = path.to_string_lossy().replace('/', "_");
    Path::new("covers").join(name)
}

/// Refuses what would have to be made in `/dev/shm`, which tools mount themselves when directories are made
/// already. crun makes its own, as the program's user; others either make it root's or not at all.
pub(in crate::backend) fn check_cwd(plan: &Plan) -> Result<()> {
    let cwd = &plan.job.cwd;
    if plan.backend() == BackendName::Crun || !cwd.starts_with(SHM) || cwd == Path::new(SHM) {
        return Ok(());
    }
    let problem = format!(
        "backend {} makes no directories in {SHM}; use /workspace, /tmp or a tmpfs, or backend native",
        plan.backend()
    );
    Err(Error::invalid("cwd", cwd.display(), problem))
}

/// Files can be brought back from where the program has files of its own: the rest of the root is
/// the runtime's.
pub(in crate::backend) fn check_collect(plan: &Plan) -> Result<()> {
    let own = own_places(plan);
    for (index, path) in plan.job.collect.paths.iter().enumerate() {
        let absolute = plan.job.cwd.join(path);
        let literal: PathBuf = absolute
            .components()
            .take_while(|part| match part {
                Component::Normal(name) => !name.to_string_lossy().contains(['*', '?', '[', '\\']),
                _ => true,
            })
            .collect();
        if !own.iter().any(|target| literal.starts_with(target)) {
            let own: Vec<_> = own.iter().map(|target| target.display().to_string()).collect();
            let problem = format!(
                "backend {} brings files back only from {}",
                plan.backend(),
                own.join(", ")
            );
            return Err(Error::invalid(format!("collect.paths[{index}]"), path, problem));
        }
    }
    Ok(())
}
