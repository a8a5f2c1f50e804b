//! What a bundle that somebody else wrote shows of the host: not where it is, but from copies of the mounts in
//! the home, in which nothing can be changed and nothing is mounted that is not to be seen. The kernel lets
//! a runtime that has a user namespace copy no mount without all that is mounted below it, even where a
//! bundle asks for that (`bind`), and a source may have the runtime's own place in it (`/`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::backend::native::cgroup::unescape;
use crate::backend::native::script::{Hidden, Shown};
use crate::bundle::{self, Source};
use crate::host::Host;

/// Where a source is in the home.
fn at(place: &Path, mount: Option<usize>) -> PathBuf {
    let name = mount.map_or_else(|| "root".to_owned(), |index| index.to_string());
    place.join("sources").join(name)
}

/// The `config.json` that shows the copies.
pub(super) fn moved(place: &Path, dir: &Path) -> Result<String> {
    let sources = bundle::sources(dir);
    let places: Vec<_> =
        sources.iter().map(|source| (source.mount, at(place, source.mount))).collect();
    bundle::moved(dir, &places)
}

/// The copies.
pub(super) fn shown(place: &Path, dir: &Path) -> Vec<Shown> {
    bundle::sources(dir).into_iter().map(|source| copy(place, source)).collect()
}

fn copy(place: &Path, source: Source) -> Shown {
    let target = at(place, source.mount);
    // An ordinary user's home has a user namespace, too.
    let nested = source.nested || Host::current().uid != 0;
    let mut covered = if source.nested { Vec::new() } else { mount_points() };
    covered.push(place.to_owned());
    let below =
        |point: &PathBuf| nested && *point != source.path && point.starts_with(&source.path);
    covered.retain(below);
    let hidden = outermost(covered).into_iter().filter_map(|point| {
        let what =
            if fs::metadata(&point).ok()?.is_dir() { Hidden::Directory } else { Hidden::File };
        Some((target.join(point.strip_prefix(&source.path).ok()?), what))
    });
    Shown {
        hidden: hidden.collect(),
        directory: source.path.is_dir(),
        attributes: if source.writable { 0 } else { Shown::READ_ONLY },
        source: source.path,
        target,
        nested,
    }
}

/// Where something is mounted (`proc_pid_mountinfo(5)`).
fn mount_points() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(|point| unescape(point).into()).collect()
}

/// Those that are below no other.
fn outermost(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort_unstable();
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in paths {
        if !kept.last().is_some_and(|above| path.starts_with(above)) {
            kept.push(path);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_runtime_works_is_hidden_in_what_it_is_in() {
        let source = |path: &str| Source {
            mount: Some(3),
            path: path.into(),
            nested: true,
            writable: false,
        };
        let hidden = |path: &str| copy(Path::new("/usr"), source(path)).hidden;
        assert_eq!(hidden("/"), [("/usr/sources/3/usr".into(), Hidden::Directory)]);
        assert_eq!(hidden("/usr"), []);
        assert_eq!(hidden("/etc"), []);
    }

    #[test]
    fn what_is_below_another_is_hidden_with_it() {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let given = paths(&["/dev/shm", "/dev", "/dev-x", "/run/a", "/dev", "/run/b/c"]);
        assert_eq!(outermost(given), paths(&["/dev", "/dev-x", "/run/a", "/run/b/c"]));
    }
}
