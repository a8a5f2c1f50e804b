//! Whether a directory can be mounted copy-on-write.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::layout::Entry;
use super::mounts::shown;
use crate::workspace::changes;
use crate::{Error, Result};

/// An overlay shows one file system: what is mounted below its directory would be missing from it,
/// and the kernel refuses that where it was mounted by somebody with more rights.
pub(super) fn check(index: usize, source: &Path, directory: bool) -> Result<()> {
    let refuse = |field: &str, problem: String| {
        Err(Error::invalid(format!("mounts[{index}].{field}"), shown(source), problem))
    };
    if !directory {
        let problem = "is a file; only directories can be copy-on-write, so mount its directory";
        return refuse("source", problem.to_owned());
    }
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    match mounts_below(&mounts, source).first() {
        Some(below) => refuse(
            "source",
            format!(
                "has another file system mounted in it, at {}, which a copy-on-write mount cannot \
                 show; mount a directory without",
                shown(below)
            ),
        ),
        None => Ok(()),
    }
}

/// The directory that keeps a mount's changes: nowhere near what it keeps them of.
pub(super) fn kept(index: usize, upper: &Path, source: &Path) -> Result<PathBuf> {
    let field = format!("mounts[{index}].upper");
    let path = changes::kept::check(&field, upper)?;
    if overlaps(&path, source) {
        let problem = format!("and the source {} lie in each other; choose another", shown(source));
        return Err(Error::invalid(field, shown(upper), problem));
    }
    Ok(path)
}

/// Whoever saw a layer by another way than its overlay could make it show anything.
pub(super) fn stay_hidden(root: &[Entry]) -> Result<()> {
    let kept = |entry: &Entry| match entry {
        Entry::Cow { upper, .. } => upper.clone(),
        _ => None,
    };
    let layers: Vec<PathBuf> = root.iter().filter_map(kept).collect();
    for (number, layer) in layers.iter().enumerate() {
        let refuse = |problem: String| Err(Error::invalid("mounts", shown(layer), problem));
        let others = layers.iter().skip(number + 1);
        if others.into_iter().any(|other| overlaps(layer, other)) {
            return refuse("is to keep the changes of two mounts; each needs its own".to_owned());
        }
        let sees = |entry: &&Entry| match entry {
            Entry::Bind { source, .. } | Entry::Cow { source, .. } => overlaps(layer, source),
            _ => false,
        };
        if let Some(Entry::Bind { source, .. } | Entry::Cow { source, .. }) = root.iter().find(sees)
        {
            let source = shown(source);
            return refuse(format!(
                "is to keep changes, and can be seen inside with {source}; choose another"
            ));
        }
    }
    Ok(())
}

fn overlaps(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The mount points below a directory, from the text of `/proc/PID/mountinfo` (`proc(5)`).
fn mounts_below(text: &[u8], dir: &Path) -> Vec<PathBuf> {
    let point = |line: &[u8]| line.split(|&byte| byte == b' ').nth(4).map(unescaped);
    let points = text.split(|&byte| byte == b'\n').filter_map(point);
    points.filter(|point| point != dir && point.starts_with(dir)).collect()
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.first_chunk::<3>().filter(|_| byte == b'\\');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = after.get(3..).unwrap_or(&[]);
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_a_directory_are_found_whatever_their_names() {
        let text = b"1 0 8:1 / / rw - ext4 /dev/a rw\n\
            2 1 0:5 / /a rw - tmpfs none rw\n\
            3 2 0:6 / /a/b\\040c\\134 rw - tmpfs none rw\n\
            4 1 0:7 / /ab rw - tmpfs none rw\n";
        let below = |dir| mounts_below(text, Path::new(dir));
        assert_eq!(below("/a"), [PathBuf::from("/a/b c\\")]);
        assert_eq!(below("/ab"), Vec::<PathBuf>::new());
        assert_eq!(below("/").len(), 3);
    }
}
