//! Layers of an image: laid on each other below its root, or refused, without a panic and without a
//! trace anywhere else.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let scratch = tempfile::tempdir_in("/dev/shm").expect("there is memory");
    fumehood::fuzzing::layers(bytes, scratch.path());
});
