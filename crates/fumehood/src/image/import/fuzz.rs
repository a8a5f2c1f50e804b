//! What must hold of layers that nobody has seen before.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::stream::{Capped, Plain, Summed};
use super::tar;
use super::unpack::Unpacker;

/// As much as a layer may unpack to here.
const MOST: u64 = 1 << 20;

/// Unpacks two layers on each other, of which the first is as long as the first two bytes say, in an
/// empty directory: nothing is written outside, and nothing is made that gives privileges.
///
/// # Panics
/// At layers that break a rule, and where the directory cannot be used.
pub fn layers(bytes: &[u8], scratch: &Path) {
    let Some((split, rest)) = bytes.split_first_chunk::<2>() else { return };
    let (first, second) = rest.split_at(usize::from(u16::from_le_bytes(*split)).min(rest.len()));
    let root = scratch.join("root");
    fs::create_dir(&root).expect("a directory");
    fs::write(scratch.join("canary"), "canary").expect("a file");
    // What a layer could hold on to: links that lead to the canary.
    symlink("../canary", root.join("canary")).expect("a link");
    symlink("..", root.join("above")).expect("a link");
    let mut unpacker = Unpacker::new(&root, 1000).expect("an empty directory");
    let mut left = MOST;
    for layer in [first, second] {
        unpacker.next_layer();
        if unpack(layer, &mut left, &mut unpacker).is_err() {
            break;
        }
    }
    assert!(unpacker.size <= MOST, "more than the limits allow");
    let names = fs::read_dir(scratch).expect("a directory").count();
    assert_eq!(names, 2, "something was made outside");
    let canary = fs::read_to_string(scratch.join("canary"));
    assert_eq!(canary.ok().as_deref(), Some("canary"), "something outside was changed");
    harmless(&root);
}

fn unpack(layer: &[u8], left: &mut u64, to: &mut Unpacker) -> io::Result<()> {
    let mut plain = Plain::of(Summed::new(layer))?;
    let mut capped = Capped::new(&mut plain, left);
    tar::each(&mut capped, |entry, data| to.entry(entry, data))
}

/// Looks at everything that came of it.
fn harmless(dir: &Path) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let metadata = entry.metadata().expect("an entry");
        let kind = metadata.file_type();
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink(), "{entry:?}");
        if !kind.is_symlink() {
            assert_eq!(metadata.mode() & 0o7000, 0, "{entry:?}");
        }
        if kind.is_dir() {
            harmless(&entry.path());
        }
    }
}
