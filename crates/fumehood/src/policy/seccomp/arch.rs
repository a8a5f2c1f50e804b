//! The two architectures, and the numbers and names of their system calls.
//!
//! Both tables are in every build, so that a profile can be explained and tested for a machine
//! that is not at hand.

use std::fmt;
use std::ops::RangeInclusive;

use serde::Serialize;
use syscalls::{aarch64, x86_64};

/// An architecture that filters are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Arch {
    /// x86-64, without its i386 and x32 personalities.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM, little-endian, without its 32-bit personality.
    #[serde(rename = "aarch64")]
    Aarch64,
}

/// Numbers that the generic table gives to 32-bit architectures alone (`clock_gettime64` and its
/// like). The table of the `syscalls` crate lists them for aarch64; its kernel does not.
const ONLY_32_BIT: RangeInclusive<u32> = 403..=423;

/// The kernel calls it `newfstatat` wherever it exists; the `syscalls` crate says `fstatat` on
/// aarch64, and profiles do not.
const NEWFSTATAT: (&str, &str) = ("fstatat", "newfstatat");

impl Arch {
    /// Every architecture.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The architecture that this program was built for, if filters can be made for it.
    #[must_use]
    pub const fn host() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    /// `AUDIT_ARCH_*`: how the kernel names the calling convention in `struct seccomp_data`.
    #[must_use]
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xC000_003E,
            Self::Aarch64 => 0xC000_00B7,
        }
    }

    /// The number of a system call, unless this architecture has no call of that name.
    #[must_use]
    pub fn number(self, name: &str) -> Option<u32> {
        if name == NEWFSTATAT.0 {
            return None;
        }
        let asked = if name == NEWFSTATAT.1 { self.newfstatat() } else { name };
        let id = match self {
            Self::X86_64 => asked.parse::<x86_64::Sysno>().ok()?.id(),
            Self::Aarch64 => asked.parse::<aarch64::Sysno>().ok()?.id(),
        };
        u32::try_from(id).ok().filter(|number| !ONLY_32_BIT.contains(number))
    }

    /// The name of a system call, unless this architecture has no call of that number.
    #[must_use]
    pub fn name(self, number: u32) -> Option<&'static str> {
        if ONLY_32_BIT.contains(&number) {
            return None;
        }
        let index = usize::try_from(number).ok()?;
        let name = match self {
            Self::X86_64 => x86_64::Sysno::new(index)?.name(),
            Self::Aarch64 => aarch64::Sysno::new(index)?.name(),
        };
        Some(if name == NEWFSTATAT.0 { NEWFSTATAT.1 } else { name })
    }

    /// Every system call that is known, in the order of the numbers.
    pub fn calls(self) -> impl Iterator<Item = (u32, &'static str)> {
        (0..Self::NUMBERS).filter_map(move |number| Some((number, self.name(number)?)))
    }

    /// Numbers of system calls end below this; the kernel has given out fewer than 500 so far.
    pub(super) const NUMBERS: u32 = 512;

    /// Whether a profile's `includes` and `excludes` mean this architecture by `name`: Docker and
    /// Podman write the names of Go, others those of `uname` or of libseccomp.
    #[must_use]
    pub fn is_called(self, name: &str) -> bool {
        match self {
            Self::X86_64 => matches!(name, "amd64" | "x86_64" | "SCMP_ARCH_X86_64"),
            Self::Aarch64 => matches!(name, "arm64" | "aarch64" | "SCMP_ARCH_AARCH64"),
        }
    }

    /// The first number that belongs to another personality. On x86-64 bit 30 marks a call of x32,
    /// which would slip past a filter that knows only the native numbers.
    pub(super) const fn foreign_numbers(self) -> Option<u32> {
        match self {
            Self::X86_64 => Some(0x4000_0000),
            Self::Aarch64 => None,
        }
    }

    const fn newfstatat(self) -> &'static str {
        match self {
            Self::X86_64 => NEWFSTATAT.1,
            Self::Aarch64 => NEWFSTATAT.0,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}
