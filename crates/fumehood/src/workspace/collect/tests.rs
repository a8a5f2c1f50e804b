use std::cell::Cell;
use std::fs::{self, File};

use super::*;

/// What comes of these files if somebody waits for so many looks.
fn collected(names: &[&str], paths: &[&str], looks: usize) -> Collected {
    let dir = tempfile::tempdir().unwrap();
    names.iter().for_each(|name| fs::write(dir.path().join(name), name).unwrap());
    let root = OwnedFd::from(File::open(dir.path()).unwrap());
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let wanted = Collect { paths, ..Collect::default() };
    let left = Cell::new(looks);
    let is_awaited = || left.replace(left.get().saturating_sub(1)) > 0;
    collect(&root, &wanted, Path::new("/"), Sink::Report, Rights::OURS, &is_awaited)
}

#[test]
fn nothing_is_looked_at_for_who_is_gone() {
    let found = collected(&["a", "b"], &["*", "missing"], usize::MAX);
    assert_eq!((found.artifacts.len(), found.skipped.len()), (2, 1));
    let found = collected(&["a", "b"], &["*", "missing"], 1);
    assert_eq!((found.artifacts.len(), found.skipped.len()), (0, 0));
}

#[test]
fn globs_that_overlap_take_a_file_once() {
    let found = collected(&["a", "b"], &["**/a", "*", "a", "**"], usize::MAX);
    let paths: Vec<_> = found.artifacts.iter().map(|one| one.path.display().to_string()).collect();
    assert_eq!((paths, found.skipped.len()), (vec!["a".to_owned(), "b".to_owned()], 0));
}
