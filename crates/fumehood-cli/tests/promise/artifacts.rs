//! Files that come out: what is brought back, and tricks that must not work.

mod tricks;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{
    Fumehood, Promise, Ran, TempDir, flag, given_time, host_tool, needs_control_groups, promises,
    require_tools, run, run_reported, skip,
};

use tricks::TRICKS;

promises![
    files_come_back_in_the_report,
    files_come_back_in_a_directory,
    files_come_back_in_an_archive,
    files_come_back_however_the_program_ended,
    files_come_back_when_memory_runs_out,
    output_tricks_get_their_verdict,
    what_the_program_may_not_read_does_not_come_back,
    what_only_root_may_read_in_a_mount_stays_there,
    what_the_program_may_read_in_a_mount_comes_back,
    caps_on_count_and_size_hold,
    a_link_that_a_mount_swaps_in_leads_nowhere,
    a_project_is_compiled_and_its_results_come_back,
    a_directory_with_something_in_it_is_refused,
    an_archive_appears_whole_or_not_at_all,
    a_process_left_behind_changes_nothing_that_is_collected,
    the_supervisor_s_memory_does_not_grow_with_artifacts,
    wrong_collections_are_named,
];

/// Whoever fills memory with files leaves the kernel nobody to kill but the init.
fn files_come_back_when_memory_runs_out() -> Promise {
    needs_control_groups()?;
    for script in ["head -c 300M /dev/zero >full", "tail /dev/zero"] {
        let script = format!("echo 1 >a; echo 2 >/tmp/b; {script}");
        let flags = ["--memory", "64MiB", "--collect", "a", "--collect", "/tmp/b"];
        let ran = run_reported(&flags, &["sh", "-c", &script]);
        assert_eq!(ran.outcome(), "out-of-memory", "{script}\n{ran}");
        let expected = [("/tmp/b", "2\n"), ("a", "1\n")];
        let expected = expected.map(|(path, text)| (path.to_owned(), text.to_owned()));
        assert_eq!(artifacts(ran.report()), expected, "{script}\n{ran}");
    }
    Ok(())
}

/// The report of a run that collects these into it.
fn collected(globs: &[&str], script: &str) -> Value {
    let flags: Vec<_> = globs.iter().flat_map(|glob| ["--collect", glob]).collect();
    run_reported(&flags, &["sh", "-c", script]).report().clone()
}

/// Names and contents of artifacts; those that are not UTF-8 in base64.
fn artifacts(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let list = report["artifacts"].as_array().into_iter().flatten();
    list.map(|one| (text(&one["path"]), text(&one["data"]["text"]))).collect()
}

/// Paths and reasons of what was skipped.
fn skipped(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let list = report["skipped"].as_array().into_iter().flatten();
    list.map(|one| (text(&one["path"]), text(&one["reason"]))).collect()
}

fn files_come_back_in_the_report() -> Promise {
    let script = "mkdir -p build/x; echo 1 >build/report.xml; echo 2 >a.png; echo 3 >build/x/b.png; \
                  echo 4 >/tmp/t; echo 5 >/dev/shm/s; chmod 755 a.png; printf '\\377' >bytes";
    let globs = ["build/report.xml", "**/*.png", "/tmp/*", "/dev/shm/s", "bytes"];
    let report = collected(&globs, script);
    let expected = [
        ("/dev/shm/s", "5\n"),
        ("/tmp/t", "4\n"),
        ("a.png", "2\n"),
        ("build/report.xml", "1\n"),
        ("build/x/b.png", "3\n"),
        ("bytes", "null"),
    ];
    assert_eq!(artifacts(&report), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(report["artifacts"][2]["mode"], "755");
    assert_eq!(report["artifacts"][5]["data"], json!({ "base64": "/w==" }));
    assert_eq!(report["artifacts"][5]["size"], 1);
    assert!(report.get("skipped").is_none());
    Ok(())
}

fn files_come_back_in_a_directory() -> Promise {
    let dir = TempDir::open_to_all();
    let to = dir.join("out").display().to_string();
    let script = "mkdir -p d/e; echo 1 >d/e/f; echo 2 >g; chmod 7777 g; echo 3 >/tmp/t; touch -d @5 g; mkdir empty";
    let flags = ["--collect", "**", "--collect", "/tmp/t", "--collect-to", &to];
    let ran = run_reported(&flags, &["sh", "-c", script]).exits(0);
    let read = |name: &str| fs::read_to_string(dir.join("out").join(name)).expect(name);
    assert_eq!([read("d/e/f"), read("g"), read("tmp/t")], ["1\n", "2\n", "3\n"]);
    let g = fs::metadata(dir.join("out/g")).expect("it was collected");
    assert_eq!((g.mode() & 0o7777, g.mtime()), (0o755, 5), "rights of the program's choice");
    let list = fs::read_dir(dir.join("out")).expect("it is there").count();
    assert_eq!(list, 3, "directories without files are left out");
    assert!(ran.report()["artifacts"][0].get("data").is_none());
    Ok(())
}

fn files_come_back_in_an_archive() -> Promise {
    host_tool("tar")?;
    let dir = TempDir::open_to_all();
    let to = dir.join("out.tar").display().to_string();
    let long = "n".repeat(200);
    let script =
        format!("mkdir d; echo 1 >d/a; : >empty; echo 2 >{long}; head -c 70000 /dev/zero >z");
    run(&["--collect", "**", "--collect-to", &to], &["sh", "-c", &script]).exits(0);
    let tar = |args: &[&str]| {
        let output = std::process::Command::new("tar").args(args).output().expect("tar is there");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(tar(&["-tf", &to]), format!("d/a\nempty\n{long}\nz\n"));
    assert_eq!(tar(&["-xOf", &to, "d/a", &long]), "1\n2\n");
    // And back in again.
    let count = run(&["--input-tar", &to], &["sh", "-c", "cat d/a; stat -c %s z"]).prints();
    assert_eq!(count, "1\n70000");
    Ok(())
}

fn files_come_back_however_the_program_ended() -> Promise {
    for (script, outcome) in
        [("exit 7", "exited"), ("kill -SEGV $$", "signaled"), ("sleep 60", "timed-out")]
    {
        let script = format!("echo 1 >a; {script}");
        let ends = |time| {
            let flags = ["--timeout", &flag(time), "--collect", "a"];
            Ok(run_reported(&flags, &["sh", "-c", &script]))
        };
        let expected = [("a".to_owned(), "1\n".to_owned())];
        let wrote = |ran: &Ran| ran.outcome() == outcome && artifacts(ran.report()) == expected;
        let ran = given_time(ends, wrote)?;
        assert_eq!(ran.outcome(), outcome);
        assert_eq!(artifacts(ran.report()), expected, "{outcome}");
    }
    Ok(())
}

fn output_tricks_get_their_verdict() -> Promise {
    host_tool("perl")?;
    assert!(TRICKS.len() >= 25);
    for (name, script, globs, kept, left) in TRICKS {
        let report = collected(globs, script);
        assert_eq!(report["outcome"]["code"], 0, "{name}: {report:#}");
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        assert_eq!(artifacts(&report), pairs(kept), "{name}");
        let unique = |mut list: Vec<(String, String)>| {
            list.dedup();
            list
        };
        assert_eq!(unique(skipped(&report)), unique(pairs(left)), "{name}");
    }
    deep_directories();
    colliding_names();
    Ok(())
}

/// A directory that is deeper than any path may be long.
fn deep_directories() {
    let script = "echo 1 >a; for i in $(seq 400); do mkdir d; cd d; done; echo 2 >a";
    let report = collected(&["**/a"], script);
    assert_eq!(artifacts(&report), [("a".to_owned(), "1\n".to_owned())]);
    let skipped = skipped(&report);
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0].1, "too-many");
}

/// Two paths inside that are one outside.
fn colliding_names() {
    let dir = TempDir::open_to_all();
    let to = dir.join("out").display().to_string();
    let script = "mkdir tmp; echo relative >tmp/a; echo absolute >/tmp/a";
    let flags = ["--collect", "tmp/a", "--collect", "/tmp/a", "--collect-to", &to];
    let ran = run_reported(&flags, &["sh", "-c", script]).exits(0);
    assert_eq!(skipped(ran.report()), [("tmp/a".to_owned(), "name".to_owned())]);
    let kept = fs::read_to_string(dir.join("out/tmp/a")).expect("it was collected");
    assert_eq!(kept, "absolute\n");
}

fn what_the_program_may_not_read_does_not_come_back() -> Promise {
    let report = collected(&["a", "d/b"], "echo 1 >a; mkdir d; echo 2 >d/b; chmod 0 a d");
    let denied = |path: &str| (path.to_owned(), "denied".to_owned());
    let skipped = skipped(&report);
    assert!(skipped.contains(&denied("a")), "{skipped:?}");
    assert!(skipped.contains(&denied("d/b")), "{skipped:?}");
    Ok(())
}

/// Root could read them all. What it brings back is what the program could have read.
fn what_only_root_may_read_in_a_mount_stays_there() -> Promise {
    if !rustix::process::geteuid().is_root() {
        return skip("an ordinary user's program has the user's rights");
    }
    let dir = TempDir::open_to_all();
    let closed = |path: &str, mode| {
        fs::set_permissions(dir.join(path), fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    for path in ["closed", "listed"] {
        fs::create_dir(dir.join(path)).expect("the directory is ours");
        dir.file(&format!("{path}/secret"), "secret");
    }
    dir.file("secret", "secret");
    dir.file("open", "open");
    for (path, mode) in [("secret", 0o600), ("listed/secret", 0o600), ("closed", 0o700)] {
        closed(path, mode);
    }
    let (volume, other) = (dir.volume("/workspace/data", "ro"), TempDir::open_to_all());
    let out = other.join("out").display().to_string();
    for to in [&[][..], &["--collect-to", &out]] {
        let flags = ["--volume", &volume, "--collect", "data", "--collect", "own"];
        let ran = run_reported(&[&flags[..], to].concat(), &["sh", "-c", "echo own >own"]).exits(0);
        let brought: Vec<_> = artifacts(ran.report()).into_iter().map(|(path, _)| path).collect();
        assert_eq!(brought, ["data/open", "own"], "{ran}");
        let denied = ["data/closed", "data/listed/secret", "data/secret"];
        let denied = denied.map(|path| (path.to_owned(), "denied".to_owned()));
        assert_eq!(skipped(ran.report()), denied, "{ran}");
    }
    assert_eq!(fs::metadata(other.join("out/own")).expect("it was collected").uid(), 0);
    Ok(())
}

/// Some mounts give the program the rights of their owner.
fn what_the_program_may_read_in_a_mount_comes_back() -> Promise {
    let dir = TempDir::open_to_all();
    dir.file("secret", "secret");
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(dir.join("secret"), mode).expect("it is ours");
    for access in ["readonly", "readonly,as-owner", "cow"] {
        let mount = format!("source={},target=/data,{access}", dir.path().display());
        let flags = ["--mount", &mount, "--collect", "/data/secret"];
        let ran = run_reported(&flags, &["sh", "-c", "cat /data/secret"]);
        let reads = ran.stdout == b"secret";
        assert_eq!(artifacts(ran.report()).len() == 1, reads, "{access}\n{ran}");
        assert!(!reads || access != "readonly" || !rustix::process::geteuid().is_root());
    }
    Ok(())
}

fn caps_on_count_and_size_hold() -> Promise {
    let script = "for i in $(seq 100 160); do head -c 1000 /dev/zero >$i; done";
    let count = |flags: &[&str]| {
        let flags = [&["--collect", "*"], flags].concat();
        let ran = run_reported(&flags, &["sh", "-c", script]).exits(0);
        let reasons: Vec<_> = skipped(ran.report()).into_iter().map(|(_, reason)| reason).collect();
        assert!(reasons.windows(2).all(|two| two[0] == two[1]), "{reasons:?}");
        (artifacts(ran.report()).len(), reasons.first().cloned().unwrap_or_default())
    };
    assert_eq!(count(&[]), (61, String::new()));
    assert_eq!(count(&["--collect-files", "7"]), (7, "count".to_owned()));
    assert_eq!(count(&["--collect-size", "5KiB"]), (5, "total-size".to_owned()));
    assert_eq!(count(&["--collect-file-size", "999B"]), (0, "file-size".to_owned()));
    Ok(())
}

fn a_link_that_a_mount_swaps_in_leads_nowhere() -> Promise {
    let (dir, secret) = (TempDir::open_to_all(), TempDir::new());
    secret.file("a", "secret");
    fs::create_dir(dir.join("real")).expect("the directory is ours");
    dir.file("real/a", "mine");
    let (stop, swapping) =
        (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)), dir.join("d"));
    let other = std::sync::Arc::clone(&stop);
    let (real, link) = (dir.join("real"), dir.join("link"));
    symlink(secret.path(), &link).expect("the directory is ours");
    let swapper = std::thread::spawn(move || {
        while !other.load(std::sync::atomic::Ordering::Relaxed) {
            drop(fs::rename(&real, &swapping));
            drop(fs::rename(&swapping, &real));
            drop(fs::rename(&link, &swapping));
            drop(fs::rename(&swapping, &link));
        }
    });
    let volume = dir.volume("/data", "rw");
    // As many as it takes for it to have been there once, of which each has one chance in four.
    let (mut runs, mut seen) = (0, 0);
    while runs < 20 || (seen == 0 && runs < 500) {
        runs += 1;
        let flags = ["--volume", &volume, "--collect", "/data/d/a", "--collect", "/data/*/a"];
        let ran = run_reported(&flags, &["true"]);
        for (path, content) in artifacts(ran.report()) {
            assert_eq!(content, "mine", "{path}");
            seen += 1;
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().expect("it does not panic");
    assert!(seen > 0, "nothing was ever there");
    Ok(())
}

/// A project whose tests leave a report and a picture, as an archive.
fn project(dir: &TempDir) -> Result<String, crate::support::Skip> {
    require_tools(&["gcc", "make"])?;
    host_tool("tar")?;
    dir.file("main.c", "#include <stdio.h>\nint main(void) { puts(\"<testsuite/>\"); }\n");
    let recipe = "mkdir -p build/plots && ./prog >build/report.xml && echo png >build/plots/a.png";
    dir.file("Makefile", &format!("prog: main.c\n\tgcc -o prog main.c\ntest: prog\n\t{recipe}\n"));
    let archive = dir.join("project.tar.gz").display().to_string();
    let mut tar = std::process::Command::new("tar");
    tar.args(["-C", &dir.path().display().to_string(), "-czf", &archive, "main.c", "Makefile"]);
    assert!(tar.status().expect("tar is there").success());
    Ok(archive)
}

fn a_project_is_compiled_and_its_results_come_back() -> Promise {
    let dir = TempDir::open_to_all();
    let archive = project(&dir)?;
    let out = dir.join("out").display().to_string();
    let flags = ["--input-tar", &archive, "--collect", "build/report.xml", "--collect", "**/*.png"];
    run(&[&flags, &["--collect-to", &out][..]].concat(), &["make", "test"]).exits(0);
    let read = |name: &str| fs::read_to_string(dir.join("out").join(name)).expect(name);
    assert_eq!(read("build/report.xml"), "<testsuite/>\n");
    assert_eq!(read("build/plots/a.png"), "png\n");
    Ok(())
}

fn a_directory_with_something_in_it_is_refused() -> Promise {
    let dir = TempDir::open_to_all();
    dir.file("mine", "mine");
    let to = dir.path().display().to_string();
    let flags = ["--collect", "*", "--collect-to", &to];
    let ran = run(&flags, &["sh", "-c", "echo ran; echo 1 >mine"]).exits(125);
    assert_eq!(ran.stdout_total, 0, "the program ran");
    ran.complains_in_one_line(&["collect.to.dir", "must be empty", "1 found"]);
    assert_eq!(fs::read_to_string(dir.join("mine")).expect("it is there"), "mine");
    Ok(())
}

fn an_archive_appears_whole_or_not_at_all() -> Promise {
    let dir = TempDir::open_to_all();
    let to = dir.join("out.tar");
    fs::write(&to, "before").expect("the directory is ours");
    let text = to.display().to_string();
    let flags = ["--collect", "*", "--collect-to", &text];
    run(&flags, &["/no/such/program"]).exits(127);
    assert_eq!(fs::read(&to).expect("it is there"), b"before");
    run(&flags, &["true"]).exits(0);
    assert_eq!(fs::metadata(&to).expect("it is there").len(), 1024);
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 1, "something is left over");
    Ok(())
}

fn a_process_left_behind_changes_nothing_that_is_collected() -> Promise {
    let script = "(trap '' TERM HUP; while :; do rm -f a; ln -s /etc/passwd a; rm -f a; echo 1 >a; done) & \
                  while ! [ -e a ]; do :; done";
    for _ in 0..5 {
        let report = collected(&["a"], script);
        for (_, content) in artifacts(&report) {
            assert!(matches!(&*content, "1\n" | ""), "{content}");
        }
        let names: Vec<_> = artifacts(&report).into_iter().chain(skipped(&report)).collect();
        assert_eq!(names.len(), 1, "{report:#}");
    }
    Ok(())
}

fn the_supervisor_s_memory_does_not_grow_with_artifacts() -> Promise {
    let dir = TempDir::open_to_all();
    let script = "ulimit -v 150000; exec \"$@\"";
    for to in ["out", "out.tar"] {
        let to = dir.join(to);
        let text = to.display().to_string();
        let flags = [
            "--collect",
            "*",
            "--collect-to",
            &text,
            "--collect-file-size",
            "1GiB",
            "--collect-size",
            "1GiB",
        ];
        Fumehood::new(&flags, &["truncate", "-s", "200M", "large"])
            .under(&["sh", "-c", script, "sh"])
            .run()
            .exits(0);
        let size = fs::metadata(&to).map(|metadata| {
            if metadata.is_dir() { size_of(&to.join("large")) } else { metadata.len() }
        });
        assert!(size.expect("it is there") >= 200 << 20);
    }
    Ok(())
}

fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn wrong_collections_are_named() -> Promise {
    for (flags, words) in [
        (vec!["--collect", "a"], ["--collect", "--collect-to"]),
        (vec!["--collect", "a/../b", "--json"], ["collect.paths[0]", ".."]),
        (vec!["--collect", "/proc/self/mem", "--json"], ["collect.paths[0]", "/proc"]),
        (vec!["--collect", "[", "--json"], ["collect.paths[0]", "["]),
        (vec!["--collect-to", "/tmp/x"], ["collect.paths", "nothing"]),
        (
            vec!["--collect", "a", "--collect-to", "/no/such/dir/out"],
            ["collect.to.dir", "/no/such/dir/out"],
        ),
        (
            vec!["--collect", "a", "--collect-to", "/no/such/dir/o.tar"],
            ["collect.to.tar", "/no/such/dir/o.tar"],
        ),
    ] {
        let ran = run(&flags, &["touch", "a"]).exits(125);
        ran.complains_in_one_line(&words);
    }
    Ok(())
}
