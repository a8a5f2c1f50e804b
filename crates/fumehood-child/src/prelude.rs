//! The first steps of every ordinary cell: those that depend on nothing that a job says.

use linux_raw_sys::general as nr;

use crate::Step;
use crate::step::{Field, Reader, Sink};

/// `size=` of the memory file system that is the root. It holds mount points and a few small files.
const ROOT_SIZE: &core::ffi::CStr = c"16m";
/// `nr_inodes=` of the same.
const ROOT_INODES: &core::ffi::CStr = c"16384";

/// The namespaces that an init can make for itself: all that need no new process to enter them, but
/// for its group's, which has to wait for the group. So who clones it does not wait for them; and where
/// one is refused, the step says which.
pub const NAMESPACES: u64 = MOUNTS | UTS | IPC | NETWORK;
const MOUNTS: u64 = nr::CLONE_NEWNS as u64;
const UTS: u64 = nr::CLONE_NEWUTS as u64;
const IPC: u64 = nr::CLONE_NEWIPC as u64;
const NETWORK: u64 = nr::CLONE_NEWNET as u64;

/// Who the processes of a cell are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prelude {
    /// `CLONE_NEW*` flags of the namespaces that it makes for itself rather than being cloned with
    /// them: [`NAMESPACES`] at most.
    pub namespaces: u64,
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Whether supplementary groups are dropped, which only a launcher with privileges can.
    pub clear_groups: bool,
    /// Whether there is a process namespace.
    pub own_processes: bool,
    /// Whether there is a network namespace whose loopback is still down.
    pub own_network: bool,
    /// Whether somebody may help with the network, on a processor that has nothing else to do meanwhile.
    pub helped: bool,
    /// Whether the root is still to be made; in a [template](crate::template) it is there.
    pub own_root: bool,
}

impl Prelude {
    /// The steps, in their order.
    #[must_use]
    pub const fn steps(&self) -> [Option<Step<'static>>; 11] {
        let Self { namespaces, uid, gid, clear_groups, .. } = *self;
        let Self { own_processes, own_network, own_root, .. } = *self;
        let new_root = Step::NewRoot { size: ROOT_SIZE, inodes: ROOT_INODES };
        [
            // Before anybody that it starts, and before a group of `cpu`, which takes none that has it.
            Some(Step::NoRealTime {}),
            // Before anything that another process could look at: from here on nobody of the same
            // user can read what this copy of its launcher still has in memory.
            Some(Step::NonDumpable {}),
            if namespaces & MOUNTS != 0 { Some(Step::MountNamespace {}) } else { None },
            if namespaces & UTS != 0 { Some(Step::UtsNamespace {}) } else { None },
            if namespaces & IPC != 0 { Some(Step::IpcNamespace {}) } else { None },
            // File systems belong to whoever mounts them, so the ids come before the mounts.
            Some(Step::SetIds { uid, gid, clear_groups }),
            // A change of ids clears the death signal (prctl(2)), so it is set after. The end of
            // process 1 is the end of its namespace, so the kernel may kill it at once. Any other
            // init must outlive its supervisor for as long as it takes to kill what it watches
            // over; the end of its line tells it to.
            Some(if own_processes { Step::DieWithParent {} } else { Step::Subreaper {} }),
            // Whoever helps with it has these ids and all capabilities, and ends with this process.
            if namespaces & NETWORK != 0 { Some(Step::NetworkNamespace {}) } else { None },
            if own_network { Some(Step::Loopback {}) } else { None },
            if own_root { Some(Step::PrivateMounts {}) } else { None },
            if own_root { Some(new_root) } else { None },
        ]
    }

    /// Writes it down.
    pub fn encode(&self, sink: &mut impl Sink) {
        self.namespaces.put(sink);
        self.uid.put(sink);
        self.gid.put(sink);
        self.clear_groups.put(sink);
        self.own_processes.put(sink);
        self.own_network.put(sink);
        self.helped.put(sink);
        self.own_root.put(sink);
    }

    /// Reads it.
    #[must_use]
    pub fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            namespaces: reader.get()?,
            uid: reader.get()?,
            gid: reader.get()?,
            clear_groups: reader.get()?,
            own_processes: reader.get()?,
            own_network: reader.get()?,
            helped: reader.get()?,
            own_root: reader.get()?,
        })
    }
}
