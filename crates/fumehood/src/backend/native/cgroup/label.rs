//! Names of control groups, which say whose they are.
//!
//! `fumehood-<pid namespace>-<pid>-<start time>-<random>`: a process id comes back, but never with
//! the same start time while the machine runs; and a process id of another PID namespace means
//! somebody else here, so the label says which namespace it is from.

use std::fmt;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dir::read_proc;

/// The supervisor that owns a control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    /// Inode number of its PID namespace, pid_namespaces(7).
    namespace: u64,
    pid: u32,
    /// When it was started, in clock ticks since boot: field 22 of `/proc/PID/stat`.
    start: u64,
}

/// Whether the owner of a label still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It does, or nobody here can tell.
    Living,
    /// It does not.
    Dead,
}

const PREFIX: &str = "fumehood-";

impl Owner {
    /// This process.
    pub(crate) fn current() -> io::Result<Self> {
        let stat = read_proc("/proc/self/stat")?;
        let start = parse_stat(&stat).map(|stat| stat.start);
        Ok(Self {
            namespace: own_pid_namespace()?,
            pid: std::process::id(),
            start: start.ok_or_else(|| io::Error::other("/proc/self/stat: no start time"))?,
        })
    }

    /// Its process id.
    pub(crate) const fn pid(self) -> u32 {
        self.pid
    }

    /// A name that no other group of this or any living owner has.
    pub(crate) fn name(&self) -> String {
        format!("{self}-{:016x}", random())
    }

    /// The owner that a name tells; none if it is not one of our names.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        let owner = Self {
            namespace: parts.next()?.parse().ok()?,
            pid: parts.next()?.parse().ok()?,
            start: parts.next()?.parse().ok()?,
        };
        let random = parts.next()?;
        let is_random = random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_random && parts.next().is_none()).then_some(owner)
    }

    /// Whether the owner lives. An owner in another PID namespace cannot be judged from here and
    /// counts as living.
    pub(crate) fn life(&self) -> io::Result<Life> {
        if self.namespace != own_pid_namespace()? {
            return Ok(Life::Living);
        }
        match fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Ok(stat) => Ok(self.life_by(&stat)),
            Err(error) if is_gone(&error) => Ok(Life::Dead),
            Err(error) => Err(error),
        }
    }

    fn life_by(&self, stat: &str) -> Life {
        match parse_stat(stat) {
            Some(stat) if stat.start != self.start || stat.is_dead => Life::Dead,
            _ => Life::Living,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}-{}", self.namespace, self.pid, self.start)
    }
}

/// Reading `/proc/PID/…` of a process that ended gives one of two errors.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Names must differ, not be secret: making a group fails if its name is taken.
fn random() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
    hasher.finish()
}

fn own_pid_namespace() -> io::Result<u64> {
    let link = fs::read_link("/proc/self/ns/pid")?;
    parse_namespace(&link.to_string_lossy())
        .ok_or_else(|| io::Error::other(format!("/proc/self/ns/pid: {}", link.display())))
}

fn parse_namespace(link: &str) -> Option<u64> {
    link.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

#[derive(Debug, PartialEq)]
struct Stat {
    start: u64,
    /// A zombie whose last thread is gone. A leader that ended before its threads is a zombie too.
    is_dead: bool,
}

/// Reads `/proc/PID/stat` behind the name of the program, which may hold anything.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_ascii_whitespace().collect();
    let (state, threads, start) = (fields.first()?, fields.get(17)?, fields.get(19)?);
    let threads: u64 = threads.parse().ok()?;
    Some(Stat { start: start.parse().ok()?, is_dead: matches!(*state, "Z" | "X") && threads <= 1 })
}

#[cfg(test)]
impl Owner {
    /// An owner with this process's id that was started at another time: certainly dead.
    pub(super) fn before_us() -> Self {
        let us = Self::current().unwrap();
        Self { start: us.start - 1, ..us }
    }

    /// An owner in a PID namespace that is not ours.
    pub(super) fn elsewhere() -> Self {
        Self { namespace: 1, ..Self::before_us() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Life, Owner, parse_stat};

    const OWNER: Owner = Owner { namespace: 4026531836, pid: 41, start: 9001 };

    fn stat(state: &str, threads: u32, start: u64) -> String {
        let zeros = "0 ".repeat(16);
        format!("41 (a ) odd) name) {state} {zeros}{threads} 0 {start} 0 0\n")
    }

    #[test]
    fn a_name_tells_its_owner() {
        let name = OWNER.name();
        assert!(name.starts_with("fumehood-4026531836-41-9001-"), "{name}");
        assert_eq!(Owner::of(&name), Some(OWNER));
        assert_ne!(name, OWNER.name());
    }

    #[test]
    fn other_names_have_no_owner() {
        let name = OWNER.name();
        for other in ["fumehood-supervisor", "fumehood-1-2-3", "user.slice", "fumehood-1-2-3-4"] {
            assert_eq!(Owner::of(other), None, "{other}");
        }
        assert_eq!(Owner::of(&format!("{name}-x")), None);
        assert_eq!(Owner::of(&format!("x{name}")), None);
    }

    #[test]
    fn a_process_is_known_by_its_start_time() {
        assert_eq!(OWNER.life_by(&stat("S", 1, 9001)), Life::Living);
        assert_eq!(OWNER.life_by(&stat("S", 1, 9002)), Life::Dead);
    }

    #[test]
    fn a_zombie_is_dead_unless_threads_live_on() {
        assert_eq!(OWNER.life_by(&stat("Z", 1, 9001)), Life::Dead);
        assert_eq!(OWNER.life_by(&stat("Z", 3, 9001)), Life::Living);
    }

    #[test]
    fn what_cannot_be_read_counts_as_living() {
        assert_eq!(parse_stat("nonsense"), None);
        assert_eq!(OWNER.life_by("nonsense"), Life::Living);
    }

    #[test]
    fn we_live() {
        let us = Owner::current().unwrap();
        assert_eq!(us.life().unwrap(), Life::Living);
        assert_eq!(Owner::before_us().life().unwrap(), Life::Dead);
        assert_eq!(Owner::elsewhere().life().unwrap(), Life::Living);
    }
}
