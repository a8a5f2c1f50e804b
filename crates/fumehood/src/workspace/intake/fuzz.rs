//! What must hold of an archive that nobody has seen before.

use fumehood_child::stage::{MAX_RECORD, Make, Record};

#[cfg(feature = "fuzzing")]
use super::feed;
#[cfg(feature = "fuzzing")]
use crate::job::files::{Input, InputLimits};

/// Holds every record of a whole stream to what the other side counts on, and shows it.
///
/// # Panics
/// At a stream that breaks a rule.
pub(crate) fn check(mut stream: &[u8], mut see: impl FnMut(&Record<'_>)) {
    loop {
        let (len, rest) = stream.split_first_chunk::<4>().expect("a length");
        let len = usize::try_from(u32::from_le_bytes(*len)).expect("it fits");
        assert!(len <= MAX_RECORD, "a record of {len} bytes");
        let (record, rest) = rest.split_at(len);
        let record = Record::decode(record).expect("a record");
        judge(&record);
        see(&record);
        if record.make == Make::End {
            assert!(rest.is_empty(), "something follows the end");
            return;
        }
        stream = rest.get(usize::try_from(record.size).expect("it fits")..).expect("content");
    }
}

/// Whether a record can only make something below the base, and nothing that is not plain.
fn judge(record: &Record<'_>) {
    assert_eq!(record.mode & !0o777, 0, "{record:?}");
    if matches!(record.make, Make::Base | Make::End) {
        return;
    }
    assert!(leads_below(record.path.to_bytes()), "{record:?}");
    let target = record.target.to_bytes();
    match record.make {
        Make::Link => assert!(leads_below(target), "{record:?}"),
        Make::Symlink => {
            let deep = record.path.to_bytes().iter().filter(|&&byte| byte == b'/').count();
            let up = target.split(|&byte| byte == b'/').filter(|name| *name == b"..").count();
            assert!(!target.starts_with(b"/") && up <= deep, "{record:?}");
        }
        _ => {}
    }
}

fn leads_below(path: &[u8]) -> bool {
    let mut names = path.split(|&byte| byte == b'/');
    names.all(|name| !matches!(name, b"" | b"." | b"..") && name.len() <= 255)
}

/// Takes an archive in; it is unpacked harmlessly or refused.
///
/// # Panics
/// At an archive that breaks a rule.
#[cfg(feature = "fuzzing")]
pub fn archive(bytes: &[u8]) {
    let limits = InputLimits { entries: 1000, size: crate::ByteSize::mib(4), depth: 16, ratio: 50 };
    let mut stream = Vec::new();
    if feed(&[Input::tar_bytes(bytes)], limits, &mut stream).is_ok() {
        let mut size = 0;
        let mut entries = 0;
        check(&stream, |record| {
            size += record.size;
            entries += u64::from(!matches!(record.make, Make::Base | Make::End));
        });
        assert!(size <= limits.size.0 && entries <= limits.entries);
    }
    assert!(stream.len() < 16 << 20, "more than the limits allow");
}
