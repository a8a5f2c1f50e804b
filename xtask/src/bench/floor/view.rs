//! Whether two programs that looked around saw the same.

use std::collections::BTreeMap;

/// Of `/proc/self/status`: what says how a process is confined.
const STATUS: [&str; 15] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "NSpid",
    "NSsid",
    "SigBlk",
    "SigIgn",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
];

/// What they printed, with an empty line between mounts, status, limits, namespaces and the rest.
/// An error says what differs.
pub(super) fn compare(ours: &str, other: &str) -> Result<(), String> {
    let [left, right] = [ours, other].map(|text| text.splitn(5, "\n\n").collect::<Vec<_>>());
    let [mounts, status, limits, spaces, rest] = parts(&left)?;
    let [others, their, theirs, own_spaces, remains] = parts(&right)?;
    same("mount", &mounted(mounts), &mounted(others))?;
    same("status", &facts(status), &facts(their))?;
    same("limits", &numbered(limits), &numbered(theirs))?;
    same("the rest", &numbered(rest), &numbered(remains))?;
    [spaces, own_spaces].into_iter().flat_map(str::lines).try_for_each(own)
}

/// Refuses a namespace that this process is in, too.
fn own(space: &str) -> Result<(), String> {
    let (kind, _) = space.split_once(':').ok_or(format!("{space:?} is no namespace"))?;
    let here = std::fs::read_link(format!("/proc/self/ns/{kind}"));
    let here = here.map_err(|error| format!("the {kind} namespace: {error}"))?;
    if here.as_os_str() == space { Err(format!("{space} is the host's")) } else { Ok(()) }
}

fn parts<'a>(parts: &[&'a str]) -> Result<[&'a str; 5], String> {
    parts.try_into().map_err(|_| format!("{} parts instead of 5", parts.len()))
}

fn same(
    what: &str,
    ours: &BTreeMap<String, String>,
    theirs: &BTreeMap<String, String>,
) -> Result<(), String> {
    let all = ours.keys().chain(theirs.keys());
    let differs = |key: &&String| ours.get(*key) != theirs.get(*key);
    all.into_iter().find(differs).map_or(Ok(()), |key| {
        let show = |side: &BTreeMap<String, String>| side.get(key).cloned().unwrap_or_default();
        Err(format!("{what} {key}: ours {:?}, by hand {:?}", show(ours), show(theirs)))
    })
}

/// By mount point: what of which file system is there and how. The uppermost counts where several
/// are on one; numbers of mounts and devices are left out, and the source, which is only a name.
fn mounted(mountinfo: &str) -> BTreeMap<String, String> {
    let mount = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<_> = left.split(' ').collect();
        let right: Vec<_> = right.split(' ').collect();
        let kind = [*left.get(3)?, left.get(5)?, right.first()?, right.get(2)?].join(" ");
        Some(((*left.get(4)?).to_owned(), kind))
    };
    mountinfo.lines().filter_map(mount).collect()
}

fn facts(status: &str) -> BTreeMap<String, String> {
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    let known = fields.filter(|(name, _)| STATUS.contains(name));
    known.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn numbered(text: &str) -> BTreeMap<String, String> {
    let number = |(at, line): (usize, &str)| (format!("line {:02}", at + 1), line.to_owned());
    text.lines().enumerate().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: &str = "\
9 8 0:1 / / ro,nosuid - tmpfs none rw,size=16384k
10 9 0:2 / /proc rw - proc none rw

CapEff:\t0000000000000000
VmRSS:\t100 kB

Max cpu time 10 11 seconds

pid:[1]

0::/
-rw-r--r-- 1000 1000 100 /etc/passwd
";

    #[test]
    fn numbers_of_mounts_and_namespaces_and_memory_do_not_matter() {
        let other = SEEN.replace("9 8 0:1", "7 6 0:5").replace("100 kB", "200 kB");
        assert_eq!(compare(SEEN, &other.replace("pid:[1]", "pid:[2]")), Ok(()));
    }

    #[test]
    fn what_is_hidden_by_another_mount_does_not_matter() {
        let under = "5 9 0:3 / /proc ro - proc proc rw\n10 9 0:2";
        assert_eq!(compare(SEEN, &SEEN.replace("10 9 0:2", under)), Ok(()));
    }

    #[test]
    fn every_other_difference_is_named() {
        for (from, to, name) in [
            ("ro,nosuid", "rw,nosuid", "mount /:"),
            ("10 9 0:2 / /proc rw - proc none rw\n", "", "mount /proc:"),
            ("CapEff:\t0", "CapEff:\t1", "status CapEff:"),
            ("Max cpu time 10", "Max cpu time 20", "limits line 01:"),
            ("0::/", "0::/mine", "the rest line 01:"),
            ("1000 1000 100", "1000 1000 101", "the rest line 02:"),
            ("\n\nMax", "\nMax", "parts"),
        ] {
            let error = compare(SEEN, &SEEN.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_namespace_of_the_host_is_refused() {
        let here = std::fs::read_link("/proc/self/ns/pid").unwrap();
        let other = SEEN.replace("pid:[1]", here.to_str().unwrap());
        assert!(compare(SEEN, &other).unwrap_err().ends_with("is the host's"));
    }
}
