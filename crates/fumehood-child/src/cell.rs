//! Does the steps of a cell.

use core::ffi::CStr;

use linux_raw_sys::general as nr;

use crate::aside::{Aside, NoNetwork};
use crate::membership;
use crate::prelude::Prelude;
use crate::step::{Reader, Sink, Step, StepError};
use crate::sys::{self, Errno, Fd, MAX_FDS, Processors, Result, Rusage};
use crate::wire::Buffer;

const MAX_LAPS: usize = 4096;

/// Time per step, 4 bytes each, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Laps {
    bytes: &'static mut [u8],
    len: usize,
    then: u64,
}

impl Laps {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { bytes: sys::map(MAX_LAPS * 4)?, len: 0, then: sys::now() })
    }

    /// Starts the clock of the next step: time spent waiting belongs to none.
    fn start(&mut self) {
        self.then = sys::now();
    }

    fn note(&mut self) {
        let now = sys::now();
        let lap = u32::try_from(now.saturating_sub(self.then)).unwrap_or(u32::MAX);
        let end = self.len.saturating_add(4);
        if let Some(space) = self.bytes.get_mut(self.len..end) {
            space.iter_mut().zip(lap.to_le_bytes()).for_each(|(to, from)| *to = from);
            self.len = end;
        }
        self.then = now;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// What later steps need of earlier ones.
#[derive(Debug)]
pub(crate) struct Cell<'a> {
    /// Descriptors that came with the last message.
    pub(crate) fds: [Fd; MAX_FDS],
    /// How many of them came with the list.
    pub(crate) count: usize,
    /// The new root; the current directory as long as there is none.
    root: Fd,
    /// The Landlock ruleset that the program enforces on itself.
    pub(crate) ruleset: Option<Fd>,
    /// Where changes to copy-on-write mounts go, if there are any, for the supervisor.
    pub(crate) changes: Option<Fd>,
    /// The root, if the supervisor is to have it.
    pub(crate) shared: Option<Fd>,
    /// Its process file system, as long as it is mounted nowhere.
    proc: Option<Fd>,
    /// The host's, which a template goes on to use.
    pub(crate) host_proc: Option<Fd>,
    /// Its mount namespace, for the same.
    pub(crate) mounts: Option<Fd>,
    /// Which processors it is to run on, if it was set aside for its beginning.
    home: Option<&'a Processors>,
    /// A network that a helper makes, and the step that asked for it.
    aside: Option<(&'static Aside, u32)>,
    /// What a helper used is in no account of the program's.
    pub(crate) before: Rusage,
    /// How long each step took.
    pub(crate) laps: Laps,
    /// Index of the next step.
    index: u32,
}

impl<'a> Cell<'a> {
    pub(crate) fn new(laps: Laps, home: Option<&'a Processors>) -> Self {
        Self {
            fds: [Fd(-1); MAX_FDS],
            count: 0,
            root: Fd::CWD,
            ruleset: None,
            changes: None,
            shared: None,
            proc: None,
            host_proc: None,
            mounts: None,
            home,
            aside: None,
            before: Rusage::default(),
            laps,
            index: 0,
        }
    }

    /// Does the steps that depend on no job.
    pub(crate) fn begin(&mut self, prelude: &Prelude) -> core::result::Result<(), StepError> {
        self.home = self.home.filter(|_| prelude.helped);
        self.laps.start();
        prelude.steps().iter().flatten().try_for_each(|step| self.do_one(step))
    }

    /// Does the first steps of a list, which need no descriptors.
    pub(crate) fn open(&mut self, list: &[u8]) -> core::result::Result<(), StepError> {
        if let Some((aside, _)) = self.aside {
            aside.offer();
        }
        self.laps.start();
        let mut reader = Reader::new(list);
        while !reader.is_empty() {
            let index = self.index;
            let step = Step::decode(&mut reader).ok_or(StepError { index, errno: Errno::PROTO })?;
            self.do_one(&step)?;
        }
        Ok(())
    }

    /// Does the steps of a list in their order; the descriptors are those that came with it.
    pub(crate) fn build(&mut self, list: &[u8]) -> core::result::Result<(), StepError> {
        self.open(list)?;
        let left = self.fds.iter().take(self.count).filter(|&&fd| fd != Fd(-1));
        left.for_each(|&fd| sys::close(fd));
        self.count = 0;
        match self.aside {
            // It would be in its maker's still.
            Some((_, index)) => Err(StepError { index, errno: Errno::PROTO }),
            None => Ok(()),
        }
    }

    fn do_one(&mut self, step: &Step<'_>) -> core::result::Result<(), StepError> {
        let index = self.index;
        if matches!(step, Step::JoinNetwork {}) {
            self.join_network()?;
        } else {
            self.apply(step).map_err(|errno| StepError { index, errno })?;
        }
        self.laps.note();
        self.index = index.saturating_add(1);
        Ok(())
    }

    fn make_network(&mut self) -> Result<()> {
        self.aside = self.home.and_then(Aside::begin).map(|aside| (aside, self.index));
        match self.aside {
            Some(_) => Ok(()),
            None => sys::unshare(u64::from(nr::CLONE_NEWNET)),
        }
    }

    /// What failed is told of the step that would have failed without a helper.
    fn join_network(&mut self) -> core::result::Result<(), StepError> {
        let Some((aside, asked)) = self.aside.take() else { return Ok(()) };
        let error = |index, errno| Err(StepError { index, errno });
        match aside.join() {
            Ok(()) => {
                self.before = sys::rusage_children();
                Ok(())
            }
            Err(NoNetwork::Namespace(errno)) => error(asked, errno),
            Err(NoNetwork::Loopback(errno)) => error(asked.saturating_add(1), errno),
        }
    }

    fn apply(&mut self, step: &Step<'_>) -> Result<()> {
        match *step {
            Step::JoinCgroup { fd } => {
                let group = self.take_fd(fd)?;
                let joined = sys::write(group, b"0").map(drop);
                sys::close(group);
                joined
            }
            Step::CheckCgroup { name, count } => membership::check(name, count),
            Step::CgroupNamespace {} => sys::unshare(u64::from(nr::CLONE_NEWCGROUP)),
            Step::MountNamespace {} => sys::unshare(u64::from(nr::CLONE_NEWNS)),
            Step::UtsNamespace {} => sys::unshare(u64::from(nr::CLONE_NEWUTS)),
            Step::IpcNamespace {} => sys::unshare(u64::from(nr::CLONE_NEWIPC)),
            Step::NetworkNamespace {} => self.make_network(),
            Step::SetIds { uid, gid, clear_groups } => set_ids(uid, gid, clear_groups),
            Step::NoRealTime {} => sys::leave_real_time(),
            Step::NonDumpable {} => sys::set_dumpable(false),
            Step::DieWithParent {} => sys::die_with_parent(),
            Step::UserLimit { path, value } => self.limit_user(path, value),
            Step::Hostname { name } => sys::set_hostname(name),
            // With whoever makes the network it comes up.
            Step::Loopback {} if self.aside.is_some() => Ok(()),
            Step::Loopback {} => sys::loopback_up(),
            Step::PrivateMounts {} => sys::make_mounts_private(),
            Step::Rlimit { resource, soft, hard } => sys::set_rlimit(resource, soft, hard),
            Step::BoundingSet {} => empty_bounding_set(),
            Step::DropCapabilities {} => sys::drop_capabilities(),
            Step::NoNewPrivs {} => sys::no_new_privileges(),
            Step::Subreaper {} => sys::adopt_orphans(),
            Step::Ruleset { fs, net, scoped } => {
                // Out of the way of the program's standard streams, which are set before it is used.
                let ruleset = sys::landlock_ruleset(fs, net, scoped)?;
                self.ruleset = Some(sys::dup_above(ruleset, 3)?);
                sys::close(ruleset);
                Ok(())
            }
            Step::Allow { path, access } => self.allow(path, access),
            Step::Filter { instructions, flags, .. } => sys::set_filter(instructions, flags),
            Step::ShareRoot {} => {
                self.shared = Some(sys::open(c"/", nr::O_PATH | nr::O_DIRECTORY)?);
                // Where it cannot be opened, files are collected only while the init lives.
                self.mounts = sys::open(c"/proc/self/ns/mnt", nr::O_RDONLY).ok();
                Ok(())
            }
            ref other => self.apply_to_root(other),
        }
    }

    fn apply_to_root(&mut self, step: &Step<'_>) -> Result<()> {
        match *step {
            Step::NewRoot { size, inodes } => self.new_root(size, inodes),
            Step::Mkdir { parent, name, mode } => self.make_directory(parent, name, mode),
            Step::Symlink { parent, name, target } => {
                self.within(parent, |dir| sys::symlink(target, dir, name))
            }
            Step::File { path, mode, data } => self.make_file(path, mode, data),
            Step::Touch { path } => sys::make_file(self.root, path),
            Step::ShareChanges { path } => {
                let flags = nr::O_PATH | nr::O_DIRECTORY;
                self.changes = Some(sys::open_beneath(self.root, path, flags, 0)?);
                Ok(())
            }
            Step::Proc {} => self.new_proc(),
            Step::ProcOfNobody {} => {
                self.host_proc = Some(sys::open(c"/proc", nr::O_PATH | nr::O_DIRECTORY)?);
                self.proc = Some(crate::template::proc_of_nobody()?);
                Ok(())
            }
            Step::ReadOnly { attributes } => sys::set_mount_attr_below(self.root, attributes),
            Step::SealRoot {} => {
                sys::set_mount_attr(self.root, u64::from(nr::MOUNT_ATTR_RDONLY), false)
            }
            Step::Pivot {} => {
                sys::pivot_here()?;
                sys::close(self.root);
                self.root = Fd::CWD;
                Ok(())
            }
            ref other => self.apply_to_mounts(other),
        }
    }

    fn apply_to_mounts(&mut self, step: &Step<'_>) -> Result<()> {
        match *step {
            Step::Bind { source, target, attributes, recursive, plain: true } => {
                bind_plainly(source, target, attributes, recursive)
            }
            Step::Bind { source, target, attributes, recursive, plain: false } => {
                let mount = sys::clone_tree(source, recursive)?;
                set_attributes(mount, attributes, recursive)?;
                self.attach(mount, target)?;
                // What is mounted on `/` came along, and that is the new root.
                if source == c"/" { sys::unmount(target) } else { Ok(()) }
            }
            Step::BindFd { fd, target, attributes } => {
                let mount = self.take_fd(fd)?;
                set_attributes(mount, attributes, true)?;
                self.attach(mount, target)
            }
            Step::Tmpfs { target, size, inodes, mode, attributes, plain } => {
                let options = [(c"size", size), (c"nr_inodes", inodes), (c"mode", mode)];
                if plain {
                    return mount_plainly(c"tmpfs", target, options, attributes);
                }
                let mount = sys::new_mount(c"tmpfs", options.into_iter(), attributes)?;
                self.attach(mount, target)
            }
            Step::Overlay { lower, upper, work, target, attributes } => {
                // The current directory is the new root, so relative paths lead there.
                sys::try_user_attribute(upper)?;
                let layers = [(c"lowerdir", lower), (c"upperdir", upper), (c"workdir", work)];
                let flags = [(c"userxattr", c""), (c"index", c"off")];
                let options = layers.into_iter().chain(flags);
                let mount = sys::new_mount(c"overlay", options, attributes)?;
                self.attach(mount, target)
            }
            Step::ShowProc { target, attributes } => {
                let mount = self.proc.take().ok_or(Errno::INVAL)?;
                set_attributes(mount, attributes, false)?;
                self.attach_plainly(mount, target)
            }
            Step::Devpts { target } => devpts(target),
            Step::Mask { path, with, attributes, plain: true } => {
                bind_plainly(with, path, attributes, false)
            }
            Step::Mask { path, with, attributes, plain: false } => {
                self.mask(path, with, attributes)
            }
            Step::Detach { path } => sys::detach(self.root, path),
            _ => Err(Errno::INVAL),
        }
    }

    /// Hands a received descriptor over: whoever takes it closes it, and nobody gets it twice.
    fn take_fd(&mut self, index: u32) -> Result<Fd> {
        let index = usize::try_from(index).map_err(|_| Errno::INVAL)?;
        let received = self.fds.get_mut(..self.count).and_then(|fds| fds.get_mut(index));
        match received {
            Some(fd) if *fd != Fd(-1) => Ok(core::mem::replace(fd, Fd(-1))),
            _ => Err(Errno::INVAL),
        }
    }

    /// The new root covers the old one at the same place: a path from `/` starts below the cover.
    fn new_root(&mut self, size: &CStr, inodes: &CStr) -> Result<()> {
        let options = [(c"size", size), (c"nr_inodes", inodes), (c"mode", c"755")];
        let attributes = u64::from(nr::MOUNT_ATTR_NOSUID | nr::MOUNT_ATTR_NODEV);
        let mount = sys::new_mount(c"tmpfs", options.into_iter(), attributes)?;
        let slash = sys::open(c"/", nr::O_PATH | nr::O_DIRECTORY)?;
        sys::attach(mount, slash)?;
        sys::close(slash);
        sys::fchdir(mount)?;
        self.root = mount;
        Ok(())
    }

    fn within(&self, parent: &CStr, make: impl FnOnce(Fd) -> Result<()>) -> Result<()> {
        if parent.is_empty() {
            return make(self.root);
        }
        let dir = sys::open_beneath(self.root, parent, nr::O_PATH | nr::O_DIRECTORY, 0)?;
        let made = make(dir);
        sys::close(dir);
        made
    }

    fn make_directory(&self, parent: &CStr, name: &CStr, mode: u32) -> Result<()> {
        match self.within(parent, |dir| sys::mkdir(dir, name, mode)) {
            Err(Errno::EXIST) => Ok(()),
            other => other,
        }
    }

    fn make_file(&self, path: &CStr, mode: u32, mut data: &[u8]) -> Result<()> {
        let flags = nr::O_CREAT | nr::O_EXCL | nr::O_WRONLY;
        let file = sys::open_beneath(self.root, path, flags, mode)?;
        while !data.is_empty() {
            let written = sys::write(file, data)?;
            data = data.get(written..).unwrap_or(&[]);
        }
        sys::close(file);
        Ok(())
    }

    /// Attaches a mount below a tree of the host, where somebody may have put a link.
    fn attach(&self, mount: Fd, target: &CStr) -> Result<()> {
        let target = sys::open_beneath(self.root, target, nr::O_PATH, 0)?;
        let attached = sys::attach(mount, target);
        sys::close(target);
        sys::close(mount);
        attached
    }

    /// Attaches a mount where all directories on the way were made here, a moment ago.
    fn attach_plainly(&self, mount: Fd, target: &CStr) -> Result<()> {
        let attached = sys::attach_at(mount, self.root, target);
        sys::close(mount);
        attached
    }

    fn new_proc(&mut self) -> Result<()> {
        // Processes that the program may not inspect are not there for it: the init, whose command
        // line is the supervisor's (proc(5), since Linux 5.8).
        let hide = [(c"hidepid", c"ptraceable")];
        let made = match sys::new_mount(c"proc", hide.into_iter(), 0) {
            // Where the one in sight is read-only a new one has to be so from the start.
            Err(Errno::PERM) => {
                let read_only = u64::from(nr::MOUNT_ATTR_RDONLY);
                sys::new_mount(c"proc", hide.into_iter(), read_only)
            }
            made => made,
        };
        self.proc = Some(made?);
        Ok(())
    }

    /// A container shows `/proc/sys` read-only, or not at all.
    fn limit_user(&self, path: &CStr, value: &[u8]) -> Result<()> {
        let opened = match self.proc {
            Some(proc) => sys::open_within(proc, path, nr::O_WRONLY, 0),
            None => sys::open(path, nr::O_WRONLY),
        };
        match opened {
            Ok(file) => {
                let written = sys::write(file, value).map(drop);
                sys::close(file);
                written
            }
            Err(Errno::NOENT | Errno::ROFS | Errno::ACCES) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn mask(&self, path: &CStr, with: &CStr, attributes: u64) -> Result<()> {
        // The current directory is the new root, so a relative path leads there.
        let mount = sys::clone_tree(with, false)?;
        set_attributes(mount, attributes, false)?;
        self.attach_plainly(mount, path)
    }

    fn allow(&self, path: &CStr, access: u64) -> Result<()> {
        let ruleset = self.ruleset.ok_or(Errno::INVAL)?;
        let beneath = sys::open(path, nr::O_PATH)?;
        let allowed = sys::landlock_allow(ruleset, access, beneath);
        sys::close(beneath);
        allowed
    }
}

fn set_attributes(mount: Fd, attributes: u64, recursive: bool) -> Result<()> {
    if attributes == 0 { Ok(()) } else { sys::set_mount_attr(mount, attributes, recursive) }
}

// The current directory is the new root, so relative paths lead there.

fn bind_plainly(source: &CStr, target: &CStr, attributes: u64, recursive: bool) -> Result<()> {
    // What is a mount already, and only to have attributes, need not become another.
    let is_given = attributes != 0 && source == target;
    if is_given && sys::set_mount_attr_at(target, attributes, recursive).is_ok() {
        return Ok(());
    }
    sys::bind(source, target, recursive)?;
    if attributes == 0 {
        return Ok(());
    }
    sys::set_mount_attr_at(target, attributes, recursive)
}

fn mount_plainly(
    kind: &CStr,
    target: &CStr,
    options: [(&CStr, &CStr); 3],
    attributes: u64,
) -> Result<()> {
    let mut text = Buffer::<128>::new();
    for (key, value) in options {
        text.put(key.to_bytes());
        text.put(b"=");
        text.put(value.to_bytes());
        text.put(b",");
    }
    text.put(b"\0");
    let text = CStr::from_bytes_with_nul(text.bytes()).map_err(|_| Errno::INVAL)?;
    sys::mount_at(kind, target, text, attributes)
}

fn devpts(target: &CStr) -> Result<()> {
    // All instances share one number of terminals, `kernel.pty.max`.
    let options = [(c"ptmxmode", c"0666"), (c"mode", c"0620"), (c"max", c"64")];
    let attributes = u64::from(nr::MOUNT_ATTR_NOSUID | nr::MOUNT_ATTR_NOEXEC);
    mount_plainly(c"devpts", target, options, attributes)
}

fn set_ids(uid: u32, gid: u32, clear_groups: bool) -> Result<()> {
    if clear_groups {
        sys::clear_groups()?;
    }
    sys::set_gid(gid)?;
    sys::set_uid(uid)
}

fn empty_bounding_set() -> Result<()> {
    // NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, and all four locked (capabilities(7)).
    const SECUREBITS: u8 = 0b1110_1111;
    sys::empty_bounding_set()?;
    sys::clear_ambient_set()?;
    sys::set_securebits(SECUREBITS)
}
