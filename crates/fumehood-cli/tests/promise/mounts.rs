//! Mounts: which go where, whatever they are called, and with which rights.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::support::{
    Fumehood, Mount, Promise, Ran, TempDir, host_tool, needs_root, promises, run, run_reported,
};

promises![
    an_optional_mount_that_is_missing_is_said_to_be,
    a_mount_that_is_missing_is_refused,
    a_source_may_have_any_name,
    parents_are_mounted_before_children,
    a_link_in_a_mounted_tree_works_when_its_target_is_mounted,
    a_link_in_a_mounted_tree_to_outside_works_when_it_is_mounted,
    a_link_to_a_read_only_program_can_be_executed,
    a_link_as_source_shows_what_it_leads_to,
    all_of_the_host_can_be_shown,
    a_target_behind_a_link_that_leads_elsewhere_is_refused,
    a_target_never_covers_what_the_sandbox_makes,
    restrictions_of_the_host_s_mount_are_kept,
    a_tmpfs_is_empty_writable_and_limited,
    a_tmpfs_can_lie_in_a_mount,
    a_mount_that_is_closed_to_the_program_is_said_to_be,
    a_mount_can_be_opened_with_the_rights_of_its_owner,
    files_made_as_the_owner_are_the_owner_s,
    root_s_own_directory_is_not_opened_for_writing,
];

/// The kinds of notes in a report, with the targets that they are about.
fn notes(ran: &Ran) -> Vec<(String, String)> {
    let notes = ran.report()["mounts"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    notes.iter().map(|note| (text(&note["kind"]), text(&note["target"]))).collect()
}

fn an_optional_mount_that_is_missing_is_said_to_be() -> Promise {
    let mount = "source=/nowhere/at-all,target=/data,optional";
    let ran = run_reported(&["--mount", mount], &["ls", "-d", "/data"]).exits(2);
    assert_eq!(notes(&ran), [("skipped".to_owned(), "/data".to_owned())]);
    ran.complains("/data: /nowhere/at-all does not exist on the host");
    let ran = run_reported(&["--mount", "source=/usr,target=/data,optional"], &["ls", "/data"]);
    assert_eq!(notes(&ran.exits(0)), []);
    // One that is there and cannot be looked at is not missing.
    let dir = TempDir::new();
    symlink("loop", dir.join("loop")).expect("the directory is ours");
    let mount = format!("source={},target=/data,optional", dir.join("loop").display());
    run(&["--mount", &mount], &["true"]).exits(125).complains("mounts[0].source");
    Ok(())
}

fn a_mount_that_is_missing_is_refused() -> Promise {
    run(&["--volume", "/nowhere/at-all:/data"], &["true"]).exits(125).complains_in_one_line(&[
        "mounts[0].source",
        "/nowhere/at-all",
        "no such file",
    ]);
    Ok(())
}

fn a_source_may_have_any_name() -> Promise {
    let dir = TempDir::new();
    let names: [&[u8]; 7] =
        [b"a,b", b"a:b", b"a b", b"a\nb", b"\xff\xfe", b"\"quoted\"", b"back\\slash"];
    for name in names {
        let path = dir.path().join(OsStr::from_bytes(name));
        fs::create_dir(&path).expect("the directory is ours");
        fs::write(path.join("file"), "content").expect("the directory is ours");
        let mut target = b"/data/".to_vec();
        target.extend(name);
        let quote = |key: &str, value: &[u8]| {
            let value: Vec<u8> = value
                .iter()
                .flat_map(|&byte| if byte == b'"' { vec![b'"'; 2] } else { vec![byte] })
                .collect();
            [b"\"", key.as_bytes(), b"=", &value, b"\""].concat()
        };
        let source = quote("source", path.as_os_str().as_bytes());
        let fields = [b"type=bind", source.as_slice(), &quote("target", &target)].join(&b","[..]);
        let ran = Fumehood::new(&["--mount"], &["sh", "-c", "cat /data/*/file"])
            .flag(OsString::from_vec(fields))
            .run();
        assert_eq!(ran.text(), "content", "{}\n{ran}", String::from_utf8_lossy(name));
    }
    Ok(())
}

fn parents_are_mounted_before_children() -> Promise {
    let (outer, inner) = (TempDir::new(), TempDir::new());
    fs::create_dir(outer.join("inner")).expect("the directory is ours");
    outer.file("outer", "outer");
    inner.file("file", "inner");
    let volumes = [inner.volume("/data/inner", "ro"), outer.volume("/data", "ro")];
    let script = "cat /data/outer /data/inner/file";
    for order in [[0, 1], [1, 0]] {
        let flags = ["-v", &volumes[order[0]], "-v", &volumes[order[1]]];
        assert_eq!(run(&flags, &["sh", "-c", script]).prints(), "outerinner");
    }
    Ok(())
}

/// A checkout with a file, shown read-only where it is on the host.
fn checkout() -> (TempDir, String, String) {
    let dir = TempDir::open_to_all();
    dir.file("target", "before\n");
    let root = dir.path().display().to_string();
    let volume = dir.volume(&root, "ro");
    (dir, root, volume)
}

fn a_link_in_a_mounted_tree_works_when_its_target_is_mounted() -> Promise {
    let (dir, root, volume) = checkout();
    symlink("target", dir.join("link")).expect("the directory is ours");
    let link = format!("{root}/link:{root}/link:rw");
    let script = format!("cd {root}; echo by link >>link && echo by name >>target && cat link");
    let ran = run_reported(&["-v", &volume, "-v", &link], &["sh", "-c", &script]);
    assert_eq!(ran.text(), "before\nby link\nby name", "{ran}");
    assert_eq!(notes(&ran), [("behind-link".to_owned(), format!("{root}/link"))]);
    // Only the one file was opened for writing.
    let script = format!("touch {root}/other");
    let ran = run(&["-v", &volume, "-v", &link], &["sh", "-c", &script]).exits(1);
    ran.complains("Read-only file system");
    Ok(())
}

fn a_link_in_a_mounted_tree_to_outside_works_when_it_is_mounted() -> Promise {
    let (dir, root, volume) = checkout();
    let outside = TempDir::open_to_all();
    let target = outside.file("target", "before\n");
    symlink(&target, dir.join("link")).expect("the directory is ours");
    let link = format!("{root}/link:{root}/link:rw");
    let script = format!("echo by link >>{root}/link && cat {}", target.display());
    let ran = run(&["-v", &volume, "-v", &link], &["sh", "-c", &script]);
    assert_eq!(ran.prints(), "before\nby link");
    let ran = run(&["-v", &volume], &["cat", &format!("{root}/link")]).exits(1);
    ran.complains("No such file");
    Ok(())
}

fn a_link_to_a_read_only_program_can_be_executed() -> Promise {
    let (dir, root, volume) = checkout();
    let program = dir.file("program", "#!/bin/sh\necho ran\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).expect("it is ours");
    symlink("program", dir.join("link")).expect("the directory is ours");
    let link = format!("{root}/link:{root}/link:ro");
    let flags = ["-v", &volume, "-v", &link];
    assert_eq!(run(&flags, &[&format!("{root}/link")]).prints(), "ran");
    let script = format!("echo x >>{root}/link");
    run(&flags, &["sh", "-c", &script]).exits(2).complains("Read-only file system");
    Ok(())
}

fn a_link_as_source_shows_what_it_leads_to() -> Promise {
    let dir = TempDir::new();
    dir.file("target", "content");
    symlink("target", dir.join("link")).expect("the directory is ours");
    let volume = format!("{}/link:/data/file", dir.path().display());
    assert_eq!(run(&["-v", &volume], &["cat", "/data/file"]).prints(), "content");
    Ok(())
}

/// A cell's own root is mounted on that of the host while it is made.
fn all_of_the_host_can_be_shown() -> Promise {
    let names = fs::read_dir("/").expect("everybody may").flatten();
    let names: BTreeSet<_> =
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    for volume in ["/:/host", "/:/host:rw"] {
        let seen = run(&["-v", volume], &["ls", "-A", "/host"]).prints();
        assert_eq!(seen.lines().map(str::to_owned).collect::<BTreeSet<_>>(), names, "{volume}");
    }
    let ran = run(&["-v", "/:/host"], &["touch", "/host/tmp/made"]).exits(1);
    ran.complains("Read-only file system");
    // Where tools work, one of these, is not to be seen.
    let script = "for dir in mnt media srv sys/kernel/debug sys/kernel/tracing sys/fs/pstore; do
        ls -d /host/$dir/bundle 2>/dev/null; done; true";
    assert_eq!(run(&["-v", "/:/host"], &["sh", "-c", script]).prints(), "");
    Ok(())
}

fn a_target_behind_a_link_that_leads_elsewhere_is_refused() -> Promise {
    let (tree, other) = (TempDir::open_to_all(), TempDir::new());
    symlink("/usr", tree.join("usr")).expect("the directory is ours");
    symlink("/proc", tree.join("proc")).expect("the directory is ours");
    symlink("..", tree.join("up")).expect("the directory is ours");
    let tree_volume = tree.volume("/data", "rw");
    for target in ["/data/usr", "/data/usr/share", "/data/proc", "/data/up"] {
        let volume = other.volume(target, "ro");
        run(&["-v", &tree_volume, "-v", &volume], &["true"]).exits(125).complains_in_one_line(&[
            "mounts[1].target",
            target,
            "symbolic link",
        ]);
    }
    Ok(())
}

fn a_target_never_covers_what_the_sandbox_makes() -> Promise {
    let dir = TempDir::new();
    symlink("/proc", dir.join("proc")).expect("the directory is ours");
    // The link and the source agree, but not on a place that is the job's to give.
    let volume = dir.volume("/data", "ro");
    run(&["-v", &volume, "-v", "/proc:/data/proc"], &["true"])
        .exits(125)
        .complains("symbolic link");
    for target in ["/proc", "/dev/shm", "/sys", "/", "/.changes"] {
        run(&["-v", &dir.volume(target, "ro")], &["true"]).exits(125).complains(target);
    }
    Ok(())
}

fn restrictions_of_the_host_s_mount_are_kept() -> Promise {
    host_tool("unshare")?;
    let dir = TempDir::open_to_all();
    let path = dir.path().display().to_string();
    let volume = dir.volume("/data", "rw");
    let mount = "mount -t tmpfs -o noexec,nodev,nosuid,noatime,mode=777 none \"$0\" && exec \"$@\"";
    let root = rustix::process::geteuid().is_root();
    // A user can mount in a user namespace of its own, where it is root; nobody is not mapped there.
    let wrap = if root { "-m" } else { "-rm" };
    let script = "cat /proc/self/mountinfo; cp /bin/true /data/x && /data/x; echo $?";
    let ran = Fumehood::new(&["--volume", &volume], &["sh", "-c", script])
        .under(&["unshare", wrap, "sh", "-c", mount, &path])
        .run()
        .exits(0);
    let text = ran.text();
    let line = text.lines().find(|line| line.split(' ').nth(4) == Some("/data"));
    let mount = Mount::parse(line.unwrap_or_else(|| panic!("/data is not mounted\n{ran}")));
    for flag in ["noexec", "nodev", "nosuid", "noatime"] {
        assert!(mount.has(flag), "{flag} is gone: {mount:?}");
    }
    assert!(text.ends_with("126"), "a program was executed from there\n{ran}");
    Ok(())
}

fn a_tmpfs_is_empty_writable_and_limited() -> Promise {
    let script = "ls -A /cache; echo x >/cache/f && cat /cache/f; \
        dd if=/dev/zero of=/cache/big bs=64k count=64 2>&1 | grep -o 'No space left'";
    let ran = run(&["--tmpfs", "/cache:size=1M"], &["sh", "-c", script]);
    assert_eq!(ran.prints(), "x\nNo space left");
    Ok(())
}

fn a_tmpfs_can_lie_in_a_mount() -> Promise {
    let dir = TempDir::new();
    fs::create_dir(dir.join("cache")).expect("the directory is ours");
    fs::write(dir.join("cache/hidden"), "").expect("the directory is ours");
    let volume = dir.volume("/data", "ro");
    let flags = ["-v", &volume, "--tmpfs", "/data/cache"];
    let script = "ls -A /data/cache; touch /data/cache/x && ls /data/cache";
    assert_eq!(run(&flags, &["sh", "-c", script]).prints(), "x");
    assert_eq!(fs::read_dir(dir.join("cache")).expect("it is there").count(), 1);
    Ok(())
}

/// A directory with a file, both closed to everyone but an owner.
fn closed_to_others(owner: u32) -> TempDir {
    let dir = TempDir::new();
    let file = dir.file("file", "content");
    for (path, mode) in [(file.as_path(), 0o600), (dir.path(), 0o700)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        std::os::unix::fs::chown(path, Some(owner), Some(owner)).expect("we are root");
    }
    dir
}

fn a_mount_that_is_closed_to_the_program_is_said_to_be() -> Promise {
    needs_root("make a directory that is closed to its program")?;
    let dir = closed_to_others(0);
    let volume = dir.volume("/data", "ro");
    let ran = run_reported(&["-v", &volume], &["cat", "/data/file"]).exits(1);
    assert_eq!(notes(&ran), [("closed".to_owned(), "/data".to_owned())]);
    ran.complains("Permission denied").complains("belongs to user 0 with mode 700");
    Ok(())
}

fn mount_as_owner(source: &Path, rest: &str) -> String {
    format!("source={},target=/data,as-owner{rest}", source.display())
}

fn a_mount_can_be_opened_with_the_rights_of_its_owner() -> Promise {
    needs_root("be another user than its program")?;
    for owner in [0, 4242] {
        let dir = closed_to_others(owner);
        let mount = mount_as_owner(dir.path(), "");
        let script = "cat /data/file; stat -c %u /data; echo x 2>/dev/null >/data/file; echo $?";
        let ran = run_reported(&["--mount", &mount], &["sh", "-c", script]).exits(0);
        assert_eq!(ran.text(), "content1000\n2", "{ran}");
        assert_eq!(notes(&ran), []);
    }
    // What belongs to others stays as closed as it was.
    let dir = closed_to_others(0);
    std::os::unix::fs::chown(dir.join("file"), Some(4242), Some(4242)).expect("we are root");
    let mount = mount_as_owner(dir.path(), "");
    run(&["--mount", &mount], &["cat", "/data/file"]).exits(1).complains("Permission denied");
    Ok(())
}

fn files_made_as_the_owner_are_the_owner_s() -> Promise {
    needs_root("be another user than its program")?;
    let dir = closed_to_others(4242);
    let mount = mount_as_owner(dir.path(), ",readonly=false");
    run(&["--mount", &mount], &["sh", "-c", "echo new >/data/new; echo more >>/data/file"])
        .exits(0);
    let made = fs::metadata(dir.join("new")).expect("it was made");
    assert_eq!((made.uid(), made.gid()), (4242, 4242));
    assert_eq!(fs::read_to_string(dir.join("file")).expect("it is there"), "contentmore\n");
    Ok(())
}

fn root_s_own_directory_is_not_opened_for_writing() -> Promise {
    needs_root("be another user than its program")?;
    let dir = closed_to_others(0);
    let mount = mount_as_owner(dir.path(), ",readonly=false");
    for (user, group) in [(0, 0), (4242, 0), (0, 4242)] {
        std::os::unix::fs::chown(dir.path(), Some(user), Some(group)).expect("we are root");
        run(&["--mount", &mount], &["true"]).exits(125).complains("give it to another user");
    }
    Ok(())
}
