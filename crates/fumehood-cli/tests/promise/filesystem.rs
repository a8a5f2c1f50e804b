//! What the program sees of the host's files, and what it can write.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::{
    Fumehood, Mount, Probe, Promise, Ran, TempDir, Verdict, host_tool, needs_root, promises, run,
    skip,
};

promises![
    only_the_listed_directories_exist,
    cannot_read_a_host_file,
    cannot_find_a_file_made_a_moment_ago,
    cannot_see_the_caller_s_directory,
    cannot_read_the_host_s_accounts,
    etc_holds_no_secret,
    cannot_leave_through_proc,
    nothing_but_scratch_can_be_written,
    every_other_mount_is_read_only,
    no_mount_allows_devices_or_setuid,
    scratch_can_be_written_and_starts_empty,
    scratch_is_gone_after_the_run,
    a_working_directory_below_scratch_is_made,
    a_read_only_mount_cannot_be_written,
    a_read_only_mount_cannot_be_emptied,
    a_mount_below_a_read_only_mount_cannot_be_written,
    a_writable_mount_can_be_written,
    a_link_out_of_a_mount_leads_nowhere,
    a_single_file_can_be_mounted,
    only_harmless_devices_exist,
    cannot_make_a_device,
    kernel_settings_cannot_be_written,
    sensitive_files_of_proc_are_masked,
    nothing_can_be_done_with_what_hides_something,
];

/// Every name that may stand in the root directory.
const ROOT: [&str; 12] = [
    "bin",
    "dev",
    "etc",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "proc",
    "sbin",
    "tmp",
    "usr",
    "workspace",
];

/// Every device that may be there, terminals apart.
const DEVICES: [&str; 7] = ["full", "null", "ptmx", "random", "tty", "urandom", "zero"];

/// Where a program may write.
const SCRATCH: [&str; 3] = ["/workspace", "/tmp", "/dev/shm"];

fn only_the_listed_directories_exist() -> Promise {
    let listing = run(&[], &["ls", "-A", "/"]).prints();
    let unknown: Vec<_> = listing.lines().filter(|name| !ROOT.contains(name)).collect();
    assert!(unknown.is_empty(), "/ holds {unknown:?}");
    assert!(listing.lines().any(|name| name == "usr"), "/ holds only {listing}");
    Ok(())
}

fn cannot_read_a_host_file() -> Promise {
    for path in ["/etc/shadow", "/etc/gshadow", "/root", "/home", "/var/log", "/boot", "/run"] {
        let ran = run(&[], &["ls", "-d", path]);
        assert_ne!(ran.status.code(), Some(0), "{path} exists\n{ran}");
        assert!(ran.stderr.contains("No such file"), "{path} is hidden some other way\n{ran}");
    }
    Ok(())
}

fn cannot_find_a_file_made_a_moment_ago() -> Promise {
    let dir = TempDir::new();
    let path = dir.file("made-a-moment-ago", "secret").display().to_string();
    let ran = run(&[], &["cat", &path]).exits(1).complains("No such file");
    assert_eq!(ran.stdout_total, 0);
    let script = "find / -name made-a-moment-ago -o -path /etc/passwd; exit 0";
    let found = run(&["--timeout", "50s"], &["sh", "-c", script]).prints();
    assert_eq!(found, "/etc/passwd", "the file was found, or nothing at all");
    Ok(())
}

fn cannot_see_the_caller_s_directory() -> Promise {
    let dir = TempDir::new();
    dir.file("here", "secret");
    let ran = Fumehood::new(&[], &["sh", "-c", "ls -A && echo listed"]).cwd(dir.path()).run();
    assert_eq!(ran.prints(), "listed");
    Ok(())
}

fn cannot_read_the_host_s_accounts() -> Promise {
    let passwd = run(&[], &["cat", "/etc/passwd"]).prints();
    let host = fs::read_to_string("/etc/passwd").expect("every host has one");
    assert_ne!(passwd, host.trim(), "the host's own file is shown");
    assert!(passwd.lines().any(|line| line.contains(":1000:1000:")), "{passwd}");
    let leaked = passwd.lines().filter(|line| !line.starts_with("root:") && host.contains(*line));
    assert_eq!(leaked.filter(|line| !line.starts_with("nobody:")).count(), 0, "{passwd}");
    Ok(())
}

fn etc_holds_no_secret() -> Promise {
    let script = "find /etc -name '*shadow*' -o -name '*_key' -o -name 'sudoers*' -o -name '*.key' \
        -o -name passwd; exit 0";
    assert_eq!(run(&[], &["sh", "-c", script]).prints(), "/etc/passwd");
    Ok(())
}

fn cannot_leave_through_proc() -> Promise {
    let dir = TempDir::new();
    let path = dir.file("outside", "secret").display().to_string();
    for root in ["/proc/1/root", "/proc/self/root", "/proc/self/root/../..", "/proc/1/cwd"] {
        let script = format!("cat {root}{path} 2>/dev/null; echo tried");
        assert_eq!(run(&[], &["sh", "-c", &script]).prints(), "tried", "{root} leads outside");
    }
    Ok(())
}

fn nothing_but_scratch_can_be_written() -> Promise {
    let script = "for dir in / /usr /usr/bin /etc /bin /lib /dev /proc /proc/sys /dev/pts /tmp; do
        [ -d $dir ] && touch $dir/written 2>/dev/null && echo $dir; done; exit 0";
    assert_eq!(run(&[], &["sh", "-c", script]).prints(), "/tmp", "these can be written");
    Ok(())
}

fn every_other_mount_is_read_only() -> Promise {
    let writable: Vec<_> = mounts().into_iter().filter(|mount| mount.has("rw")).collect();
    let wrong: Vec<_> = writable.iter().filter(|mount| !may_be_writable(&mount.point)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(writable.iter().any(|mount| mount.point == "/workspace"), "{writable:?}");
    Ok(())
}

/// The processes' own entries in `/proc` and a device that is written to need a writable mount.
fn may_be_writable(point: &str) -> bool {
    let device = point.starts_with("/dev/");
    SCRATCH.contains(&point) || device || point == "/proc"
}

fn no_mount_allows_devices_or_setuid() -> Promise {
    let (open, closed) = (TempDir::open_to_all(), TempDir::open_to_all());
    let (open, closed) = (open.volume("/open", "rw"), closed.volume("/closed", "ro"));
    let flags = ["--volume", &open, "--volume", &closed, "--tmpfs", "/scratch"];
    let mounts = mounts_with(&flags);
    for asked in ["/open", "/closed", "/scratch"] {
        assert!(mounts.iter().any(|mount| mount.point == asked), "no {asked}: {mounts:?}");
    }
    let mounts: Vec<_> = mounts.into_iter().filter(|mount| !is_device(&mount.point)).collect();
    let loose: Vec<_> = mounts.iter().filter(|mount| !mount.has("nosuid")).collect();
    assert!(loose.is_empty(), "without nosuid: {loose:?}");
    let terminals = |mount: &&Mount| mount.point == "/dev/pts";
    let loose: Vec<_> =
        mounts.iter().filter(|mount| !mount.has("nodev") && !terminals(mount)).collect();
    assert!(loose.is_empty(), "without nodev: {loose:?}");
    nor_does_any_below_another()
}

fn nor_does_any_below_another() -> Promise {
    let tool = host_tool("unshare")?;
    let unshare = if needs_root("make a mount alone").is_ok() { "-m" } else { "-Urm" };
    let possible = Command::new(tool).args([unshare, "true"]).output().expect("it is there");
    if !possible.status.success() {
        return skip("nobody but root can make a mount below another on this host");
    }
    for (access, flags) in [("ro", &["ro", "nosuid", "nodev"][..]), ("rw", &["nosuid", "nodev"])] {
        let ran = with_a_mount_below(access, "cat /proc/self/mountinfo", unshare).exits(0);
        let mounts: Vec<_> = ran.text().lines().map(Mount::parse).collect();
        let below = mounts.iter().find(|mount| mount.point == "/data/below");
        let below = below.unwrap_or_else(|| panic!("the nested mount is not shown\n{ran}"));
        assert!(flags.iter().all(|flag| below.has(flag)), "{access}: {below:?}");
    }
    Ok(())
}

/// A mount of one device, which nobody can execute.
fn is_device(point: &str) -> bool {
    let device = point.strip_prefix("/dev/");
    device.is_some_and(|name| DEVICES.contains(&name))
}

fn mounts() -> Vec<Mount> {
    mounts_with(&[])
}

fn mounts_with(flags: &[&str]) -> Vec<Mount> {
    let text = run(flags, &["cat", "/proc/self/mountinfo"]).prints();
    assert!(!text.is_empty(), "no mount is listed");
    text.lines().map(Mount::parse).collect()
}

fn scratch_can_be_written_and_starts_empty() -> Promise {
    for dir in SCRATCH {
        let script = format!("ls -A {dir} && echo x >{dir}/f && mkdir {dir}/d && cat {dir}/f");
        assert_eq!(run(&[], &["sh", "-c", &script]).prints(), "x", "in {dir}");
    }
    Ok(())
}

fn scratch_is_gone_after_the_run() -> Promise {
    let script =
        "for dir in /workspace /tmp /dev/shm; do ls -A $dir; touch $dir/left && echo touched; done";
    run(&[], &["sh", "-c", script]).exits(0);
    assert_eq!(run(&[], &["sh", "-c", script]).prints(), "touched\ntouched\ntouched");
    Ok(())
}

fn a_working_directory_below_scratch_is_made() -> Promise {
    let dir = TempDir::new();
    let input = format!("{}:/workspace/given/file", dir.file("file", "given").display());
    for (work, flag, value) in [
        ("/workspace/a/b", "--hostname", "sandbox"),
        ("/tmp/a", "--hostname", "sandbox"),
        ("/cache/a", "--tmpfs", "/cache"),
        ("/workspace/given", "--input", &input),
        ("/dev/shm/a", "--hostname", "sandbox"),
    ] {
        let ran = run(&["--workdir", work, flag, value], &["sh", "-c", "pwd && touch made && ls"]);
        if work == "/dev/shm/a" && ran.status.code() == Some(125) {
            ran.complains_in_one_line(&["cwd", work, "/workspace"]);
            continue;
        }
        let files = if flag == "--input" { "file\nmade" } else { "made" };
        assert_eq!(ran.prints(), format!("{work}\n{files}"));
    }
    Ok(())
}

fn a_read_only_mount_cannot_be_written() -> Promise {
    let dir = TempDir::open_to_all();
    dir.file("file", "before");
    let script = "cd /data; for try in 'echo after >file' 'touch new' 'rm -f file' 'mkdir d' \
        'mv file other' 'chmod 600 file' 'ln file hard' 'truncate -s 0 file'; do
        sh -c \"$try\" 2>/dev/null && echo \"$try\"; done; cat file";
    let volume = dir.volume("/data", "ro");
    assert_eq!(run(&["--volume", &volume], &["sh", "-c", script]).prints(), "before");
    assert_eq!(fs::read_to_string(dir.join("file")).expect("it is there"), "before");
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 1);
    Ok(())
}

/// Emptied is what a file is that is opened so before anybody has looked whether it may be written.
fn a_read_only_mount_cannot_be_emptied() -> Promise {
    let dir = TempDir::open_to_all();
    dir.file("file", "before");
    let volume = dir.volume("/data", "ro");
    for script in [": >/data/file", "truncate -s 0 /data/file", "cp /dev/null /data/file"] {
        let ran = run(&["--volume", &volume], &["sh", "-c", script]);
        assert_ne!(ran.status.code(), Some(0), "{script}\n{ran}");
        assert_eq!(
            fs::read_to_string(dir.join("file")).expect("it is there"),
            "before",
            "{script}"
        );
    }
    Ok(())
}

/// Makes a mount below the directory, with a file `mine`, and goes on.
const MOUNT_BELOW: &str =
    "mount -t tmpfs -o mode=777 none \"$0/below\" && touch \"$0/below/mine\" && exec \"$@\"";

/// Runs a program that is shown a directory with a mount below it.
fn with_a_mount_below(access: &str, inside: &str, unshare: &str) -> Ran {
    let dir = TempDir::open_to_all();
    fs::create_dir(dir.join("below")).expect("the directory is ours");
    let (volume, dir) = (dir.volume("/data", access), dir.path().display().to_string());
    Fumehood::new(&["--volume", &volume], &["sh", "-c", inside])
        .under(&["unshare", unshare, "sh", "-c", MOUNT_BELOW, &dir])
        .run()
}

fn a_mount_below_a_read_only_mount_cannot_be_written() -> Promise {
    needs_root("make a mount below another")?;
    host_tool("unshare")?;
    let ran = with_a_mount_below("ro", "ls /data/below; : >/data/below/written", "-m");
    assert_eq!(ran.text(), "mine", "the nested mount is not shown\n{ran}");
    assert_ne!(ran.status.code(), Some(0), "the nested mount was written to\n{ran}");
    Ok(())
}

fn a_writable_mount_can_be_written() -> Promise {
    let dir = TempDir::open_to_all();
    let volume = dir.volume("/data", "rw");
    run(&["--volume", &volume], &["sh", "-c", "echo from inside >/data/file"]).exits(0);
    assert_eq!(fs::read_to_string(dir.join("file")).expect("it was written"), "from inside\n");
    Ok(())
}

fn a_link_out_of_a_mount_leads_nowhere() -> Promise {
    let (shown, hidden) = (TempDir::new(), TempDir::new());
    let secret = hidden.file("secret", "secret");
    symlink(&secret, shown.join("link")).expect("the directory is ours");
    symlink("../../../../../../../../root", shown.join("up")).expect("the directory is ours");
    let volume = shown.volume("/data", "ro");
    for link in ["/data/link", "/data/up/.", "/data/../../root/."] {
        let ran = run(&["--volume", &volume], &["cat", link]).exits(1);
        assert_eq!(ran.stdout_total, 0, "{link}\n{ran}");
        ran.complains(link);
    }
    Ok(())
}

fn a_single_file_can_be_mounted() -> Promise {
    let dir = TempDir::new();
    let path = dir.file("one", "content");
    dir.file("other", "secret");
    let volume = format!("{}:/data/file:ro", path.display());
    let script = "cat /data/file; ls /data | wc -l";
    assert_eq!(run(&["--volume", &volume], &["sh", "-c", script]).prints(), "content1");
    Ok(())
}

fn only_harmless_devices_exist() -> Promise {
    let devices = run(&[], &["find", "/dev", "-type", "c", "-o", "-type", "b"]).prints();
    let names: Vec<_> = devices.lines().filter_map(|line| line.strip_prefix("/dev/")).collect();
    let unknown: Vec<_> =
        names.iter().filter(|name| !DEVICES.contains(name) && !name.starts_with("pts/")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let script = "head -c 4 /dev/urandom | wc -c; echo x >/dev/null; head -c 2 /dev/zero | wc -c";
    assert_eq!(run(&[], &["sh", "-c", script]).prints(), "4\n2");
    Ok(())
}

fn cannot_make_a_device() -> Promise {
    for (name, verdict) in Probe::get()?.verdicts(&["device"]) {
        assert!(matches!(verdict, Verdict::Errno(_)), "{name}: {verdict:?}");
    }
    Ok(())
}

fn kernel_settings_cannot_be_written() -> Promise {
    let script = "for file in /proc/sys/kernel/hostname /proc/sysrq-trigger \
        /proc/sys/kernel/core_pattern /proc/sys/vm/overcommit_memory /proc/irq/default_smp_affinity
        do [ -e $file ] && (cat $file >$file) 2>/dev/null && echo $file; done; echo tried";
    assert_eq!(run(&[], &["sh", "-c", script]).prints(), "tried", "these can be written");
    Ok(())
}

fn sensitive_files_of_proc_are_masked() -> Promise {
    let script = "cd /proc; ls -A acpi asound bus scsi 2>/dev/null | grep -v -e '^$' -e ':$'
        for file in interrupts kallsyms kcore key-users keys kmsg latency_stats sched_debug \
        softirqs timer_list version; do
        [ -n \"$(head -c 1 /proc/$file 2>/dev/null | od -An -c)\" ] && echo $file; done; exit 0";
    assert_eq!(run(&[], &["sh", "-c", script]).prints(), "version", "these can be read");
    Ok(())
}

/// An empty file or directory of ours stands in the place of what is hidden: it admits no program, no
/// device, and no change.
fn nothing_can_be_done_with_what_hides_something() -> Promise {
    let masks: Vec<_> =
        mounts().into_iter().filter(|mount| mount.point.starts_with("/proc/")).collect();
    assert!(masks.iter().any(|mask| mask.point == "/proc/kallsyms"), "{masks:?}");
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        let loose: Vec<_> = masks.iter().filter(|mask| !mask.has(flag)).collect();
        assert!(loose.is_empty(), "without {flag}: {loose:?}");
    }
    Ok(())
}
