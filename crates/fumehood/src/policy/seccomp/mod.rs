//! Filters of system calls: profiles, what they mean, and the programs the kernel runs.
//!
//! A [`Profile`] is data in the format of OCI's `linux.seccomp` with the additions of Docker and
//! Podman, so that one file serves every backend. [`compile()`] turns it, for a [`Target`], into a
//! [`Program`] of classic BPF, which the child installs as its last step. [`Program::evaluate`]
//! runs a filter without a kernel, and [`Profile::verdicts`] says what it means.
//!
//! # What a profile means
//!
//! - Only the target's own calling convention is admitted. i386, x32 and 32-bit ARM answer
//!   `ENOSYS` whatever the profile lists under `architectures` or `archMap`: their numbers mean
//!   other calls, and `socketcall` hides what a filter must see.
//! - `includes`, `excludes` and `minKernel` are resolved when a filter is compiled, with the
//!   capabilities that the program really has: none, in a cell.
//! - For one system call, rules with conditions on arguments are tried first, in the order of the
//!   file, and the first that holds decides; then the rule without conditions; then
//!   `defaultAction`. Of two rules without conditions the first decides, as in libseccomp.
//!   [`Verdicts::overruled`] lists the others.
//! - libseccomp instead drops all rules with conditions once there is one without. A profile that
//!   has both for one call, as the shipped one has, therefore means less to runc, crun and Docker.
//! - The conditions of a rule must all hold. But if a rule compares one argument twice, each of
//!   its conditions stands for a rule of its own, as runc and crun have it (opencontainers/runc
//!   issue 2735: libseccomp compares an argument only once in a rule).
//! - Arguments are compared as 64 unsigned bits. Where the kernel reads an `int`, a rule masks
//!   with `0xffffffff`, or whoever sets a high bit gets past it.
//! - `SCMP_ACT_ERRNO` without `errnoRet` is `EPERM`.
//! - Names that the architecture does not have are skipped, and listed in [`Verdicts::unknown`].
//!   Keys that the format does not have are errors.
//!
//! # The shipped profile
//!
//! [`DEFAULT_JSON`] allows what is listed, refuses with `EPERM` what is known to be harmful, each
//! with its reason, and answers `ENOSYS` to the rest, so that programs fall back as they do on an
//! older kernel. [`Profile::shipped`] reads it.

mod action;
mod arch;
mod assemble;
mod compile;
mod error;
mod eval;
mod profile;
mod program;
mod resolve;
mod shipped;
#[cfg(test)]
mod tests;
mod verdicts;
mod wire;

pub use action::Action;
pub use arch::Arch;
pub use compile::compile;
pub use error::Error;
pub use eval::SeccompData;
pub use profile::{Condition, DEFAULT_JSON, Filter, Profile, Rule, Test};
pub use program::{Insn, Program};
pub use resolve::{Overruled, Target};
pub use verdicts::{Case, Conditional, Verdicts};
