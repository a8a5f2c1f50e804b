//! A job with every default filled, every path resolved and every choice made: the last thing that
//! can say no.

mod cow;
mod inputs;
pub(crate) mod layout;
mod links;
pub(crate) mod mounts;
pub(crate) mod others;
pub(crate) mod own_root;
mod owners;
pub(crate) mod standing;
pub(crate) mod without;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::Backend;
use crate::backend::native::script::{self, TerminalSize};
use crate::backend::native::tree;
use crate::backend::native::trees::Trees;
use crate::env::Environment;
use crate::host::{Host, NOBODY};
use crate::image::Image;
use crate::policy::landlock::Fence;
use crate::policy::seccomp;
use crate::sabotage::leaves_out;
use crate::text;
use crate::{
    Access, BackendName, Error, ErrorKind, Guarantee, Job, Missing, MountNote, Network, Result,
    Root, Seccomp, Standing,
};
pub use layout::Entry;
use layout::Layout;
use own_root::OwnRoot;
use without::{Blocked, Without};

/// What will be done for a job on this host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The job that it was made from.
    pub job: Job,
    /// The environment of the program.
    pub env: Environment,
    /// Paths at which the program is looked for inside, in order.
    pub candidates: Vec<PathBuf>,
    /// Who the program is, inside and on the host.
    pub identity: Identity,
    /// Which namespaces it gets.
    pub namespaces: Namespaces,
    /// The image that it runs in, if it does.
    pub image: Option<Image>,
    /// Where its root is on the host, if that is not the host's own.
    pub(crate) root_dir: Option<PathBuf>,
    /// What is in its root; empty where it has none of its own.
    pub root: Arc<[Entry]>,
    /// Index in `root` of the first entry that the job listed.
    pub(crate) listed_from: usize,
    /// The filter of its system calls; none where that was waived.
    pub filter: Option<Arc<Filter>>,
    /// Whether the user id on the host is that of root, because there is no other.
    pub is_root: bool,
    /// The Landlock fence around it; none where the kernel has none and that was waived.
    pub fence: Option<Fence>,
    /// Where every guarantee will stand.
    pub guarantees: BTreeMap<Guarantee, Standing>,
    /// What the caller should know of its mounts.
    pub notes: Vec<MountNote>,
    /// Whether the supervisor gets a handle on the root, for what it does with the files of the cell
    /// before and after the program. Only where something asks for it: the cell ends later then.
    pub(crate) share_root: bool,
    /// What the host was seen to refuse, which this plan does without.
    pub(crate) blocked: Vec<Blocked>,
    /// Who confines the program, if not we ourselves.
    pub(crate) foreign: Option<Arc<dyn Backend>>,
}

/// Who a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// User id on the host.
    pub host_uid: u32,
    /// Group id on the host.
    pub host_gid: u32,
    /// Whether root starts the run, so that the ids above are somebody else's and supplementary
    /// groups can be dropped.
    pub by_root: bool,
}

/// Which namespaces of its own a cell has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespaces {
    /// User, mount, UTS and control group namespaces.
    pub base: bool,
    /// IPC namespace.
    pub ipc: bool,
    /// Process namespace.
    pub pid: bool,
    /// Network namespace.
    pub net: bool,
}

/// A compiled filter and where it came from.
#[derive(Clone, Debug)]
pub struct Filter {
    /// `the shipped profile`, or the path of the profile.
    pub origin: String,
    /// What the kernel runs.
    pub program: seccomp::Program,
    /// Whether it is ours, so that it is known what it lets through.
    pub(crate) is_shipped: bool,
}

impl Plan {
    /// Plans a job for this host, in full confinement.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidJob`] for what the caller can mend, [`ErrorKind::Unsupported`] where
    /// the host lacks something that was not waived.
    pub fn new(job: &Job) -> Result<Self> {
        let host = Host::current();
        let plan = match job.backend {
            BackendName::Native => Self::make(job, host, Vec::new()),
            _ => Self::for_others(job, host),
        };
        tree::release_spare();
        plan
    }

    /// The mechanism that confines the program: never [`Auto`](BackendName::Auto).
    #[must_use]
    pub fn backend(&self) -> BackendName {
        self.foreign.as_ref().map_or(BackendName::Native, |backend| backend.name())
    }

    /// The steps of the confinement in their order, each with its object: those of the cell, then
    /// those of the program, which end with its start. None for a backend that is not ours.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if a listed mount cannot be looked at.
    pub fn steps(&self) -> Result<Vec<String>> {
        if self.foreign.is_some() {
            return Ok(Vec::new());
        }
        let cell = script::cell(self, tree::joined(self), Trees::clone_listed(self)?)?;
        let terminal = self.job.tty.then_some(TerminalSize { rows: 24, columns: 80 });
        let program = script::program(self, terminal)?;
        Ok(cell.labels.into_iter().chain(program.labels).map(Into::into).collect())
    }

    /// Plans without what the host refuses.
    pub(crate) fn make(job: &Job, host: &Host, blocked: Vec<Blocked>) -> Result<Self> {
        Self::make_telling(job, host, blocked, |_| ())
    }

    /// The same, which tells somebody of the plan when it is clear but for whether it holds what the job
    /// requires. It takes as long to find that out as all the rest.
    pub(crate) fn make_telling(
        job: &Job,
        host: &Host,
        blocked: Vec<Blocked>,
        tell: impl FnOnce(&Self),
    ) -> Result<Self> {
        let without = without::together(&blocked);
        job.validate()?;
        let own = OwnRoot::of(job)?;
        let job = &own_root::applied(job, own.as_ref())?;
        let env = own.as_ref().map_or(&[][..], OwnRoot::env);
        let env = Environment::resolve_over(env, &job.env, job.tty, |name| std::env::var_os(name))?;
        let namespaces = namespaces(job, without);
        let Layout { root, listed_from, mut notes } = if namespaces.base {
            layout::layout(job, own.as_ref(), namespaces.pid)?
        } else {
            Layout::default()
        };
        if namespaces.base {
            inputs::check(job, &root)?;
        }
        cow::stay_hidden(&root)?;
        let identity = identity(host, namespaces, own.as_ref().and_then(OwnRoot::user));
        if identity.by_root {
            owners::look(root.get(listed_from..).unwrap_or(&[]), identity, &mut notes)?;
        }
        let mut plan = Self {
            candidates: candidates(job, &env),
            env,
            identity,
            root_dir: own.as_ref().map(|own| own.dir.clone()),
            image: own.and_then(|own| own.image),
            namespaces,
            root: root.into(),
            listed_from,
            filter: if without.filter { None } else { Some(Arc::new(filter(job, host)?)) },
            is_root: host.is_real_root && !host.can_be_nobody,
            fence: if without.fence { None } else { Fence::new(host.landlock_abi) },
            guarantees: BTreeMap::new(),
            notes,
            share_root: namespaces.base && !job.collect.paths.is_empty(),
            job: job.clone(),
            blocked,
            foreign: None,
        };
        tell(&plan);
        plan.guarantees = standing::guarantees(&plan);
        plan.refuse_missing()?;
        // Only who does without a root of its own wants to know what does not work without one.
        if !namespaces.base {
            plan.without_root()?;
        }
        Ok(plan)
    }

    /// The plan of another job whose cell would be the same: everything that shapes the cell is
    /// taken over, and the rest judged as for any job. Where guarantees stand is left to be
    /// [said](Self::stand_as) when there is time, if it is known that none is missing.
    pub(crate) fn again(&self, job: &Job) -> Result<Self> {
        debug_assert!(job.same_cell(&self.job), "the jobs differ in more than their data");
        job.validate()?;
        if self.namespaces.base {
            inputs::check(job, &self.root)?;
        }
        let env = Environment::resolve(&job.env, job.tty, |name| std::env::var_os(name))?;
        let mut plan = Self {
            candidates: candidates(job, &env),
            env,
            job: job.clone(),
            root: Arc::clone(&self.root),
            filter: self.filter.clone(),
            blocked: self.blocked.clone(),
            notes: self.notes.clone(),
            guarantees: BTreeMap::new(),
            image: None,
            root_dir: None,
            foreign: None,
            ..*self
        };
        if !self.answers_for(job) {
            plan.guarantees = standing::guarantees(&plan);
            plan.refuse_missing()?;
        }
        if !plan.namespaces.base {
            plan.without_root()?;
        }
        Ok(plan)
    }

    /// Whether all guarantees of a job with the same cell stand where they do here, and none that it
    /// requires is missing.
    fn answers_for(&self, job: &Job) -> bool {
        let held =
            |guarantee| matches!(self.guarantees.get(&guarantee), Some(Standing::Held { .. }));
        job.limits == self.job.limits
            && standing::required(job, self.backend()).into_iter().all(held)
    }

    /// Has guarantees stand where they do in the plan that this one was made of.
    pub(crate) fn stand_as(&mut self, before: BTreeMap<Guarantee, Standing>) {
        if self.guarantees.is_empty() {
            debug_assert_eq!(before, standing::guarantees(self), "they depend on nothing else");
            self.guarantees = before;
        }
    }

    /// The same job without what the host has just refused.
    pub(crate) fn do_without(mut self, blocked: Blocked, host: &Host) -> Result<Self> {
        let before = without::together(&self.blocked);
        if before.and(blocked.without) == before {
            // Nothing is left that could be done without. Descriptors or privileges would leak.
            let missing = vec![blocked.missing(Guarantee::NoPrivileges)];
            return Err(ErrorKind::Unsupported { missing }.into());
        }
        self.blocked.push(blocked);
        Self::make(&self.job, host, self.blocked)
    }

    /// Without a mount namespace there is no place but the host's: nothing can be mounted, and the
    /// default working directory does not exist.
    fn without_root(&mut self) -> Result<()> {
        if let Some(dir) = &self.root_dir {
            let problem = "without a mount namespace there is no root but the host's";
            return Err(Error::invalid("root", dir.display(), problem));
        }
        if let Some(tmpfs) = self.job.tmpfs.first() {
            let problem = "without a mount namespace nothing can be mounted";
            return Err(Error::invalid("tmpfs[0].target", tmpfs.target.display(), problem));
        }
        for (index, mount) in self.job.mounts.iter().enumerate() {
            if mount.access == Access::CopyOnWrite {
                let problem = "without a mount namespace nothing can be copy-on-write";
                return Err(Error::invalid(format!("mounts[{index}].access"), "cow", problem));
            }
            if mount.source != mount.target {
                let field = format!("mounts[{index}].target");
                let problem = "without a mount namespace a mount can only stay where it is";
                return Err(Error::invalid(field, mount.target.display(), problem));
            }
        }
        let files = [("inputs", self.job.inputs.len()), ("collect", self.job.collect.paths.len())];
        if let Some((field, count)) = files.into_iter().find(|(_, count)| *count > 0) {
            let problem = "without a mount namespace there are no files of the program's own";
            return Err(Error::invalid(field, format_args!("{count} listed"), problem));
        }
        if self.job.cwd == Path::new(Job::CWD) {
            self.job.cwd = "/".into();
        }
        Ok(())
    }

    fn refuse_missing(&self) -> Result<()> {
        let missing: Vec<Missing> = standing::required(&self.job, self.backend())
            .into_iter()
            .filter_map(|guarantee| standing::missing(self, guarantee))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(ErrorKind::Unsupported { missing }.into()) }
    }
}

/// Which namespaces a job gets and who its program is, where that can be told before it is planned:
/// an image may say who.
pub(crate) fn outlook(job: &Job, host: &Host) -> Option<(Namespaces, Identity)> {
    if matches!(job.root, Root::Image { .. }) {
        return None;
    }
    let namespaces = namespaces(job, Without::NOTHING);
    Some((namespaces, identity(host, namespaces, None)))
}

/// The same for a job of which nothing is known: what most of them get.
pub(crate) fn usual(host: &Host) -> (Namespaces, Identity) {
    let namespaces = Namespaces { base: true, ipc: true, pid: true, net: true };
    (namespaces, identity(host, namespaces, None))
}

/// Started by root, the program becomes nobody. Where there is no nobody, in a user namespace that
/// maps one id only, it stays who its caller is.
fn identity(host: &Host, namespaces: Namespaces, user: Option<(u32, u32)>) -> Identity {
    let by_root = host.can_be_nobody && !leaves_out("host-id");
    let (host_uid, host_gid) = if by_root { NOBODY } else { (host.uid, host.gid) };
    let (uid, gid) =
        if namespaces.base { user.unwrap_or((1000, 1000)) } else { (host_uid, host_gid) };
    Identity { uid, gid, host_uid, host_gid, by_root }
}

fn namespaces(job: &Job, without: Without) -> Namespaces {
    let base = !without.namespaces;
    Namespaces {
        base,
        ipc: base && !without.ipc,
        pid: base && !without.own_proc,
        net: base && !without.net && job.network == Network::None,
    }
}

pub(crate) fn filter(job: &Job, host: &Host) -> Result<Filter> {
    let arch = seccomp::Arch::host().ok_or_else(|| {
        let source = std::io::Error::from(std::io::ErrorKind::Unsupported);
        Error::internal("make a system call filter for this architecture", source)
    })?;
    let target = seccomp::Target::new(arch, host.kernel);
    let (origin, profile) = match &job.seccomp {
        Seccomp::Default => {
            let program = seccomp::Program::shipped(arch);
            let origin = "the shipped profile".to_owned();
            return Ok(Filter { origin, program, is_shipped: true });
        }
        Seccomp::Profile(path) => (path.display().to_string(), read_profile(path)?),
    };
    let refused = |error: seccomp::Error| {
        Error::invalid("seccomp.profile", &origin, format!("cannot be used: {error}"))
    };
    let program = seccomp::compile(&profile, &target).map_err(refused)?;
    program.require_start(arch).map_err(refused)?;
    Ok(Filter { origin, program, is_shipped: false })
}

pub(crate) fn read_profile(path: &Path) -> Result<seccomp::Profile> {
    seccomp::Profile::from_json(&profile_text(path)?).map_err(|error| {
        Error::invalid("seccomp.profile", path.display(), format!("is not valid: {error}"))
    })
}

/// What the file of a profile holds.
pub(crate) fn profile_text(path: &Path) -> Result<String> {
    text::of_file(path).map_err(|error| {
        Error::invalid("seccomp.profile", path.display(), format!("cannot be read: {error}"))
    })
}

/// Where the program is looked for: as it is named if the name has a slash, else along the `PATH`
/// of the sandbox.
pub(crate) fn candidates(job: &Job, env: &Environment) -> Vec<PathBuf> {
    let program = job.args.first().map_or("", String::as_str);
    if program.contains('/') {
        return vec![program.into()];
    }
    let path = env.get("PATH").unwrap_or_default().as_bytes();
    path.split(|&byte| byte == b':')
        .map(|dir| if dir.is_empty() { b".".as_slice() } else { dir })
        .map(|dir| Path::new(std::ffi::OsStr::from_bytes(dir)).join(program))
        .collect()
}
