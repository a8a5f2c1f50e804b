//! A cell that gets no program.
//!
//! The inits of other cells of its kind are cloned in it. They find there what does not change from
//! one to the next and what takes longest to make: a root, read-only, with all that it shows of the
//! host, and a network. What a program can write to or is counted by is their own: user, mount,
//! process, IPC and UTS namespaces, `/proc`, terminals, and every memory file system that is not
//! read-only. Mounts that come from a template cannot be taken away by those who come after, because
//! their user namespaces are below its own (`mount_namespaces(7)`, "locked").
//!
//! It stands until its supervisor hangs up. What was made in it does not depend on it: it has no
//! process namespace, or its end would be that of all below, and the inits are its siblings.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicI32, AtomicU32};

use linux_raw_sys::general as nr;

use crate::launch::{LaunchStep, Parting, UNMOUNTS};
pub use crate::networks::Lent;
use crate::networks::Networks;
use crate::sys::{self, Errno, Fd};
use crate::zygote::{self, Cloner, Refused, Request};

/// What an init needs: a stack for its program's start, a list of steps, and the time of each.
const RESERVE: usize = 192 << 10;

/// Lives the life of a template; `socket` is a packet socket to its supervisor, and `proc` the process
/// file system that shows it and its siblings. What it has in sight itself shows nobody.
pub fn main(socket: Fd, proc: Fd, lent: Lent) -> ! {
    sys::set_name(c"fumehood-templ");
    let Ok((socket, proc)) = keep(socket, proc) else { sys::exit(1) };
    let Ok(parting) = Parting::new(proc) else { sys::exit(1) };
    // Where unmounts cannot be told, networks are used once.
    let lent = if lent == Lent::Unheld && tell_unmounts().is_err() { Lent::Once } else { lent };
    // For the inits: what they take of it costs less than what they ask for themselves.
    let _ = sys::reserve(RESERVE);
    zygote::answer_requests(socket, &mut Template { parting, proc, lent, networks: None })
}

struct Template {
    parting: Parting,
    proc: Fd,
    lent: Lent,
    networks: Option<Networks>,
}

impl Cloner for Template {
    /// Who may have an init born in a group of version 2 is no template.
    fn clone(&mut self, request: &Request<'_>, line: Fd, _: Option<Fd>) -> Result<(), Refused> {
        let network = u64::from(nr::CLONE_NEWNET);
        let own = Request { flags: request.flags & !network, ..*request };
        if request.flags & network == 0 {
            self.clone_here(&own, line, None).map(sys::close)
        } else {
            self.clone_in_network(&own, line)
        }
    }

    fn rest(&mut self, socket: Fd) {
        if let Some(networks) = &mut self.networks {
            networks.rest(socket);
        }
    }
}

impl Template {
    fn clone_here(
        &self,
        request: &Request<'_>,
        line: Fd,
        said: Option<&'static AtomicU32>,
    ) -> Result<Fd, Refused> {
        visibly(|| zygote::clone_parting(request, line, &self.parting, said))
    }

    fn clone_in_network(&mut self, request: &Request<'_>, line: Fd) -> Result<(), Refused> {
        let refused = |errno| (LaunchStep::Network, errno);
        let index = self.networks().and_then(Networks::enter_one).map_err(refused)?;
        let said = self.networks().map_err(refused)?.said(index);
        let cloned = self.clone_here(request, line, said);
        let networks = self.networks().map_err(refused)?;
        networks.leave().map_err(refused)?;
        match cloned {
            Ok(init) => networks.lend(index, init),
            Err(_) => networks.take_back(index),
        }
        cloned.map(drop)
    }

    /// Whoever has the host's network has none of ours.
    fn networks(&mut self) -> sys::Result<&mut Networks> {
        match &mut self.networks {
            Some(networks) => Ok(networks),
            none => Ok(none.insert(Networks::new(self.proc, self.lent)?)),
        }
    }
}

/// Closes all others. Between the two there is room for what an init takes along.
fn keep(socket: Fd, proc: Fd) -> sys::Result<(Fd, Fd)> {
    const PROC: Fd = Fd(3);
    let moved = sys::dup_above(proc, 4)?;
    sys::dup_onto(socket, Fd(0))?;
    sys::dup_onto(moved, PROC)?;
    sys::close_range(1, 2)?;
    sys::close_range(4, u32::MAX)?;
    Ok((Fd(0), PROC))
}

fn tell_unmounts() -> sys::Result<()> {
    let unmounts = sys::unmounts()?;
    if unmounts == UNMOUNTS {
        return Ok(());
    }
    sys::dup_onto(unmounts, UNMOUNTS)?;
    sys::close(unmounts);
    Ok(())
}

/// The id maps of a process that is undumpable belong to the host's root, and so cannot be written
/// here; a child is what its parent was when it was made, and soon sees to itself.
fn visibly<T>(act: impl FnOnce() -> Result<T, Refused>) -> Result<T, Refused> {
    let set = |dumpable| sys::set_dumpable(dumpable).map_err(|errno| (LaunchStep::Clone, errno));
    set(true)?;
    let acted = act();
    set(false)?;
    acted
}

/// What a process of a namespace of its own found out.
#[derive(Debug)]
struct Found {
    mount: AtomicI32,
    errno: AtomicI32,
}

/// The process file system of a namespace that nobody is in, or can get into any more.
///
/// # Errors
/// Those of `clone3(2)` and of mounting.
pub(crate) fn proc_of_nobody() -> sys::Result<Fd> {
    const STACK_LEN: usize = 16 << 10;
    let found = Found { mount: AtomicI32::new(-1), errno: AtomicI32::new(0) };
    sys::vfork_apart(sys::map(STACK_LEN)?, look, &found)?;
    // It has ended: descriptors, which it shared, are all that is left of it.
    let _ = sys::wait_any(true);
    match found.mount.load(Relaxed) {
        -1 => Err(Errno(found.errno.load(Relaxed))),
        mount => Ok(Fd(mount)),
    }
}

extern "C" fn look(found: &Found) -> ! {
    match sys::new_mount(c"proc", core::iter::empty(), 0) {
        Ok(mount) => found.mount.store(mount.0, Relaxed),
        Err(errno) => found.errno.store(errno.0, Relaxed),
    }
    sys::exit(0)
}
