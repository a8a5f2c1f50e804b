//! Archives as inputs: unpacked harmlessly or refused, without a panic and within the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fumehood::fuzzing::archive(bytes));
