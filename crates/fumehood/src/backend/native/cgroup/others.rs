//! Groups that somebody else made: those of containers, which their engine cannot always end.

use std::io;

use super::dir::{Dir, read_proc};
use super::find;
use super::gc::{hold_still, kill_all};
use super::locate::{Membership, parse_memberships, places};

/// Names that nobody gives by accident: 256 bits in hexadecimal digits.
const LONG: usize = 64;

/// Kills everybody in the groups that a process is in, as far as their paths have this name. The id of the
/// process may be another's by now, or of another host: then no group has the name, and nothing is done.
///
/// # Errors
/// If somebody in there may not be killed by us.
pub(crate) fn kill_with(pid: i32, name: &str) -> io::Result<()> {
    let memberships = match read_proc(&format!("/proc/{pid}/cgroup")) {
        Ok(text) => parse_memberships(&text),
        Err(_) => return Ok(()),
    };
    let mounts = find::mounts()?;
    let of_name = memberships.iter().filter(|one| has(one, name));
    let mut found: Vec<_> =
        of_name.filter_map(|one| Some(places(one, &mounts).first()?.dir.clone())).collect();
    found.dedup();
    found.iter().for_each(|group| hold_still(group));
    found.iter().filter_map(|group| Dir::open(group).ok()).try_for_each(|group| {
        // Of the whole group at once where the kernel can (Linux 5.14, version 2).
        let _ = group.write("cgroup.kill", "1");
        let is_member = |text: &str| parse_memberships(text).iter().any(|one| has(one, name));
        kill_all(&group, is_member).map(drop)
    })
}

/// Never a group that is not one of a container's, whatever the name: the root has a part that is empty,
/// and so may a name be that an engine gives.
fn has(membership: &Membership, name: &str) -> bool {
    let is_of = |part: &str| part.len() >= LONG && part.contains(name);
    name.len() >= LONG && membership.path != "/" && membership.path.split('/').any(is_of)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shell, hierarchy_or_skip, is_empty, limits};
    use super::super::{Group, Resource};
    use super::*;

    /// Told from text alone: to kill by a name that is none would reach everybody on this machine.
    #[test]
    fn a_group_is_only_known_by_a_whole_id() {
        let id = "0123456789abcdef".repeat(4);
        let knows = |line: &str, name: &str| has(&parse_memberships(line)[0], name);
        for line in [format!("0::/docker/{id}"), format!("8:pids:/a/libpod-{id}.scope/container")] {
            assert!(knows(&line, &id), "{line}");
            assert!(!knows(&line, &id[1..]) && !knows(&line, ""), "{line}");
            assert!(!knows(&line, &id.replace('0', "1")), "{line}");
        }
        for line in ["0::/", "0::/docker", "0::/../../docker"] {
            assert!(!knows(line, "") && !knows(line, "docker") && !knows(line, &id), "{line}");
        }
    }

    #[test]
    fn everybody_in_a_group_of_this_name_is_killed_and_nobody_else() {
        let hierarchy = hierarchy_or_skip!("everybody_in_a_group_of_this_name", Pids);
        let id = hierarchy.owner().name() + &"0123456789abcdef".repeat(4);
        let named = |name| Group::create_named(hierarchy.parent(), name, &limits(None, Some(8)));
        let [ours, other] = [format!("x-{id}.scope"), format!("x-{}0", &id[..id.len() - 1])]
            .map(|name| named(name).unwrap());
        let [first, second] = [&ours, &ours].map(|group| Shell::inside(group, "sleep 60"));
        let neighbour = Shell::inside(&other, "sleep 60");
        let pid = |shell: &Shell| shell.pid().as_raw_pid();

        kill_with(pid(&neighbour), &id).unwrap();
        assert!([&ours, &other].iter().all(|group| !is_empty(group)), "no process of that name");
        kill_with(pid(&first), &id).unwrap();
        assert!([first, second].into_iter().all(|shell| !shell.ends().success()));
        assert!(!is_empty(&other));
        drop(other);
        assert!(!neighbour.ends().success());
    }
}
