//! System calls of aarch64: number in `x8`, arguments in `x0` to `x5`.

use core::arch::asm;

/// SAFETY for callers: as for [`super::call`].
pub(crate) unsafe fn syscall6(
    number: usize,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> isize {
    let ret: isize;
    // SAFETY: the kernel preserves all registers but x0; memory is not declared untouched, so the
    // compiler assumes that any of it may have been read or written.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => ret,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            options(nostack),
        );
    }
    ret
}

/// A clone for a child with a stack of its own, which calls `entry(argument)`: `clone3(2)` of the
/// arguments at `first` that are `second` bytes long, or `clone(2)` of the flags `first` and the top
/// of the stack `second`, and of a word that the kernel is to clear where they have
/// `CLONE_CHILD_CLEARTID`.
///
/// SAFETY for callers: the stack ends 16-byte aligned; other flags that use further arguments of
/// `clone(2)` are not set; `entry` is the address of an `extern "C"` function of one word that never returns.
pub(crate) unsafe fn clone_with_stack(
    number: usize,
    first: usize,
    second: usize,
    entry: usize,
    argument: usize,
    cleared: usize,
) -> isize {
    let ret: isize;
    // SAFETY: in the parent this is a plain system call. The child starts with the same registers
    // on its own stack, calls `entry`, and never comes back (`brk` would end it).
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x21",
            "blr x20",
            "brk 1",
            "2:",
            in("x8") number,
            inlateout("x0") first as isize => ret,
            in("x1") second,
            in("x20") entry,
            in("x21") argument,
            in("x4") cleared,
            lateout("x30") _,
        );
    }
    ret
}
