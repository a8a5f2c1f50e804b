//! Numbers of the kernel's interface. The crate that has them all cannot be had here, where there is no
//! crate but the core library; the one that this is a part of holds them against it, for each architecture.

/// Of system calls: `(x86-64, aarch64)`.
const fn by_arch(x86_64: usize, aarch64: usize) -> usize {
    if cfg!(target_arch = "x86_64") { x86_64 } else { aarch64 }
}

pub(super) const NR_CLONE: usize = by_arch(56, 220);
pub(super) const NR_EXECVE: usize = by_arch(59, 221);
pub(super) const NR_EXIT_GROUP: usize = by_arch(231, 94);
pub(super) const NR_FACCESSAT: usize = by_arch(269, 48);
pub(super) const NR_FTRUNCATE: usize = by_arch(77, 46);
pub(super) const NR_GETPID: usize = by_arch(39, 172);
pub(super) const NR_GETRUSAGE: usize = by_arch(98, 165);
pub(super) const NR_KILL: usize = by_arch(62, 129);
pub(super) const NR_OPENAT: usize = by_arch(257, 56);
pub(super) const NR_PRCTL: usize = by_arch(157, 167);
pub(super) const NR_PWRITE64: usize = by_arch(18, 68);
pub(super) const NR_RT_SIGACTION: usize = by_arch(13, 134);
pub(super) const NR_RT_SIGPROCMASK: usize = by_arch(14, 135);
pub(super) const NR_RT_SIGTIMEDWAIT: usize = by_arch(128, 137);
pub(super) const NR_SETPGID: usize = by_arch(109, 154);
pub(super) const NR_WAIT4: usize = by_arch(61, 260);

pub(super) const AT_FDCWD: isize = -100;
pub(super) const CLONE_VFORK: usize = 0x4000;
pub(super) const CLONE_VM: usize = 0x100;
pub(super) const O_CLOEXEC: usize = 0o2_000_000;
pub(super) const O_WRONLY: usize = 1;
pub(super) const PR_SET_DUMPABLE: usize = 4;
pub(super) const SIGCHLD: usize = 17;
pub(super) const SIG_SETMASK: usize = 2;
pub(super) const WALL: usize = 0x4000_0000;
pub(super) const WNOHANG: usize = 1;
