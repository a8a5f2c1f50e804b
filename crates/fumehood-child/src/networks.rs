//! Network namespaces that are used again.
//!
//! Making and removing one is the dearest part of a cell, and the kernel does it for one at a time.
//! They belong to the template's user namespace, so nobody in a cell has a right to change anything
//! in them: neither addresses nor routes, filters or settings. What is left that a program could
//! leave behind are sockets that outlive it, because somebody else holds them, and traces of what it
//! sent. So one is lent again only if everybody who was in it has ended, and if everything that the
//! kernel counts in it is what it was when it was new: no socket, no packet, no flow label. A network
//! through which anything was sent is thus never used twice.

use core::ffi::CStr;

use linux_raw_sys::general as nr;

use crate::sys::{self, Errno, Fd, PollFd, Result};

/// How many there are at most, and so how many cells a template has at a time.
const MAX: usize = 128;

/// What tells whether anything happened in a network, below `/proc/self/net`. Of the first only the
/// line with the number of sockets is about this network and not about the host.
const WITNESSES: [&CStr; 6] = [
    c"/proc/self/net/sockstat",
    c"/proc/self/net/dev",
    c"/proc/self/net/snmp",
    c"/proc/self/net/netstat",
    c"/proc/self/net/snmp6",
    c"/proc/self/net/ip6_flowlabel",
];

/// Longer than what all witnesses say together.
const TESTIMONY: usize = 64 << 10;

struct Network {
    namespace: Fd,
    witnesses: [Fd; WITNESSES.len()],
    /// The init that it is lent to.
    user: Option<Fd>,
}

/// All networks of a template.
pub(crate) struct Networks {
    /// Where the template is itself.
    home: Fd,
    slots: [Option<Network>; MAX],
    /// What the witnesses of a new network say.
    pristine: Testimony,
}

impl Networks {
    pub(crate) fn new() -> Result<Self> {
        let home = Network::here()?;
        let mut pristine = Testimony { bytes: sys::map(TESTIMONY)?, len: 0 };
        home.hear(|said| pristine.add(said))?;
        let slots = [const { None }; MAX];
        Ok(Self { home: home.namespace, slots, pristine })
    }

    /// Enters a network that nobody is in, and says which.
    ///
    /// # Errors
    /// `EUSERS` if there are as many as there may be, and those of `unshare(2)`.
    pub(crate) fn enter_one(&mut self) -> Result<usize> {
        let Self { slots, pristine, .. } = self;
        slots.iter_mut().for_each(|slot| take_back(slot, pristine));
        if let Some((slot, network)) = self.slots.iter().enumerate().find_map(idle) {
            sys::enter(network, nr::CLONE_NEWNET)?;
            return Ok(slot);
        }
        let free = self.slots.iter_mut().enumerate().find(|(_, slot)| slot.is_none());
        let (index, slot) = free.ok_or(Errno::USERS)?;
        sys::unshare(u64::from(nr::CLONE_NEWNET))?;
        *slot = Some(Network::here()?);
        Ok(index)
    }

    /// Goes back to where the template is itself.
    pub(crate) fn leave(&self) -> Result<()> {
        sys::enter(self.home, nr::CLONE_NEWNET)
    }

    /// Remembers which init, by its pidfd, is in a network.
    pub(crate) fn lend(&mut self, slot: usize, init: Fd) {
        match self.slots.get_mut(slot) {
            Some(Some(network)) => network.user = Some(init),
            _ => sys::close(init),
        }
    }
}

fn idle((index, slot): (usize, &Option<Network>)) -> Option<(usize, Fd)> {
    slot.as_ref().filter(|network| network.user.is_none()).map(|found| (index, found.namespace))
}

/// Has a network be there for others when everybody who was in it has ended, if it is like new; lets
/// go of it if not.
fn take_back(slot: &mut Option<Network>, pristine: &Testimony) {
    let Some(network) = slot else { return };
    let Some(init) = network.user else { return };
    if !has_ended(init) {
        return;
    }
    sys::close(init);
    network.user = None;
    if network.says(pristine) != Ok(true) {
        network.close();
        *slot = None;
    }
}

/// The end of an init is the end of everybody in its process namespace; it is told when the last of
/// them is gone (`pid_namespaces(7)`).
fn has_ended(init: Fd) -> bool {
    let mut watched = [PollFd::readable(init)];
    matches!(sys::poll_now(&mut watched), Ok(1))
}

impl Network {
    /// The one that this process has just made.
    fn here() -> Result<Self> {
        sys::loopback_up()?;
        let namespace = own()?;
        let mut witnesses = [Fd(-1); WITNESSES.len()];
        for (witness, path) in witnesses.iter_mut().zip(WITNESSES) {
            *witness = match sys::open(path, nr::O_RDONLY) {
                // A kernel without version 6 of the protocol has no counters for it.
                Err(Errno::NOENT) => Fd(-1),
                opened => opened?,
            };
        }
        Ok(Self { namespace, witnesses, user: None })
    }

    /// Whether all witnesses say just this.
    fn says(&self, testimony: &Testimony) -> Result<bool> {
        let mut left = testimony.bytes();
        let mut same = true;
        self.hear(|said| match left.split_at_checked(said.len()) {
            Some((head, tail)) if head == said => left = tail,
            _ => same = false,
        })?;
        Ok(same && left.is_empty())
    }

    /// What the witnesses say, in pieces.
    fn hear(&self, mut hear: impl FnMut(&[u8])) -> Result<()> {
        for (index, &witness) in self.witnesses.iter().enumerate() {
            if witness != Fd(-1) {
                read_to(&mut hear, witness, index == 0)?;
            }
        }
        Ok(())
    }

    fn close(&self) {
        let opened = self.witnesses.iter().filter(|&&witness| witness != Fd(-1));
        opened.chain([&self.namespace]).for_each(|&fd| sys::close(fd));
    }
}

fn own() -> Result<Fd> {
    sys::open(c"/proc/self/ns/net", nr::O_RDONLY)
}

fn read_to(hear: &mut impl FnMut(&[u8]), file: Fd, first_line_only: bool) -> Result<()> {
    sys::rewind(file)?;
    let mut buffer = [0; 4096];
    loop {
        let len = match sys::read(file, &mut buffer) {
            Ok(0) => return Ok(()),
            Err(Errno::INTR) => continue,
            read => read?,
        };
        let bytes = buffer.get(..len).unwrap_or(&[]);
        if first_line_only {
            let line = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(len);
            hear(bytes.get(..line).unwrap_or(&[]));
            return Ok(());
        }
        hear(bytes);
    }
}

/// What witnesses said, word for word.
struct Testimony {
    bytes: &'static mut [u8],
    len: usize,
}

impl Testimony {
    /// What does not fit is as good as unsaid: nothing is ever like it, and nothing is used again.
    fn add(&mut self, said: &[u8]) {
        let end = self.len.saturating_add(said.len());
        if let Some(space) = self.bytes.get_mut(self.len..end) {
            space.iter_mut().zip(said).for_each(|(to, from)| *to = *from);
            self.len = end;
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}
