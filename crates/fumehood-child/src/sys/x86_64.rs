//! System calls of x86-64: number in `rax`, arguments in `rdi rsi rdx r10 r8 r9`.

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
    // SAFETY: the kernel preserves all registers but rax, rcx and r11; memory is not declared
    // untouched, so the compiler assumes that any of it may have been read or written.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => ret,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
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
    // on its own stack, calls `entry`, and never comes back (`ud2` would end it).
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") number as isize => ret,
            in("rdi") first,
            in("rsi") second,
            in("r12") entry,
            in("r13") argument,
            in("r10") cleared,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    ret
}
