//! Process 1 of a container, a program of its own: no standard library, no C library, no memory but its
//! stack. A few KiB are read, mapped and started in no time, also by an application kernel, to which
//! every page and every system call is dear.
//!
//! The build script compiles this file by itself, for the target of the crate and always in the same way;
//! the crate's tests compile the modules below it once more, so that they are tested and linted.
#![no_std]
#![no_main]
#![no_builtins]

#[cfg(target_arch = "x86_64")]
#[path = "../sys/x86_64.rs"]
mod arch;
#[cfg(target_arch = "aarch64")]
#[path = "../sys/aarch64.rs"]
mod arch;

mod life;
mod lookup;
mod mem;
mod numbers;
mod record;
mod sys;
mod tag;

// What the kernel starts: the stack holds the number of arguments, their addresses, 0, the addresses of
// the variables, 0 (the ABI's "process initialization").
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {enter}",
    "ud2",
    enter = sym enter,
);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {enter}",
    "brk 1",
    enter = sym enter,
);

extern "C" fn enter(stack: *mut usize) -> ! {
    sys::exit(life::live(sys::started_with(stack)))
}

/// Nothing here is known to panic. If something does, there is no record, and nobody believes the status.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(life::NO_RECORD)
}
