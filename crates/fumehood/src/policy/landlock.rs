//! Landlock rights: what a kernel knows, and what a sandbox handles.
//!
//! The numbers are those of `linux/landlock.h`; which kernel brought which is in
//! `landlock_create_ruleset(2)`, section VERSIONS. A right that the kernel does not know is left
//! out of the ruleset, so the fence is as complete as the kernel's ABI: the report names the ABI.

const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_BLOCK: u64 = 1 << 11;
const MAKE_SYM: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1 << 0;
const SCOPE_SIGNAL: u64 = 1 << 1;

/// The names of the rights, from bit 0 up, as `linux/landlock.h` has them.
const NAMES: [&str; 16] = [
    "execute",
    "write-file",
    "read-file",
    "read-dir",
    "remove-dir",
    "remove-file",
    "make-char",
    "make-dir",
    "make-reg",
    "make-sock",
    "make-fifo",
    "make-block",
    "make-sym",
    "refer",
    "truncate",
    "ioctl-dev",
];

/// The rights of ABI 1.
const FIRST: u64 = EXECUTE
    | WRITE_FILE
    | READ_FILE
    | READ_DIR
    | REMOVE_DIR
    | REMOVE_FILE
    | MAKE_CHAR
    | MAKE_DIR
    | MAKE_REG
    | MAKE_SOCK
    | MAKE_FIFO
    | MAKE_BLOCK
    | MAKE_SYM;

/// Rights that apply to files, as opposed to directories.
const FILE_RIGHTS: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/// The rights that a ruleset handles on a kernel of some ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fence {
    /// The ABI that the kernel offers.
    pub abi: u32,
    /// File system rights that are denied unless allowed.
    pub fs: u64,
    /// What may not be reached outside the sandbox: abstract sockets, signals (ABI 6).
    pub scoped: u64,
}

/// What is allowed below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Reading and executing.
    ReadOnly,
    /// Everything that makes, changes and removes files, but no device nodes.
    ReadWrite,
    /// Reading, writing and controlling devices.
    Devices,
}

impl Fence {
    /// The fence that a kernel of that ABI can hold; none for ABI 0.
    ///
    /// Network rights (ABI 4) are not handled: the network namespace decides which network there
    /// is, and inside it a program may use loopback as it likes.
    #[must_use]
    pub const fn new(abi: u32) -> Option<Self> {
        let newer = match abi {
            0 => return None,
            1 => 0,
            2 => REFER,
            3 | 4 => REFER | TRUNCATE,
            _ => REFER | TRUNCATE | IOCTL_DEV,
        };
        let scoped = if abi >= 6 { SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL } else { 0 };
        Some(Self { abi, fs: FIRST | newer, scoped })
    }

    /// The rights to allow below a path, in the kernel's bits.
    #[must_use]
    pub const fn rights(&self, allowed: Allowed, directory: bool) -> u64 {
        let wanted = match allowed {
            Allowed::ReadOnly => EXECUTE | READ_FILE | READ_DIR,
            Allowed::ReadWrite => !(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV),
            Allowed::Devices => READ_FILE | READ_DIR | WRITE_FILE | IOCTL_DEV,
        };
        let applicable = if directory { self.fs } else { self.fs & FILE_RIGHTS };
        wanted & applicable
    }

    /// The names of rights in the kernel's bits: `read-file`, `make-dir`.
    #[must_use]
    pub fn names(rights: u64) -> Vec<&'static str> {
        let bits = NAMES.iter().enumerate();
        bits.filter(|(bit, _)| rights & (1 << bit) != 0).map(|(_, name)| *name).collect()
    }

    /// What may not be reached outside, by name.
    #[must_use]
    pub fn scopes(&self) -> Vec<&'static str> {
        let all = [(SCOPE_ABSTRACT_UNIX_SOCKET, "abstract-unix-socket"), (SCOPE_SIGNAL, "signal")];
        all.into_iter().filter(|(bit, _)| self.scoped & bit != 0).map(|(_, name)| name).collect()
    }

    /// What the fence covers, for reports.
    #[must_use]
    pub fn describe(&self) -> String {
        let scopes = if self.scoped == 0 { "" } else { ", abstract sockets, signals" };
        format!("Landlock ABI {}: files{scopes}", self.abi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_abi_handles_what_its_kernel_knows() {
        assert_eq!(Fence::new(0), None);
        let bits = |abi| Fence::new(abi).map(|fence| (fence.fs.count_ones(), fence.scoped));
        assert_eq!(bits(1), Some((13, 0)));
        assert_eq!(bits(2), Some((14, 0)));
        assert_eq!(bits(3), Some((15, 0)));
        assert_eq!(bits(4), Some((15, 0)));
        assert_eq!(bits(5), Some((16, 0)));
        assert_eq!(bits(6), Some((16, 3)));
        assert_eq!(bits(9), bits(6), "a later kernel gets what is known here");
    }

    #[test]
    fn a_writable_tree_takes_every_way_of_making_files_but_devices() {
        let fence = Fence::new(7).unwrap();
        let rights = fence.rights(Allowed::ReadWrite, true);
        for right in [MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_SYM, REMOVE_DIR, REMOVE_FILE] {
            assert_eq!(rights & right, right);
        }
        assert_eq!(rights & (MAKE_CHAR | MAKE_BLOCK), 0);
        assert_eq!(fence.rights(Allowed::ReadWrite, false) & !FILE_RIGHTS, 0);
    }

    #[test]
    fn rights_have_their_names() {
        let fence = Fence::new(6).unwrap();
        let read_only = fence.rights(Allowed::ReadOnly, true);
        assert_eq!(Fence::names(read_only), ["execute", "read-file", "read-dir"]);
        assert_eq!(Fence::names(REFER | TRUNCATE | IOCTL_DEV), ["refer", "truncate", "ioctl-dev"]);
        assert_eq!(fence.scopes(), ["abstract-unix-socket", "signal"]);
    }

    #[test]
    fn reading_never_allows_a_change() {
        let fence = Fence::new(7).unwrap();
        assert_eq!(fence.rights(Allowed::ReadOnly, true) & (WRITE_FILE | MAKE_REG | TRUNCATE), 0);
    }
}
