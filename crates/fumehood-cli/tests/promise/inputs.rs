//! Files that go in: what arrives, whose it is, and archives that lie.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant, SystemTime};

use crate::corpus::{Verdict, cases};
use crate::support::{
    Feed, Fumehood, Probe, Promise, Ran, TempDir, backend_name, host_tool, promises, run, slowness,
};

promises![
    a_directory_is_copied_and_can_be_changed,
    what_is_copied_stays_as_it_is,
    a_file_is_copied_with_its_rights,
    an_archive_is_unpacked_and_can_be_changed,
    an_archive_comes_over_standard_input,
    an_attempt_that_the_host_refuses_does_not_use_standard_input_up,
    archives_of_the_host_s_tar_are_unpacked,
    bytes_of_a_job_become_files,
    an_input_below_scratch_is_there_or_refused,
    a_program_among_inputs_is_found_along_the_path,
    hostile_archives_get_their_verdict,
    inputs_never_change_a_mount,
    inputs_larger_than_the_workspace_are_refused_by_name,
    inputs_larger_than_memory_are_refused,
    a_directory_with_a_pipe_is_refused_at_once,
    links_in_a_directory_are_not_followed,
    the_supervisor_s_memory_does_not_grow_with_the_inputs,
    an_interrupt_ends_a_stalled_input,
    wrong_inputs_are_named,
];

/// A directory to copy: a file, and one further down.
fn source() -> TempDir {
    let dir = TempDir::new();
    dir.file("a", "one");
    fs::create_dir(dir.join("sub")).expect("the directory is ours");
    dir.file("sub/b", "two");
    dir
}

fn input(dir: &TempDir) -> String {
    dir.path().display().to_string()
}

fn a_directory_is_copied_and_can_be_changed() -> Promise {
    let dir = source();
    let script = "cat a sub/b; echo new >sub/c; echo more >>a; rm sub/b; mkdir sub/d; \
                  find . -not -user $(id -u)";
    assert_eq!(run(&["--input", &input(&dir)], &["sh", "-c", script]).prints(), "onetwo");
    let target = format!("{}:/tmp/x/y", input(&dir));
    assert_eq!(run(&["--input", &target], &["cat", "/tmp/x/y/sub/b"]).prints(), "two");
    Ok(())
}

fn what_is_copied_stays_as_it_is() -> Promise {
    let dir = TempDir::open_to_all();
    dir.file("a", "one");
    run(&["--input", &input(&dir)], &["sh", "-c", "echo changed >a; touch new"]).exits(0);
    assert_eq!(fs::read_to_string(dir.join("a")).expect("it is there"), "one");
    assert!(!dir.join("new").exists());
    Ok(())
}

fn a_file_is_copied_with_its_rights() -> Promise {
    let dir = TempDir::new();
    let tool = dir.file("tool", "#!/bin/sh\necho ran\n");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    let tool = tool.display().to_string();
    assert_eq!(run(&["--input", &tool], &["./tool"]).prints(), "ran");
    let target = format!("{tool}:/workspace/bin/it");
    assert_eq!(run(&["--input", &target], &["bin/it"]).prints(), "ran");
    // So is its time, by which tools that build tell what is old.
    let opened = fs::File::options().append(true).open(&tool).expect("the file is ours");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    opened.set_modified(time).expect("the file is ours");
    drop(opened);
    let stat = ["stat", "-c", "%Y %a", "tool"];
    assert_eq!(run(&["--input", &tool], &stat).prints(), "1000000000 755");
    Ok(())
}

/// An archive in a directory of its own.
fn archived(bytes: &[u8]) -> (TempDir, String) {
    let dir = TempDir::new();
    let path = dir.join("archive");
    fs::write(&path, bytes).expect("the directory is ours");
    (dir, path.display().to_string())
}

fn good(name: &str) -> Vec<u8> {
    let case = cases().into_iter().find(|case| case.name == name);
    case.expect("the corpus has it").bytes
}

fn an_archive_is_unpacked_and_can_be_changed() -> Promise {
    for name in ["plain", "no rights at all", "a group directory"] {
        let (_dir, path) = archived(&good(name));
        let script =
            "echo x >>d/a && touch d/new && cat d/a && find . -not -user $(id -u) -o -perm /7000";
        let ran = run(&["--input-tar", &path], &["sh", "-c", script]);
        assert_eq!(ran.prints(), "1x", "{name}");
    }
    Ok(())
}

fn an_archive_comes_over_standard_input() -> Promise {
    let feed = Feed::Bytes(good("gzip"));
    let ran = Fumehood::new(&["--input-tar", "-"], &["sh", "-c", "cat a; cat"]).feed(feed).run();
    assert_eq!(ran.prints(), "1", "the program's own input is empty");
    Ok(())
}

/// A fence that cannot be put up shows when the program is started, which is when the archive has
/// been read.
fn an_attempt_that_the_host_refuses_does_not_use_standard_input_up() -> Promise {
    let probe = Probe::get()?.path();
    let start = |flags: &[&str]| {
        let flags = [flags, &["--input-tar", "-"]].concat();
        let feed = Feed::Bytes(good("gzip"));
        Fumehood::new(&flags, &["cat", "a"]).under(&[&probe, "unfenced"]).feed(feed).reported()
    };
    start(&[]).run().exits(99).complains("landlock");
    let ran = start(&["--waive", "landlock"]).run();
    assert_eq!(ran.standing("landlock"), "not-held", "{ran}");
    assert_eq!(ran.prints(), "1");
    Ok(())
}

fn archives_of_the_host_s_tar_are_unpacked() -> Promise {
    host_tool("tar")?;
    let (dir, out) = (source(), TempDir::new());
    let long = "n".repeat(150);
    dir.file(&long, "long");
    symlink("sub/b", dir.join("link")).expect("the directory is ours");
    fs::hard_link(dir.join("a"), dir.join("hard")).expect("the directory is ours");
    for format in ["gnu", "pax", "v7", "oldgnu", "ustar"] {
        let path = out.join(format).display().to_string();
        let mut tar = std::process::Command::new("tar");
        tar.args([
            "-C",
            &input(&dir),
            "--format",
            format,
            "-cf",
            &path,
            "a",
            "hard",
            "link",
            "sub",
        ]);
        if matches!(format, "gnu" | "pax") {
            tar.arg(&long);
        }
        assert!(tar.status().expect("tar is there").success(), "{format}");
        let script = "cat a hard link; [ -h link ]";
        assert_eq!(
            run(&["--input-tar", &path], &["sh", "-c", script]).prints(),
            "oneonetwo",
            "{format}"
        );
    }
    Ok(())
}

fn bytes_of_a_job_become_files() -> Promise {
    let job = r##"{"args": ["sh", "-c", "./run; cat data/x"], "inputs": [
        {"text": "#!/bin/sh\necho ran\n", "mode": "755", "to": "/workspace/run"},
        {"base64": "/wo=", "to": "/workspace/data/x"}]}"##;
    let ran = Fumehood::new(&["--job", "-"], &[]).feed(Feed::Bytes(job.into())).run().exits(0);
    assert_eq!(ran.stdout, b"ran\n\xff\n");
    Ok(())
}

/// Everything that an archive could have changed outside.
struct Outside {
    dir: TempDir,
    archive: String,
}

impl Outside {
    fn new(bytes: &[u8]) -> Self {
        let (dir, archive) = archived(bytes);
        Self { dir, archive }
    }

    /// Runs `find` over what came of the archive, with an address space that has no room for bombs.
    fn run(&self) -> Ran {
        let script = "ulimit -v 400000; exec \"$@\"";
        Fumehood::new(
            &["--input-tar", &self.archive],
            &["sh", "-c", "echo started; find . -type f -o -type l"],
        )
        .under(&["sh", "-c", script, "sh"])
        .cwd(self.dir.path())
        .patience(Duration::from_secs(60) * slowness())
        .run()
    }
}

fn an_input_below_scratch_is_there_or_refused() -> Promise {
    let dir = TempDir::new();
    let file = dir.file("file", "content");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let file = file.display().to_string();
    for target in ["/workspace/file", "/tmp/a/file", "/cache/file", "/dev/shm/file"] {
        let input = format!("{file}:{target}");
        let script = "cat $0 && echo -n more >$0 && cat $0";
        let ran = run(&["--tmpfs", "/cache", "--input", &input], &["sh", "-c", script, target]);
        let can_refuse = target == "/dev/shm/file" && backend_name() != "runsc";
        if can_refuse && ran.status.code() == Some(125) {
            ran.complains_in_one_line(&["inputs[0].to", target, "/workspace"]);
        } else {
            assert_eq!(ran.prints(), "contentmore");
        }
    }
    Ok(())
}

fn a_program_among_inputs_is_found_along_the_path() -> Promise {
    let dir = TempDir::new();
    let program = dir.file("program", "#!/bin/sh\necho $0\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    dir.file("plain", "no program");
    let input = format!("{}:/workspace/bin", dir.path().display());
    let flags = ["--input", &input, "-e", "PATH=/tmp/none:/workspace/bin:/usr/bin:/bin"];
    assert_eq!(run(&flags, &["program"]).prints(), "/workspace/bin/program");
    run(&flags, &["none-such"]).exits(127);
    Ok(())
}

fn hostile_archives_get_their_verdict() -> Promise {
    for case in cases() {
        let outside = Outside::new(&case.bytes);
        let ran = outside.run();
        match case.verdict {
            Verdict::Unpacked(paths) => {
                let text = ran.prints();
                for path in paths {
                    let listed = text.lines().any(|line| line == format!("./{path}"));
                    assert!(listed, "{}: {path} is missing: {text}", case.name);
                }
            }
            Verdict::Refused(words) | Verdict::RefusedInside(words) => {
                assert_eq!(ran.stdout_total, 0, "{}: the program ran\n{ran}", case.name);
                assert_eq!(ran.status.code(), Some(125), "{}\n{ran}", case.name);
                ran.complains_in_one_line(&["inputs", words]);
            }
        }
        let left = fs::read_dir(outside.dir.path()).expect("it is there").count();
        assert_eq!(left, 1, "{}: something was written outside", case.name);
    }
    assert!(!std::path::Path::new("/etc/x").exists());
    Ok(())
}

fn inputs_never_change_a_mount() -> Promise {
    let (dir, mounted) = (source(), TempDir::open_to_all());
    let volume = mounted.volume("/workspace/sub", "rw");
    let ran = run(&["--volume", &volume, "--input", &input(&dir)], &["true"]).exits(125);
    ran.complains_in_one_line(&["\"sub\"", "mount"]);
    let target = format!("{}:/workspace/sub/x", input(&dir));
    let ran = run(&["--volume", &volume, "--input", &target], &["true"]).exits(125);
    ran.complains_in_one_line(&["inputs[0].to", "scratch"]);
    assert_eq!(fs::read_dir(mounted.path()).expect("it is there").count(), 0);
    Ok(())
}

fn inputs_larger_than_the_workspace_are_refused_by_name() -> Promise {
    let dir = TempDir::new();
    dir.file("large", &"x".repeat(3 << 20));
    let flags = ["--input", &input(&dir), "--workspace-size", "2MiB"];
    let ran = run(&flags, &["true"]).exits(125);
    ran.complains_in_one_line(&["\"large\"", "does not fit", "limits.workspace is 2MiB"]);
    let flags = ["--input", &input(&dir), "--input-size", "1MiB"];
    run(&flags, &["true"]).exits(125).complains_in_one_line(&["\"large\"", "input_limits.size"]);
    let many = TempDir::new();
    (0..40).for_each(|number| drop(many.file(&number.to_string(), "")));
    let flags = ["--input", &input(&many), "--inodes", "20"];
    run(&flags, &["true"]).exits(125).complains_in_one_line(&["does not fit", "limits.inodes 20"]);
    Ok(())
}

fn inputs_larger_than_memory_are_refused() -> Promise {
    crate::support::needs_control_groups()?;
    let dir = TempDir::new();
    dir.file("large", &"x".repeat(48 << 20));
    let flags = ["--input", &input(&dir), "--memory", "16MiB"];
    let ran = run(&flags, &["true"]).exits(125);
    ran.complains_in_one_line(&["limits.memory", "16MiB", "inputs"]);
    Ok(())
}

fn named_pipe(dir: &TempDir) -> std::path::PathBuf {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let path = dir.join("pipe");
    let mode = Mode::from_raw_mode(0o600);
    mknodat(CWD, &path, FileType::Fifo, mode, 0).expect("the directory is ours");
    path
}

fn a_directory_with_a_pipe_is_refused_at_once() -> Promise {
    let dir = source();
    named_pipe(&dir);
    let ran = run(&["--input", &input(&dir)], &["true"]).exits(125);
    ran.complains_in_one_line(&["\"pipe\"", "named pipe", "exclude"]);
    run(&["--input", &input(&dir), "--exclude", "pipe"], &["cat", "a"]).exits(0);
    Ok(())
}

fn links_in_a_directory_are_not_followed() -> Promise {
    let (dir, secret) = (source(), TempDir::new());
    symlink(secret.file("secret", "secret"), dir.join("link")).expect("the directory is ours");
    let ran = run(&["--input", &input(&dir)], &["true"]).exits(125);
    ran.complains_in_one_line(&["\"link\"", "leads out"]);
    fs::remove_file(dir.join("link")).expect("the directory is ours");
    symlink("sub", dir.join("link")).expect("the directory is ours");
    let ran = run(&["--input", &input(&dir)], &["sh", "-c", "readlink link; cat link/b"]);
    assert_eq!(ran.prints(), "sub\ntwo");
    Ok(())
}

fn the_supervisor_s_memory_does_not_grow_with_the_inputs() -> Promise {
    let dir = TempDir::new();
    let file = fs::File::create(dir.join("large")).expect("the directory is ours");
    file.set_len(200 << 20).expect("it takes no room");
    // The address space that is left has no room for the file.
    let script = "ulimit -v 150000; exec \"$@\"";
    let ran = Fumehood::new(&["--input", &input(&dir)], &["stat", "-c", "%s", "large"])
        .under(&["sh", "-c", script, "sh"])
        .run();
    assert_eq!(ran.prints(), (200 << 20).to_string());
    Ok(())
}

fn an_interrupt_ends_a_stalled_input() -> Promise {
    let dir = TempDir::new();
    let pipe = named_pipe(&dir);
    // Open for writing here until the end, so that its end is never seen.
    let _held = fs::File::options().read(true).write(true).open(&pipe).expect("it is ours");
    let pipe = pipe.display().to_string();
    let live = Fumehood::new(&["--input-tar", "-"], &["true"])
        .under(&["sh", "-c", "exec \"$@\" <\"$0\"", &pipe])
        .spawn();
    let end = Instant::now() + Duration::from_secs(40) * slowness();
    // The thread that reads is there when the handlers of signals are.
    let tasks = format!("/proc/{}/task", live.pid());
    while fs::read_dir(&tasks).map_or(0, Iterator::count) < 2 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    live.signal(rustix::process::Signal::INT);
    live.finish().exits(130).complains_in_one_line(&["cancelled"]);
    Ok(())
}

fn wrong_inputs_are_named() -> Promise {
    let dir = source();
    let path = input(&dir);
    for (flags, words) in [
        (["--input", "/no/such/dir"], ["--input", "/no/such/dir"]),
        (["--input-tar", "/no/such/tar"], ["inputs[0].tar", "/no/such/tar"]),
        (["--input", &format!("{path}:/etc/x")], ["inputs[0].to", "scratch"]),
        (["--input", &format!("{path}:/workspace/../etc")], ["inputs[0].to", ".."]),
        (["--exclude", "x"], ["--exclude", "--input"]),
        (["--input-size", "7"], ["--input-size", "7"]),
    ] {
        run(&flags, &["true"]).exits(125).complains_in_one_line(&words);
    }
    Ok(())
}
