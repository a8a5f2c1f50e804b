//! A cell that gets no program.
//!
//! The inits of other cells of its kind are cloned in it. They find there what does not change from
//! one to the next and what takes longest to make: a root, read-only, with all that it shows of the
//! host, and a network. What a program can write to or is counted by is their own: user, mount,
//! process, IPC and UTS namespaces, `/proc`, terminals, and every memory file system that is not
//! read-only. Mounts that come from a template cannot be taken away by those who come after, because
//! their user namespaces are below its own (`mount_namespaces(7)`, "locked").
//!
//! It stands until its supervisor hangs up, and as process 1 takes every cell with it that is left.

use linux_raw_sys::{general as nr, prctl as pr};

use crate::launch::{LaunchStep, Parting};
use crate::networks::Networks;
use crate::sys::{self, Fd};
use crate::zygote::{self, Refused, Request};

/// What an init needs: a stack for its program's start, a list of steps, and the time of each.
const RESERVE: usize = 192 << 10;

/// Lives the life of a template; `socket` is a packet socket to its supervisor.
pub fn main(socket: Fd) -> ! {
    // Children are reaped by the kernel.
    sys::ignore_signal(nr::SIGCHLD);
    let socket = sys::keep_only(socket);
    let Ok(parting) = Parting::new() else { sys::exit(1) };
    // For the inits: what they take of it costs less than what they ask for themselves.
    let _ = sys::reserve(RESERVE);
    let mut networks = None;
    // Who may have an init born in a group of version 2 is no template.
    zygote::answer_requests(socket, |request, line, _| {
        clone(&parting, &mut networks, request, line)
    })
}

fn clone(
    parting: &Parting,
    networks: &mut Option<Networks>,
    request: &Request<'_>,
    line: Fd,
) -> Result<(), Refused> {
    let wants_network = request.flags & u64::from(nr::CLONE_NEWNET) != 0;
    let request = Request { flags: request.flags & !u64::from(nr::CLONE_NEWNET), ..*request };
    if !wants_network {
        return visibly(|| zygote::clone_parting(&request, line, parting)).map(sys::close);
    }
    let network = |errno| (LaunchStep::Network, errno);
    let networks = match networks {
        Some(networks) => networks,
        // Whoever has the host's network has none of ours.
        None => networks.insert(Networks::new().map_err(network)?),
    };
    let index = networks.enter_one().map_err(network)?;
    let cloned = visibly(|| zygote::clone_parting(&request, line, parting));
    networks.leave().map_err(network)?;
    match cloned {
        Ok(init) => networks.lend(index, init),
        Err(_) => networks.take_back(index),
    }
    cloned.map(drop)
}

/// The id maps of a process that is undumpable belong to the host's root, and so cannot be written
/// here; a child is what its parent was when it was made, and soon sees to itself.
fn visibly<T>(act: impl FnOnce() -> Result<T, Refused>) -> Result<T, Refused> {
    let set = |value| {
        sys::prctl(pr::PR_SET_DUMPABLE, value, 0).map_err(|errno| (LaunchStep::Clone, errno))
    };
    set(1)?;
    let acted = act();
    set(0)?;
    acted
}
