//! Network namespaces that are used again.
//!
//! Making and removing one is the dearest part of a cell, and the kernel does it for one at a time.
//! They belong to the template's user namespace, so nobody in a cell has a right to change anything
//! in them: neither addresses nor routes, filters or settings. What is left that a program could
//! leave behind are sockets that outlive it, because somebody else holds them, and traces of what it
//! sent. So one is lent again only if everybody who was in it has ended, and if everything that the
//! kernel counts in it is what it was when it was new: no socket, no packet, no flow label, no route that
//! was looked up. A network through which anything was sent is thus never used twice.
//!
//! Of an open file of `/proc/net`, which goes on telling what is in its network, the kernel counts
//! nothing. A program can hand one out through a socket in a directory that it shares with others. So of
//! whoever has such directories the process file system must be gone, too, by the kernel's word: as long as
//! anybody has any file of it, it is not.

use core::ffi::CStr;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use linux_raw_sys::general as nr;

use crate::launch::UNMOUNTS;
use crate::sys::{self, Errno, Fd, PollFd, Result};

/// How many there are at most, and so how many cells a template has at a time. Each takes nine
/// descriptors, which may be fewer than that.
const MAX: usize = CHUNK * CHUNKS;
const CHUNK: usize = 64;
const CHUNKS: usize = 64;

/// How many that nobody is in are kept. Each is some 200 KiB of the kernel's memory.
const SPARE: usize = 64;

/// How many ends of inits are looked at before a network is lent: more than one, so that they become
/// fewer, and not all, so that nobody waits long for a cell.
const AT_ONCE: usize = 4;

/// For how long nobody has asked for a network when one is looked at unasked: whoever has just ended a run
/// may be about to begin another.
const QUIET_MS: u32 = 2;

/// What tells whether anything happened in a network, in the process file system. Of the first only the
/// line with the number of sockets is about this network and not about the host.
const WITNESSES: [&CStr; 7] = [
    c"self/net/sockstat",
    c"self/net/dev",
    c"self/net/snmp",
    c"self/net/netstat",
    c"self/net/snmp6",
    c"self/net/ip6_flowlabel",
    c"self/net/rt6_stats",
];

/// What has the kernel report groups of multicast as it did of old, and what is written there. By the newest versions
/// of the protocols a report may come after whoever joined a group has ended, as a packet that the witnesses did
/// not see. By these the socket's end is the end of it (IPv4), or the report is sent by whoever joins (IPv6).
const REPORTS: [(&CStr, &[u8]); 2] = [
    (c"sys/net/ipv4/conf/lo/force_igmp_version", b"2"),
    (c"sys/net/ipv6/conf/lo/force_mld_version", b"1"),
];

/// Longer than what all witnesses say together.
const TESTIMONY: usize = 64 << 10;

/// Longer than what any of them says, so that one call reads it all.
const STATEMENT: usize = 32 << 10;

/// What becomes of networks in which nobody is any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lent {
    /// They are used again, whatever is in them: for tests alone.
    Unseen,
    /// Those that are like new are used again.
    LikeNew,
    /// The same, and nobody has a file any more of the process file system of whoever was there.
    Unheld,
    /// None is used again.
    Once,
}

impl Lent {
    /// Reads what a supervisor says; whatever is not known is as little as can be.
    pub(crate) fn decode(body: &[u8]) -> Self {
        let known = [Self::Unseen, Self::LikeNew, Self::Unheld];
        known.into_iter().find(|&lent| body == [lent as u8]).unwrap_or(Self::Once)
    }
}

#[derive(Clone, Copy)]
struct Network {
    namespace: Fd,
    witnesses: [Fd; WITNESSES.len()],
    /// Whether the witnesses see all that ever happens in it.
    seen: bool,
    /// The init that it is lent to.
    user: Option<Fd>,
}

#[derive(Clone, Copy)]
struct Slot {
    network: Option<Network>,
    /// The next one in the list that it is in.
    next: Option<usize>,
}

type Chunk = &'static mut [Slot; CHUNK];

/// All networks of a template. They lie where the inits that are cloned in it have no copy of them.
pub(crate) struct Networks {
    /// The process file system that shows the template.
    proc: Fd,
    /// Where the template is itself.
    home: Fd,
    /// Says which inits have ended.
    ends: Fd,
    slots: Slots,
    /// The first of those that nobody is in, and how many they are.
    idle: Option<usize>,
    spare: usize,
    /// What the witnesses of a new network say.
    pristine: Testimony,
    lent: Lent,
    /// Where they are heard.
    statement: &'static mut [u8],
    /// Of each network, by which number it is told that the last process file system in it is gone, or
    /// [`GONE`]. The inits write the number.
    told: &'static [AtomicU32],
}

/// No number is negative.
const GONE: u32 = u32::MAX;

struct Slots {
    chunks: [Option<Chunk>; CHUNKS],
    /// Those that were ever used.
    count: usize,
    /// The first of those without a network.
    vacant: Option<usize>,
}

impl Slots {
    fn get(&mut self, index: usize) -> Option<&mut Slot> {
        let chunk = self.chunks.get_mut(index / CHUNK)?.as_mut()?;
        chunk.get_mut(index % CHUNK)
    }

    /// One without a network.
    fn vacant(&mut self) -> Result<usize> {
        const EMPTY: Slot = Slot { network: None, next: None };
        if let Some(index) = self.vacant {
            self.vacant = self.get(index).and_then(|slot| slot.next.take());
            return Ok(index);
        }
        let index = self.count;
        if index >= MAX {
            return Err(Errno::USERS);
        }
        let chunk = self.chunks.get_mut(index / CHUNK).ok_or(Errno::USERS)?;
        if chunk.is_none() {
            *chunk = Some(sys::keep_apart([EMPTY; CHUNK])?);
        }
        self.count = index.saturating_add(1);
        Ok(index)
    }

    fn vacate(&mut self, index: usize) {
        let next = self.vacant.replace(index);
        if let Some(slot) = self.get(index) {
            *slot = Slot { network: None, next };
        }
    }
}

impl Networks {
    pub(crate) fn new(proc: Fd, lent: Lent) -> Result<Self> {
        // A thousand cells take nine thousand descriptors. What is inherited from here is only the
        // init's; its program is given a limit of its own.
        sys::raise_descriptors();
        let home = Network::here(proc)?;
        let mut pristine = Testimony { bytes: sys::map_apart(TESTIMONY)?, len: 0 };
        let statement = sys::map_apart(STATEMENT)?;
        home.hear(statement, |said| pristine.add(said))?;
        let slots = Slots { chunks: [const { None }; CHUNKS], count: 0, vacant: None };
        let ends = sys::epoll()?;
        let home = home.namespace;
        let (idle, spare) = (None, 0);
        let told = if lent == Lent::Unheld { sys::map_shared(MAX)? } else { &[] };
        Ok(Self { proc, home, ends, slots, idle, spare, pristine, lent, statement, told })
    }

    /// Enters a network that nobody is in, and says which.
    ///
    /// # Errors
    /// `EUSERS` if there are as many as there may be, `EMFILE` if there are as many as there are
    /// descriptors for, and those of `unshare(2)`.
    pub(crate) fn enter_one(&mut self) -> Result<usize> {
        for _ in 0..AT_ONCE {
            let Some(index) = sys::epoll_next(self.ends) else { break };
            self.take_back(index);
        }
        if let Some(index) = self.idle
            && let Some(slot) = self.slots.get(index)
            && let Some(network) = slot.network
        {
            self.idle = slot.next.take();
            self.spare = self.spare.saturating_sub(1);
            let entered = sys::enter(network.namespace, nr::CLONE_NEWNET);
            if entered.is_err() {
                network.close();
                self.slots.vacate(index);
            }
            return entered.map(|()| index);
        }
        let index = self.slots.vacant()?;
        let made = sys::unshare(u64::from(nr::CLONE_NEWNET));
        let made = made.and_then(|()| Network::here(self.proc));
        match (made, self.slots.get(index)) {
            (Ok(network), Some(slot)) => slot.network = Some(network),
            (Ok(_), None) => return Err(Errno::USERS),
            (Err(errno), _) => {
                self.slots.vacate(index);
                let _ = self.leave();
                return Err(errno);
            }
        }
        Ok(index)
    }

    /// Waits until somebody asks for something on this socket, and looks meanwhile at networks that came
    /// back, one by one, so that whoever asks need not wait for that.
    pub(crate) fn rest(&mut self, socket: Fd) {
        let asked = PollFd::readable(socket);
        loop {
            let mut watched = [asked, PollFd::readable(self.ends)];
            let waited = sys::poll(&mut watched);
            let [request, _] = watched;
            if waited.is_err() || request.revents != 0 {
                return;
            }
            if sys::poll_for(&mut [asked], QUIET_MS) != Ok(0) {
                return;
            }
            if let Some(index) = sys::epoll_next(self.ends) {
                self.take_back(index);
            }
        }
    }

    /// Goes back to where the template is itself.
    pub(crate) fn leave(&self) -> Result<()> {
        sys::enter(self.home, nr::CLONE_NEWNET)
    }

    /// Where the init that gets a network says by which number the end of its process file system is told.
    pub(crate) fn said(&self, index: usize) -> Option<&'static AtomicU32> {
        let said = self.told.get(index)?;
        said.store(0, Relaxed);
        Some(said)
    }

    /// Whether nobody has a file of the last process file system in a network.
    fn is_unheld(told: &[AtomicU32], index: usize) -> bool {
        sys::hear_unmounts(UNMOUNTS, |number| {
            if let Some(said) = told.iter().find(|said| said.load(Relaxed) == number) {
                said.store(GONE, Relaxed);
            }
        });
        told.get(index).is_some_and(|said| said.load(Relaxed) == GONE)
    }

    /// Remembers which init, by its pidfd, is in a network.
    pub(crate) fn lend(&mut self, index: usize, init: Fd) {
        let network = self.slots.get(index).and_then(|slot| slot.network.as_mut());
        match network {
            // The end of an init is the end of everybody in its process namespace; it is told when
            // the last of them is gone (`pid_namespaces(7)`). One whose end nobody hears of has its
            // network for good.
            Some(network) => {
                network.user = Some(init);
                let _ = sys::epoll_watch(self.ends, init, index);
            }
            None => sys::close(init),
        }
    }

    /// Has a network be there for others, if it is like new, when everybody who was in it has ended or
    /// nobody came to be there; lets go of it if not.
    pub(crate) fn take_back(&mut self, index: usize) {
        let Self { ends, slots, idle, spare, pristine, lent, statement, told, .. } = self;
        let Some(slot) = slots.get(index) else { return };
        let Some(network) = slot.network.as_mut() else { return };
        if let Some(init) = network.user.take() {
            sys::epoll_forget(*ends, init);
            sys::close(init);
        }
        let may_be_lent = match lent {
            Lent::Unseen => true,
            _ if !network.seen => false,
            Lent::Unheld if !Self::is_unheld(told, index) => false,
            Lent::LikeNew | Lent::Unheld => network.says(statement, pristine) == Ok(true),
            Lent::Once => false,
        };
        if *spare < SPARE && may_be_lent {
            slot.next = idle.replace(index);
            *spare = spare.saturating_add(1);
        } else {
            network.close();
            slots.vacate(index);
        }
    }
}

impl Network {
    /// The one that this process has just made.
    fn here(proc: Fd) -> Result<Self> {
        let seen = report_in_time(proc);
        sys::loopback_up()?;
        let namespace = sys::open_at(proc, c"self/ns/net", nr::O_RDONLY)?;
        let mut network =
            Self { namespace, witnesses: [Fd(-1); WITNESSES.len()], seen, user: None };
        for (witness, path) in network.witnesses.iter_mut().zip(WITNESSES) {
            match sys::open_at(proc, path, nr::O_RDONLY) {
                Ok(opened) => *witness = opened,
                // A kernel without version 6 of the protocol has no counters for it.
                Err(Errno::NOENT) => {}
                Err(errno) => {
                    network.close();
                    return Err(errno);
                }
            }
        }
        Ok(network)
    }

    /// Whether all witnesses say just this.
    fn says(&self, statement: &mut [u8], testimony: &Testimony) -> Result<bool> {
        let mut left = testimony.bytes();
        let mut same = true;
        self.hear(statement, |said| match left.split_at_checked(said.len()) {
            Some((head, tail)) if head == said => left = tail,
            _ => same = false,
        })?;
        Ok(same && left.is_empty())
    }

    /// What the witnesses say, in pieces.
    fn hear(&self, statement: &mut [u8], mut hear: impl FnMut(&[u8])) -> Result<()> {
        for (index, &witness) in self.witnesses.iter().enumerate() {
            if witness != Fd(-1) {
                read_to(&mut hear, witness, statement, index == 0)?;
            }
        }
        Ok(())
    }

    fn close(&self) {
        let opened = self.witnesses.iter().filter(|&&witness| witness != Fd(-1));
        opened.chain([&self.namespace]).for_each(|&fd| sys::close(fd));
    }
}

/// Sees to it that reports of multicast are counted before whoever caused them has ended.
fn report_in_time(proc: Fd) -> bool {
    let [version4, version6] = REPORTS.map(|(file, content)| {
        let opened = sys::open_at(proc, file, nr::O_WRONLY)?;
        let written = sys::write(opened, content).map(drop);
        sys::close(opened);
        written
    });
    // A kernel without version 6 has no such file.
    version4.is_ok() && matches!(version6, Ok(()) | Err(Errno::NOENT))
}

fn read_to(
    hear: &mut impl FnMut(&[u8]),
    file: Fd,
    buffer: &mut [u8],
    first_line_only: bool,
) -> Result<()> {
    let mut offset = 0;
    loop {
        let len = match sys::read_at(file, buffer, offset) {
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
        offset = offset.saturating_add(len);
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
