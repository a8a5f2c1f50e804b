//! Who clones the init: this process itself, or a zygote on its behalf.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fumehood_child::launch::{IdMaps, Launch, LaunchStep, launch};
use fumehood_child::prelude::{NAMESPACES, Prelude};
use fumehood_child::wire::{Failure, Kind};
use fumehood_child::zygote::Request;
use fumehood_child::{Errno, Fd};
use linux_raw_sys::general as nr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::time::timeout;

use super::cell::hung_up;
use super::control::{self, Control};
use super::diagnose::Namespace;
use super::reap;
use super::template::Template;
use crate::plan::{Identity, Namespaces, Plan};
use crate::sabotage::{leaves_out, leaves_something_out};
use crate::zygote::Zygote;
use crate::{Error, Result, format_duration};

/// How long an init may take to be cloned, or to build its cell: milliseconds, or under great load seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Where inits come from.
#[derive(Clone, Debug)]
pub(crate) enum Launcher {
    /// The calling process is cloned. Its memory is copied on write and stays in the init for as
    /// long as the cell lives, so this is for small processes with nothing to hide: the command
    /// line.
    Direct,
    /// A small process that was started for it.
    Zygote(Arc<Mutex<Option<Zygote>>>),
    /// A cell that has what all cells of a kind show, and is none of them.
    Template(Arc<Template>),
}

/// An init that has not been told anything yet.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) control: Control,
    pub(crate) pid: i32,
    pub(crate) pidfd: Arc<OwnedFd>,
}

/// Why there is no init.
#[derive(Debug)]
pub(crate) enum NotLaunched {
    /// The kernel refused a step.
    Refused { step: LaunchStep, errno: Errno },
    /// Who was to clone it died before it answered.
    Died,
    /// There is no launcher, or it failed.
    Other(Error),
}

impl NotLaunched {
    pub(crate) fn died() -> Error {
        Error::internal("start an init", io::Error::other("the zygote died"))
    }
}

impl From<Error> for NotLaunched {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Launcher {
    /// Has an init cloned, in a control group of version 2 if there is one.
    pub(crate) fn begin(
        &self,
        shape: &Shape,
        group: Option<BorrowedFd<'_>>,
    ) -> Result<Pending, NotLaunched> {
        let (line, theirs) = sockets().map_err(|error| Error::internal("make a socket", error))?;
        match self {
            Self::Direct => {
                let spawned = direct(&theirs, shape, group)?;
                Ok(Pending { line, spawned: Some(spawned) })
            }
            Self::Zygote(zygote) => {
                with_zygote(zygote, &shape.request(), theirs.as_fd(), group)?;
                Ok(Pending { line, spawned: None })
            }
            Self::Template(template) => {
                if group.is_some() {
                    // Only who may write to a group may have somebody born in it.
                    let source = io::Error::from(io::ErrorKind::Unsupported);
                    return Err(Error::internal("clone into a control group", source).into());
                }
                let asked = template.request(&shape.request(), theirs.as_fd());
                asked.map_err(|error| Error::internal("ask a template", error))?;
                Ok(Pending { line, spawned: None })
            }
        }
    }

    /// Waits for an init that was asked for with these words. Where the zygote died before it answered, another is
    /// asked, once: so far nothing was done that must not be done twice.
    ///
    /// # Errors
    /// Why there is no init.
    pub(crate) async fn told(
        &self,
        pending: Pending,
        shape: &Shape,
        group: Option<BorrowedFd<'_>>,
        (kind, body): (Kind, &[u8]),
        fds: &[BorrowedFd<'_>],
    ) -> Result<Init, NotLaunched> {
        match pending.init_told(kind, body, fds).await {
            Err(NotLaunched::Died) if matches!(self, Self::Zygote(_)) => {
                self.begin(shape, group)?.init_told(kind, body, fds).await
            }
            init => init,
        }
    }

    /// Tries one kind of namespace, inside a user namespace of its own where it is another kind.
    /// The init that comes of it ends at once, because its line closes.
    ///
    /// # Errors
    /// The kernel's refusal to clone.
    pub(crate) async fn try_kind(&self, kind: Namespace) -> Result<(), NotLaunched> {
        let flags = Namespace::User.flag() | kind.flag();
        let shape = Shape { flags, maps: None, prelude: None };
        self.begin(&shape, None)?.init().await.map(drop)
    }

    /// Makes a user namespace with these maps of user and group ids, for mounts to be mapped by. It
    /// lasts as long as the descriptor.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn user_namespace(&self, maps: [String; 2]) -> Result<OwnedFd, String> {
        let [uid, gid] = maps;
        let maps = Some(Maps { uid, gid, deny_setgroups: false });
        let shape = Shape { flags: Namespace::User.flag(), maps, prelude: None };
        let init = match self.begin(&shape, None) {
            Ok(pending) => pending.init().await,
            Err(error) => Err(error),
        };
        let init = init.map_err(|error| match error {
            NotLaunched::Refused { step, errno } => {
                format!("{}: {}", step.name(), io::Error::from_raw_os_error(errno.0))
            }
            NotLaunched::Died => NotLaunched::died().to_string(),
            NotLaunched::Other(error) => error.to_string(),
        })?;
        // The init waits for its steps; it ends when its line closes, which it does here.
        let namespace = std::fs::File::open(format!("/proc/{}/ns/user", init.pid));
        namespace.map(OwnedFd::from).map_err(|error| error.to_string())
    }
}

/// An init that has been asked for. There need not be a runtime yet.
#[derive(Debug)]
pub(crate) struct Pending {
    line: OwnedFd,
    /// Its process id and pidfd; none where the launcher will tell.
    pub(super) spawned: Option<(i32, Arc<OwnedFd>)>,
}

impl Pending {
    /// Says something to it before there is a runtime.
    ///
    /// # Errors
    /// What kept all of it or a part from being said.
    pub(super) fn tell(&self, kind: Kind, body: &[u8]) -> io::Result<()> {
        control::send_at_once(self.line.as_fd(), kind, body, &[])
    }

    /// Waits until it is there.
    pub(crate) async fn init(self) -> Result<Init, NotLaunched> {
        let control = watched(self.line)?;
        match self.spawned {
            Some((pid, pidfd)) => Ok(Init { control, pid, pidfd }),
            None => spawned(control).await,
        }
    }

    /// The same, with something said to it before it is there: it begins without waiting for us to hear of
    /// it first.
    async fn init_told(
        self,
        kind: Kind,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Init, NotLaunched> {
        let control = watched(self.line)?;
        match control.send(kind, body, fds).await {
            // Why nobody listens is still to be heard.
            Err(error) if hung_up(&error) => {}
            said => said.map_err(|error| Error::internal("tell an init", error))?,
        }
        match self.spawned {
            Some((pid, pidfd)) => Ok(Init { control, pid, pidfd }),
            None => spawned(control).await,
        }
    }
}

fn watched(line: OwnedFd) -> Result<Control> {
    Control::new(line).map_err(|error| Error::internal("watch a socket", error))
}

/// What an init is like when it begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    flags: u64,
    maps: Option<Maps>,
    prelude: Option<Prelude>,
}

impl Shape {
    pub(crate) fn of(plan: &Plan) -> Self {
        Self::new(plan.namespaces, plan.identity)
    }

    /// That of a plan with these namespaces, for that program.
    pub(super) fn new(namespaces: Namespaces, identity: Identity) -> Self {
        Self {
            // The init makes the others itself.
            flags: clone_flags(namespaces) & !NAMESPACES,
            maps: namespaces.base.then(|| Maps::new(identity)),
            prelude: prelude_of(namespaces, identity).filter(|_| !leaves_something_out()),
        }
    }

    /// That of an init which becomes a template for cells of that plan. It has no process namespace,
    /// which would end with it, and with everybody below.
    pub(crate) fn of_template(plan: &Plan) -> Self {
        let shape = Self::of(plan);
        Self { flags: shape.flags & !u64::from(nr::CLONE_NEWPID), ..shape }
    }

    /// That of an init which is cloned in a template: who it is there it is in its own namespace.
    pub(crate) fn in_template(plan: &Plan) -> Self {
        let Identity { uid, gid, .. } = plan.identity;
        let identity = Identity { host_uid: uid, host_gid: gid, ..plan.identity };
        Self {
            flags: clone_flags(plan.namespaces),
            // What is denied in the template's namespace is denied in those below it.
            maps: Some(Maps { deny_setgroups: false, ..Maps::new(identity) }),
            prelude: prelude_in_template(plan),
        }
    }

    /// For an init that is home to a tool. An ordinary user's is root of a user namespace that has
    /// this user and nobody else; root's has all that root has.
    pub(crate) fn home(user: Option<(u32, u32)>) -> Self {
        let kinds = nr::CLONE_NEWNS | nr::CLONE_NEWPID | nr::CLONE_NEWIPC | nr::CLONE_NEWUTS;
        let maps = user.map(|(uid, gid)| Maps {
            uid: format!("0 {uid} 1\n"),
            gid: format!("0 {gid} 1\n"),
            deny_setgroups: true,
        });
        let own = if maps.is_some() { nr::CLONE_NEWUSER } else { 0 };
        Self { flags: u64::from(kinds | own), maps, prelude: None }
    }

    fn request(&self) -> Request<'_> {
        let maps = self.maps.as_ref();
        // Whoever clones it may end without it; its parent is who does not end before the owner.
        let sibling = if leaves_out("siblings") { 0 } else { u64::from(nr::CLONE_PARENT) };
        Request {
            flags: self.flags | sibling,
            maps_ids: maps.is_some(),
            uid_map: maps.map_or(b"", |maps| maps.uid.as_bytes()),
            gid_map: maps.map_or(b"", |maps| maps.gid.as_bytes()),
            deny_setgroups: maps.is_some_and(|maps| maps.deny_setgroups),
            prelude: self.prelude,
        }
    }
}

/// What the init does first, where it has namespaces to do it in.
pub(super) fn prelude(plan: &Plan) -> Option<Prelude> {
    prelude_of(plan.namespaces, plan.identity)
}

fn prelude_of(namespaces: Namespaces, identity: Identity) -> Option<Prelude> {
    namespaces.base.then_some(Prelude {
        namespaces: clone_flags(namespaces) & NAMESPACES,
        uid: identity.uid,
        gid: identity.gid,
        clear_groups: identity.by_root,
        own_processes: namespaces.pid,
        own_network: namespaces.net && !leaves_out("net"),
        helped: may_be_helped(identity),
        own_root: true,
    })
}

/// Whether the launcher's processor idles while the init makes its root. Root's makes control groups all
/// that time.
const fn may_be_helped(identity: Identity) -> bool {
    // That there is help must be tested as root, too.
    cfg!(test) || !identity.by_root
}

/// What it does first in a template, which has a root and a network for it.
pub(super) fn prelude_in_template(plan: &Plan) -> Option<Prelude> {
    prelude(plan).map(|prelude| Prelude {
        namespaces: 0,
        own_network: false,
        own_root: false,
        ..prelude
    })
}

fn sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

fn clone_flags(namespaces: Namespaces) -> u64 {
    // Not the control group namespace: its root is the group of whoever makes it, so the init makes
    // its own when it is where it belongs.
    const BASE: u32 = nr::CLONE_NEWUSER | nr::CLONE_NEWNS | nr::CLONE_NEWUTS;
    let chosen = [
        (namespaces.base, BASE),
        (namespaces.ipc && !leaves_out("ipc"), nr::CLONE_NEWIPC),
        (namespaces.pid, nr::CLONE_NEWPID),
        (namespaces.net && !leaves_out("net"), nr::CLONE_NEWNET),
    ];
    let flags = chosen.into_iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| u64::from(flag));
    flags.sum()
}

/// The id maps of a cell's user namespace, as text.
#[derive(Debug, PartialEq, Eq)]
struct Maps {
    uid: String,
    gid: String,
    deny_setgroups: bool,
}

impl Maps {
    fn new(identity: Identity) -> Self {
        Self {
            uid: format!("{} {} 1\n", identity.uid, identity.host_uid),
            gid: format!("{} {} 1\n", identity.gid, identity.host_gid),
            deny_setgroups: !identity.by_root,
        }
    }
}

fn direct(
    theirs: &OwnedFd,
    shape: &Shape,
    group: Option<BorrowedFd<'_>>,
) -> Result<(i32, Arc<OwnedFd>), NotLaunched> {
    let ids = shape.maps.as_ref().map(|maps| IdMaps {
        uid: maps.uid.as_bytes(),
        gid: maps.gid.as_bytes(),
        deny_setgroups: maps.deny_setgroups,
    });
    let socket = Fd(theirs.as_raw_fd());
    let refused = |(step, errno)| NotLaunched::Refused { step, errno };
    let cgroup = group.map(|group| Fd(group.as_raw_fd()));
    let Shape { flags, prelude, .. } = *shape;
    // A helper would do some of what is to be left out.
    let aside = !leaves_something_out();
    let spawned =
        launch(&Launch { flags, ids, cgroup, socket, prelude, aside }).map_err(refused)?;
    let pid = spawned.pid;
    let pidfd = Arc::new(own(spawned.pidfd));
    let released = spawned.release();
    // It has begun, so that this keeps nobody waiting.
    reap::remember(Arc::clone(&pidfd));
    released.map_err(|errno| refused((LaunchStep::Message, errno)))?;
    Ok((pid, pidfd))
}

#[expect(unsafe_code, reason = "a raw descriptor becomes an owned one")]
fn own(fd: Fd) -> OwnedFd {
    // SAFETY: the kernel just returned this descriptor to `launch`, which gives it up to its
    // caller; nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd.0) }
}

/// Sends a request, starting the zygote first if there is none or the last one has died.
fn with_zygote(
    zygote: &Mutex<Option<Zygote>>,
    request: &Request<'_>,
    socket: BorrowedFd<'_>,
    group: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let internal = |error| Error::internal("ask the zygote", error);
    let mut zygote = zygote.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = zygote.as_ref() {
        match known.request(request, socket, group) {
            Err(error) if has_died(&error) => {}
            // Of a zygote that lives: with it would end everything that it cloned.
            asked => return asked.map_err(internal),
        }
    }
    let fresh = zygote.insert(Zygote::start()?);
    fresh.request(request, socket, group).map_err(internal)
}

/// Whether nobody has the other end of a packet socket, by what sending to it says (`unix(7)`). That
/// descriptors cannot be sent says nothing of it: a program can bring that about (`ETOOMANYREFS`).
fn has_died(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

/// What the zygote answers over the init's own line.
async fn spawned(mut control: Control) -> Result<Init, NotLaunched> {
    let Ok(received) = timeout(PATIENCE, control.receive()).await else {
        let said = format!("the zygote did not answer within {}", format_duration(PATIENCE));
        return Err(Error::internal("start an init", io::Error::other(said)).into());
    };
    let message = received
        .map_err(|error| Error::internal("listen to the zygote", error))?
        .ok_or(NotLaunched::Died)?;
    match (message.kind, message.fd) {
        (Kind::Spawned, Some(pidfd)) => {
            let pid = message.body.try_into().map_or(0, i32::from_le_bytes);
            Ok(Init { control, pid, pidfd: Arc::new(pidfd) })
        }
        _ => {
            let failure = Failure::decode(&message.body).ok_or_else(NotLaunched::died)?;
            let step = LaunchStep::from_number(failure.index);
            Err(NotLaunched::Refused { step, errno: Errno(failure.errno) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zygote;

    /// More than one packet can hold, so the kernel refuses to send it (`EMSGSIZE`).
    #[test]
    fn a_zygote_that_lives_is_kept_whatever_cannot_be_sent() {
        let (ours, theirs) = zygote::packets().unwrap();
        let number = ours.as_raw_fd();
        let zygote = Mutex::new(Some(Zygote::fake(ours)));
        let too_long = vec![b' '; 8 << 20];
        let request = Request {
            flags: 0,
            maps_ids: true,
            uid_map: &too_long,
            gid_map: b"",
            deny_setgroups: false,
            prelude: None,
        };
        let failed = with_zygote(&zygote, &request, theirs.as_fd(), None).unwrap_err();
        assert!(failed.to_string().contains("ask the zygote"), "{failed}");
        let kept = zygote.lock().unwrap();
        assert_eq!(kept.as_ref().map(|kept| kept.as_fd().as_raw_fd()), Some(number));
    }

    /// What was asked of it is asked of another, which there may be none to start from here.
    #[tokio::test]
    async fn a_zygote_that_dies_before_it_answers_loses_no_request() {
        let (ours, theirs) = zygote::packets().unwrap();
        let launcher = Launcher::Zygote(Arc::new(Mutex::new(Some(Zygote::fake(ours)))));
        let shape = Shape::home(None);
        let pending = launcher.begin(&shape, None).unwrap();
        // With it goes the request that it has not read, and the init's end of the line.
        drop(theirs);
        let told = launcher.told(pending, &shape, None, (Kind::Cell, b""), &[]).await;
        assert!(!matches!(told, Err(NotLaunched::Died)), "{told:?}");
    }

    /// The clock runs ahead as soon as there is nothing else to do.
    #[tokio::test(start_paused = true)]
    async fn a_zygote_that_does_not_answer_is_given_up() {
        let (ours, theirs) = zygote::packets().unwrap();
        let launcher = Launcher::Zygote(Arc::new(Mutex::new(Some(Zygote::fake(ours)))));
        let shape = Shape::home(None);
        let pending = launcher.begin(&shape, None).unwrap();
        let told = launcher.told(pending, &shape, None, (Kind::Cell, b""), &[]);
        let told = timeout(60 * PATIENCE, told).await.expect("it is given up");
        assert!(format!("{told:?}").contains("within 30s"), "{told:?}");
        drop(theirs);
    }

    #[test]
    fn a_zygote_that_nobody_listens_to_has_died() {
        let (ours, theirs) = zygote::packets().unwrap();
        drop(theirs);
        let sent = rustix::net::send(&ours, b"?", rustix::net::SendFlags::NOSIGNAL);
        assert!(has_died(&sent.unwrap_err().into()));
    }
}
