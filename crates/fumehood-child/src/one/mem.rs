//! What compilers take for granted that a C library has. Strings are short here: a path, a token.
#![expect(unsafe_code, reason = "C's memory functions; their callers keep C's contracts")]

/// SAFETY for callers: as for C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    let mut at = 0;
    while at < len {
        // SAFETY: within what the caller lends.
        unsafe { *to.add(at) = byte.to_le_bytes()[0] };
        at += 1;
    }
    to
}

/// SAFETY for callers: as for C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    let mut at = 0;
    while at < len {
        // SAFETY: within what the caller lends.
        unsafe { *to.add(at) = *from.add(at) };
        at += 1;
    }
    to
}

/// SAFETY for callers: as for C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, len: usize) -> i32 {
    let mut at = 0;
    while at < len {
        // SAFETY: within what the caller lends.
        let (one, other) = unsafe { (*one.add(at), *other.add(at)) };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
        at += 1;
    }
    0
}

/// SAFETY for callers: as for C's `bcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, len: usize) -> i32 {
    // SAFETY: as the caller says.
    unsafe { memcmp(one, other, len) }
}

/// SAFETY for callers: as for C's `strlen`.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(string: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: nothing beyond the end is read.
    while unsafe { *string.add(len) } != 0 {
        len += 1;
    }
    len
}

/// What the core library's code for unwinding refers to, if any of it is linked: nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
