//! What a program finds inside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{FUMEHOOD, assert_ended, fumehood, text};

/// What the kernel counts by user is the caller's as well, and some of it is nobody's: without a limit
/// one program could take all of it.
#[test]
fn what_a_program_takes_of_the_kernel_is_limited() {
    let output = fumehood(&["run", "--", "cat", "/proc/self/limits"]);
    assert_ended(&output, 0);
    for (name, most) in [
        // Which starts no program of the host's either, as 0 does.
        ("Max core file size", "1"),
        ("Max locked memory", "65536"),
        ("Max msgqueue size", "0"),
        ("Max pending signals", "1024"),
        ("Max nice priority", "0"),
        ("Max realtime priority", "0"),
    ] {
        let line = text(&output.stdout).lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let words: Vec<_> = line.split_whitespace().take(2).collect();
        assert_eq!(words, [most, most], "{name}");
    }
    for (name, most) in [("max_inotify_instances", "8\n"), ("max_inotify_watches", "8192\n")] {
        let output = fumehood(&["run", "--", "cat", &format!("/proc/sys/user/{name}")]);
        assert_eq!(text(&output.stdout), most, "{name}");
    }
}

#[test]
fn a_program_learns_none_of_the_hosts_names() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can have a domain name to keep to itself");
        return;
    }
    let script = "echo secret >/proc/sys/kernel/domainname; exec \"$@\"";
    let names = ["cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname"];
    let mut command = Command::new("unshare");
    command.args(["--uts", "sh", "-c", script, "sh", FUMEHOOD, "run", "--"]).args(names);
    let output = command.output().unwrap();
    assert_ended(&output, 0);
    assert_eq!(text(&output.stdout), "sandbox\n(none)\n");
}

/// A program learns of no server of the host's that it cannot ask.
#[test]
fn names_are_asked_for_only_where_there_is_a_network() {
    let script = "cat /etc/resolv.conf 2>/dev/null; echo end";
    let run = |flags: &[&str]| {
        let output = fumehood(&[&["run"], flags, &["--", "sh", "-c", script]].concat());
        assert_ended(&output, 0);
        text(&output.stdout).to_owned()
    };
    assert_eq!(run(&[]), "end\n");
    let servers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(run(&["--network", "host", "--waive", "network"]), format!("{servers}end\n"));
}

/// A file that cannot be executed is passed over, and told of if there is no other (`execvp(3)`).
#[test]
fn the_program_is_the_first_on_the_path_that_can_be_executed() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, mode) in [("one", 0o644), ("two", 0o755)] {
        let file = dir.path().join(name).join("tool");
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("#!/bin/sh\necho {name}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }
    let volume = format!("{}:/tools", dir.path().display());
    let run = |path: &str| {
        let path = format!("PATH={path}");
        fumehood(&["run", "-v", &volume, "--env", &path, "--", "tool"])
    };
    let output = run("/nowhere:/tools/one:/tools/two");
    assert_ended(&output, 0);
    assert_eq!(text(&output.stdout), "two\n");
    assert_ended(&run("/tools/one:/nowhere"), 126);
    assert_ended(&run("/tools/one:/usr/bin"), 126);
    assert_ended(&run("/nowhere:/usr/bin"), 127);
}
