//! Whether a user's own service manager has given a unit to the processes in it.
//!
//! The system's manager marks the groups of such units, but a user's manager marks none of its own
//! (seen with systemd 252 and 257), so two other things are looked at: the file that the manager
//! writes for a unit that systemd-run(1) made, and a process that was started in the subgroup with
//! our name, which systemd makes for delegated units alone (`DelegateSubgroup=`, systemd 254).

use std::fs;
use std::path::PathBuf;

use super::delegate::SUPERVISOR;

/// Whether `unit`, the path of a unit below the user's manager `manager`, was given to `group`,
/// which is in it.
pub(super) fn gave(manager: &str, unit: &str, group: &str) -> bool {
    is_started_in_subgroup(unit, group)
        || transient_file(manager, unit)
            .and_then(|path| fs::read_to_string(path).ok())
            .is_some_and(|text| says_delegate(&text))
}

fn is_started_in_subgroup(unit: &str, group: &str) -> bool {
    let below = group.strip_prefix(unit).and_then(|rest| rest.strip_prefix('/'));
    below.is_some_and(|below| below.split('/').next() == Some(SUPERVISOR))
}

/// Where the manager `…/user@UID.service` notes what a unit was asked to be.
fn transient_file(manager: &str, unit: &str) -> Option<PathBuf> {
    let (_, uid) = manager.strip_suffix(".service")?.rsplit_once("user@")?;
    let uid: u32 = uid.parse().ok()?;
    let (_, name) = unit.rsplit_once('/')?;
    Some(format!("/run/user/{uid}/systemd/transient/{name}").into())
}

/// Reads the last assignment of `Delegate=`: a truth value or a list of controllers
/// (systemd.resource-control(5)). One without a value says nothing.
fn says_delegate(unit_file: &str) -> bool {
    const NO: [&str; 7] = ["", "0", "n", "no", "f", "false", "off"];
    let mut lines = unit_file.lines().rev();
    let value = lines.find_map(|line| line.trim().strip_prefix("Delegate="));
    value.is_some_and(|value| !NO.contains(&value.trim().to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::{gave, is_started_in_subgroup, says_delegate, transient_file};

    const MANAGER: &str = "/user.slice/user-1000.slice/user@1000.service";
    const UNIT: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope";

    #[test]
    fn a_unit_file_says_whether() {
        let scope = |line: &str| format!("# By systemd.\n[Unit]\nDescription=x\n\n[Scope]\n{line}");
        for yes in ["Delegate=yes\n", "Delegate=memory pids\n", "Delegate=no\nDelegate=true\n"] {
            assert!(says_delegate(&scope(yes)), "{yes}");
        }
        for no in ["", "Delegate=no\n", "Delegate=\n", "Delegate=yes\nDelegate=Off\n"] {
            assert!(!says_delegate(&scope(no)), "{no}");
        }
    }

    #[test]
    fn the_file_is_that_of_the_manager() {
        let path = transient_file(MANAGER, UNIT).unwrap();
        assert_eq!(path.to_str(), Some("/run/user/1000/systemd/transient/run-r1.scope"));
        assert_eq!(transient_file("/user@x.service", UNIT), None);
    }

    #[test]
    fn only_a_delegated_unit_has_our_subgroup() {
        let group = format!("{UNIT}/fumehood-supervisor");
        assert!(is_started_in_subgroup(UNIT, &group));
        assert!(is_started_in_subgroup(UNIT, &format!("{group}/deeper")));
        assert!(!is_started_in_subgroup(UNIT, UNIT));
        assert!(!is_started_in_subgroup(UNIT, &format!("{UNIT}/main")));
        assert!(!gave(MANAGER, "/no/such.scope", "/no/such.scope"));
    }
}
