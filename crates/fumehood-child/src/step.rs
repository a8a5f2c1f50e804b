//! What a child can do: the table of steps, and how a step is written down.
//!
//! A list of steps is a sequence of records: one byte that names the step, then its fields in
//! order. Numbers are little-endian; strings have a 32-bit length and end in NUL, so that they can
//! be handed to the kernel where they lie.

use core::ffi::CStr;

use crate::Errno;

/// Which step of a list failed and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepError {
    /// Index of the step in its list.
    pub index: u32,
    /// What the kernel said.
    pub errno: Errno,
}

/// Receives encoded bytes. Implemented by whoever has memory: this crate has none.
pub trait Sink {
    /// Appends bytes.
    fn put(&mut self, bytes: &[u8]);
}

/// Reads encoded fields in order.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything has been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    /// Reads one field, or `None` if the bytes do not hold one.
    pub fn get<T: Field<'a>>(&mut self) -> Option<T> {
        T::get(self)
    }
}

/// Something that a step is made of.
pub trait Field<'a>: Sized {
    /// Writes the field down.
    fn put(&self, sink: &mut impl Sink);
    /// Reads the field back.
    fn get(reader: &mut Reader<'a>) -> Option<Self>;
}

macro_rules! number {
    ($($type:ty)*) => {$(
        impl<'a> Field<'a> for $type {
            fn put(&self, sink: &mut impl Sink) {
                sink.put(&self.to_le_bytes());
            }
            fn get(reader: &mut Reader<'a>) -> Option<Self> {
                let bytes = reader.take(size_of::<Self>())?;
                Some(Self::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}

number!(u8 u32 i32 u64);

impl<'a> Field<'a> for bool {
    fn put(&self, sink: &mut impl Sink) {
        u8::from(*self).put(sink);
    }
    fn get(reader: &mut Reader<'a>) -> Option<Self> {
        match reader.get::<u8>()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn put(&self, sink: &mut impl Sink) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(sink);
        sink.put(self);
    }
    fn get(reader: &mut Reader<'a>) -> Option<Self> {
        let len = reader.get::<u32>()?;
        reader.take(usize::try_from(len).ok()?)
    }
}

impl<'a> Field<'a> for &'a CStr {
    fn put(&self, sink: &mut impl Sink) {
        self.to_bytes_with_nul().put(sink);
    }
    fn get(reader: &mut Reader<'a>) -> Option<Self> {
        CStr::from_bytes_with_nul(reader.get()?).ok()
    }
}

/// A list of strings, still encoded: arguments, an environment, candidates for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strings<'a>(&'a [u8]);

impl<'a> Strings<'a> {
    /// A list from its encoding: each string with its length and its NUL.
    #[must_use]
    pub const fn new(encoded: &'a [u8]) -> Self {
        Self(encoded)
    }

    /// The strings; ends early at bytes that hold none.
    pub fn iter(self) -> impl Iterator<Item = &'a CStr> + Clone {
        let mut reader = Reader(self.0);
        core::iter::from_fn(move || reader.get())
    }
}

impl<'a> Field<'a> for Strings<'a> {
    fn put(&self, sink: &mut impl Sink) {
        self.0.put(sink);
    }
    fn get(reader: &mut Reader<'a>) -> Option<Self> {
        reader.get().map(Self)
    }
}

macro_rules! steps {
    ($($(#[$doc:meta])* $code:literal $name:ident $label:literal {
        $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)?
    })*) => {
        /// One thing that a child does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Step<'a> {
            $($(#[$doc])* $name { $($(#[$field_doc])* $field: $type),* },)*
        }

        impl<'a> Step<'a> {
            /// The name used in reports and messages.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name { .. } => $label,)* }
            }

            /// Writes the step down.
            pub fn encode(&self, sink: &mut impl Sink) {
                match self {
                    $(Self::$name { $($field),* } => {
                        sink.put(&[$code]);
                        $(Field::put($field, sink);)*
                    })*
                }
            }

            /// Reads a step, or `None` if the bytes do not hold one.
            pub fn decode(reader: &mut Reader<'a>) -> Option<Self> {
                match reader.get::<u8>()? {
                    $($code => Some(Self::$name { $($field: reader.get()?),* }),)*
                    _ => None,
                }
            }
        }
    };
}

steps! {
    // Steps of a cell: done once by its init, before there is a program.

    /// Joins a version 1 control group by writing to its `cgroup.procs`.
    1 JoinCgroup "join-cgroup" {
        /// Which of the descriptors that came with the list.
        fd: u32,
    }
    /// Finds out from `/proc/self/cgroup` that this process is in the group that it joined.
    54 CheckCgroup "check-cgroup" {
        /// The last part of the group's path, which no other group has.
        name: &'a [u8],
        /// In how many hierarchies.
        count: u32,
    }
    /// Takes on the ids of the sandbox in the new user namespace.
    2 SetIds "set-ids" {
        /// User id inside.
        uid: u32,
        /// Group id inside.
        gid: u32,
        /// Whether supplementary groups are dropped, which only a privileged supervisor can have
        /// allowed.
        clear_groups: bool,
    }
    /// Gives up a real-time policy: it goes before everybody on the host, nice or not.
    55 NoRealTime "no-real-time" {}
    /// Makes this process undumpable: nobody of the same user can read its memory, environment
    /// or executable through `/proc`.
    3 NonDumpable "non-dumpable" {}
    /// Has the kernel kill this process when its parent dies.
    4 DieWithParent "die-with-parent" {}
    /// Makes a mount namespace of its own.
    36 MountNamespace "mount-namespace" {}
    /// Makes a namespace of host names of its own.
    37 UtsNamespace "uts-namespace" {}
    /// Makes a namespace of System V and POSIX queues, semaphores and shared memory of its own.
    38 IpcNamespace "ipc-namespace" {}
    /// Makes a network namespace of its own, or has it made on another processor, loopback and all.
    32 NetworkNamespace "network-namespace" {}
    /// Enters it if it is another's work, who has ended then.
    53 JoinNetwork "join-network" {}
    /// Sets the host name.
    5 Hostname "hostname" {
        /// The name.
        name: &'a [u8],
    }
    /// Brings the loopback interface up.
    6 Loopback "loopback" {}
    /// Cuts mount propagation in both directions.
    7 PrivateMounts "private-mounts" {}
    /// Mounts an empty root over the current one and stands in it. Paths that start with `/` still
    /// lead into the old root until [`Step::Pivot`].
    8 NewRoot "new-root" {
        /// `size=` of the memory file system.
        size: &'a CStr,
        /// `nr_inodes=` of the memory file system.
        inodes: &'a CStr,
    }
    /// Makes a directory in the new root.
    9 Mkdir "mkdir" {
        /// Parent directory in the new root, or empty for the root itself.
        parent: &'a CStr,
        /// Name of the directory.
        name: &'a CStr,
        /// Permission bits.
        mode: u32,
    }
    /// Makes a symbolic link in the new root.
    10 Symlink "symlink" {
        /// Parent directory in the new root, or empty for the root itself.
        parent: &'a CStr,
        /// Name of the link.
        name: &'a CStr,
        /// What the link says.
        target: &'a CStr,
    }
    /// Makes a file in the new root.
    11 File "file" {
        /// Path in the new root.
        path: &'a CStr,
        /// Permission bits.
        mode: u32,
        /// Content.
        data: &'a [u8],
    }
    /// Shows a path of the old root in the new one.
    12 Bind "bind" {
        /// Absolute path in the old root.
        source: &'a CStr,
        /// Path in the new root; it must exist there.
        target: &'a CStr,
        /// `MOUNT_ATTR_*` to set, on nested mounts too.
        attributes: u64,
        /// Whether nested mounts come along.
        recursive: bool,
        /// Whether every directory on the way to the target was made by these steps, so that no
        /// link can stand in the way and the target need not be looked up with care.
        plain: bool,
    }
    /// Shows a mount that the supervisor cloned.
    13 BindFd "bind-fd" {
        /// Which of the descriptors that came with the list.
        fd: u32,
        /// Path in the new root; it must exist there.
        target: &'a CStr,
        /// `MOUNT_ATTR_*` to set, on nested mounts too.
        attributes: u64,
    }
    /// Mounts a memory file system.
    14 Tmpfs "tmpfs" {
        /// Path in the new root.
        target: &'a CStr,
        /// `size=`.
        size: &'a CStr,
        /// `nr_inodes=`.
        inodes: &'a CStr,
        /// `mode=`.
        mode: &'a CStr,
        /// `MOUNT_ATTR_*` to set.
        attributes: u64,
        /// As for [`Step::Bind`].
        plain: bool,
    }
    /// Makes the process file system of the new process namespace, which is nowhere yet.
    15 Proc "proc" {}
    /// Makes a process file system that shows nobody: that of a process namespace which has ended.
    /// For a template, which needs one in sight that cells can mount theirs beside, and keeps the
    /// host's open for itself.
    52 ProcOfNobody "proc-of-nobody" {}
    /// Mounts it.
    30 ShowProc "show-proc" {
        /// Path in the new root.
        target: &'a CStr,
        /// `MOUNT_ATTR_*` to set.
        attributes: u64,
    }
    /// Mounts an instance of the pseudo-terminal file system of its own.
    16 Devpts "devpts" {
        /// Path in the new root.
        target: &'a CStr,
    }
    /// Gives every mount on the new root these attributes, but for the root itself.
    31 ReadOnly "read-only" {
        /// `MOUNT_ATTR_*` to set.
        attributes: u64,
    }
    /// Hides a file or a directory below an empty one.
    17 Mask "mask" {
        /// Path in the new root.
        path: &'a CStr,
        /// Path in the new root of what is shown instead.
        with: &'a CStr,
        /// `MOUNT_ATTR_*` to set; what is a mount itself keeps those that it has.
        attributes: u64,
        /// As for [`Step::Bind`].
        plain: bool,
    }
    /// Makes the new root itself read-only; mounts on it keep what they have.
    18 SealRoot "seal-root" {}
    /// Makes the new root the only one.
    19 Pivot "pivot" {}
    /// Creates a Landlock ruleset.
    20 Ruleset "landlock-ruleset" {
        /// File system rights that are denied unless allowed.
        fs: u64,
        /// Network rights that are denied unless allowed.
        net: u64,
        /// Scopes: what may not be reached outside the sandbox.
        scoped: u64,
    }
    /// Allows rights below a path.
    21 Allow "landlock-allow" {
        /// Absolute path.
        path: &'a CStr,
        /// Rights.
        access: u64,
    }
    /// Empties the bounding and ambient sets and locks the securebits: no execution and no change
    /// of ids gives a capability from now on.
    22 BoundingSet "bounding-set" {}
    /// Sets `no_new_privs`.
    23 NoNewPrivs "no-new-privs" {}
    /// Empties the effective, permitted and inheritable capability sets.
    24 DropCapabilities "drop-capabilities" {}
    /// Becomes the parent of orphaned descendants, where no process namespace makes it that.
    25 Subreaper "subreaper" {}

    /// Makes an empty file on the new root itself, to mount something on.
    26 Touch "touch" {
        /// Path in the new root; every directory on the way was made by these steps.
        path: &'a CStr,
    }

    /// Enters a control group namespace whose root is the group that this process is in.
    27 CgroupNamespace "cgroup-namespace" {}

    /// Limits what the user namespace may take of something that the kernel counts per user, on the
    /// host's account, too (`user_namespaces(7)`, `/proc/sys/user`). Done without where `/proc/sys`
    /// cannot be written to.
    28 UserLimit "user-limit" {
        /// The file of the limit: in the new process file system, before that is shown, or with a
        /// slash in front in the one in sight. In the new one the kernel finds it at once; in the
        /// other it passes by what is left of all namespaces before.
        path: &'a CStr,
        /// Its value in decimal digits.
        value: &'a [u8],
    }

    /// Mounts a view of one directory in which changes go to another (overlayfs, for user
    /// namespaces since Linux 5.11). Fails with `EOPNOTSUPP` where the changes could not say that a
    /// directory was replaced.
    33 Overlay "overlay" {
        /// Path in the new root of the directory below, which is only read.
        lower: &'a CStr,
        /// Path in the new root of an empty directory that takes the changes.
        upper: &'a CStr,
        /// Path in the new root of an empty directory on the same file system, for the kernel.
        work: &'a CStr,
        /// Path in the new root.
        target: &'a CStr,
        /// `MOUNT_ATTR_*` to set.
        attributes: u64,
    }
    /// Opens a directory of the new root for the supervisor, which gets it with
    /// [`Kind::Changes`](crate::wire::Kind::Changes) and keeps it beyond the end of the cell.
    34 ShareChanges "share-changes" {
        /// Path in the new root; every directory on the way was made by these steps.
        path: &'a CStr,
    }
    /// Takes away a mount with all mounts below it, and the directory that it was on.
    35 Detach "detach" {
        /// Path in the new root; every directory on the way was made by these steps.
        path: &'a CStr,
    }

    /// Opens the root and the mount namespace for the supervisor, which gets them with
    /// [`Kind::Root`](crate::wire::Kind::Root) and [`Kind::Mounts`](crate::wire::Kind::Mounts), and can
    /// look at the files of the cell without entering any namespace. The cell then outlives its
    /// program, until the supervisor hangs up.
    29 ShareRoot "share-root" {}

    // Steps of a program: done in the process that executes it.

    /// Opens a terminal in the sandbox's own instance, which becomes the program's standard input,
    /// output and error; its controlling end goes to the supervisor. Done by the init, and only as
    /// the first step.
    39 Terminal "terminal" {
        /// Height in characters.
        rows: u32,
        /// Width in characters.
        columns: u32,
    }
    /// Makes descriptors 0, 1 and 2 of those that came with the list, in that order.
    40 Stdio "stdio" {}
    /// Starts a session.
    41 Session "session" {}
    /// Makes descriptor 0 the controlling terminal.
    42 ControllingTty "controlling-tty" {}
    /// Unblocks all signals, which the init blocks; none is ignored or handled by it.
    43 UnblockSignals "unblock-signals" {}
    /// Sets the mask of permission bits for new files.
    44 Umask "umask" {
        /// The bits that are taken away.
        mask: u32,
    }
    /// Enters the working directory.
    45 Chdir "chdir" {
        /// Absolute path.
        path: &'a CStr,
    }
    /// Sets a resource limit.
    46 Rlimit "rlimit" {
        /// `RLIMIT_*`.
        resource: u32,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    }
    /// Gives way to others when there is more to do than processors can (`setpriority(2)`).
    51 Nice "nice" {
        /// The nice value, 0 to 19.
        value: u32,
    }
    /// Enforces the Landlock ruleset of the cell.
    47 RestrictSelf "landlock" {}
    /// Closes every descriptor from 3 on.
    48 CloseFds "close-fds" {}
    /// Installs the filter of system calls. [`Step::Exec`] comes next.
    49 Filter "seccomp" {
        /// Classic BPF instructions, 8 bytes each.
        instructions: &'a [u8],
        /// The same filter, but that it asks the init instead of killing, so that the call can be
        /// named; empty where there is nothing to ask. It is done without where the kernel refuses
        /// a listener.
        asking: &'a [u8],
        /// `SECCOMP_FILTER_FLAG_*`.
        flags: u32,
        /// Whether the filter lets `clock_gettime(2)` pass, so that its time can be taken.
        timed: bool,
    }
    /// Executes the program.
    50 Exec "exec" {
        /// Paths that are tried in order.
        candidates: Strings<'a>,
        /// Arguments, the program's name included.
        args: Strings<'a>,
        /// Environment.
        env: Strings<'a>,
    }
}
