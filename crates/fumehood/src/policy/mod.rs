//! What a program may ask of the kernel: data with a reason per rule, and the compilers for it.

pub mod landlock;
pub mod seccomp;
