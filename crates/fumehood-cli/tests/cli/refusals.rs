//! What is refused, and how that is said.

use std::process::Command;

use serde_json::json;

use super::{FUMEHOOD, assert_ended, file, fumehood, text};

#[test]
fn a_refusal_names_the_waiver_that_runs_the_job() {
    let output = fumehood(&["run", "--require", "kernel-boundary", "true"]);
    assert_ended(&output, 99);
    let said = text(&output.stderr);
    assert!(said.contains("kernel-boundary (backend): "), "{said}");
    assert!(said.ends_with("to run without: --waive kernel-boundary\n"), "{said}");
}

#[test]
fn a_profile_that_nobody_could_have_written_is_not_read_to_its_end() {
    let (_dir, path) = file("profile.json", &" ".repeat((1 << 20) + 1));
    let output = fumehood(&["run", "--seccomp", &path, "true"]);
    assert_ended(&output, 125);
    let refused =
        format!("seccomp.profile: {path}: cannot be read: it is too large; at most 1MiB\n");
    assert!(text(&output.stderr).ends_with(&refused), "{output:?}");
}

/// A runtime that gets only some of its descriptors would panic.
#[test]
fn too_few_descriptors_are_an_error() {
    for limit in 10..16 {
        let limited = format!("ulimit -n {limit}; exec \"$@\"");
        let run = [FUMEHOOD, "run", "--", "true"];
        let output = Command::new("sh").args(["-c", &limited, "sh"]).args(run).output().unwrap();
        assert_ended(&output, 125);
        assert!(text(&output.stderr).contains("Too many open files"), "{limit}: {output:?}");
    }
}

#[test]
fn an_image_is_imported_under_a_name_that_can_be_written() {
    for name in ["", "A B", "a\n"] {
        let output = fumehood(&["image", "import", "--name", name, "/not/there"]);
        assert_ended(&output, 125);
        assert!(text(&output.stderr).contains("name: "), "{output:?}");
    }
}

/// Without a sandbox nobody but the supervisor ends it, to whom this host refuses what that takes.
#[test]
fn a_program_that_cannot_be_watched_does_not_go_on() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["pidfd_open"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }]
    });
    let (_dir, path) = file("profile.json", &profile.to_string());
    let volume = format!("{FUMEHOOD}:/fumehood");
    let waived = "filesystem,read-only-root,processes,network,ipc,no-privileges,syscall-filter,\
                  landlock,memory,pids,cpu-time,disk,kernel-boundary";
    let run = format!("/fumehood run --backend unconfined --waive {waived} -- sleep 60");
    let script = format!("{run}; echo $?; set -- /proc/[0-9]*; echo $#");
    let output = fumehood(&["run", "--seccomp", &path, "-v", &volume, "--", "sh", "-c", &script]);
    assert_ended(&output, 0);
    assert_eq!(text(&output.stdout), "125\n1\n", "{output:?}");
}

/// Whoever prints an error on a terminal hands the terminal to whoever wrote the job.
#[test]
fn what_an_error_repeats_cannot_move_a_terminal() {
    const FOREIGN: &str = "\u{1b}[31mX\u{7}\u{9b}\u{202e}\nY";
    for job in [
        json!({"args": ["x"], "cwd": format!("/{FOREIGN}")}),
        json!({"args": ["x"], "root": {"image": FOREIGN}}),
        json!({"args": ["x"], "seccomp": {"profile": format!("/{FOREIGN}")}}),
        json!({"args": ["x"], "seccomp": FOREIGN}),
        json!({"args": ["x"], "network": FOREIGN}),
        json!({"args": [FOREIGN]}),
    ] {
        let (_dir, path) = file("job.json", &job.to_string());
        let output = fumehood(&["run", "--job", &path]);
        let said = text(&output.stderr).strip_suffix('\n').unwrap();
        assert!(said.starts_with("fumehood: "), "{said:?}");
        assert!(!said.contains(char::is_control) && !said.contains('\u{202e}'), "{said:?}");
    }
}

#[test]
fn what_is_no_text_is_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let odd = OsStr::from_bytes(b"A=\xff");
    for (args, place) in [(["run", "--", "echo"], 3), (["run", "-e", "true"], 2)] {
        let mut words: Vec<_> = args.map(OsStr::new).into();
        words.insert(place, odd);
        let output = Command::new(FUMEHOOD).args(words).output().unwrap();
        assert_ended(&output, 125);
        let said = text(&output.stderr);
        assert_eq!(said, "fumehood: \"A=\\xFF\": is not UTF-8, as all must be but paths\n");
    }
}

#[test]
fn a_wrong_command_line_is_no_run() {
    let output = fumehood(&["run", "--bogus", "true"]);
    assert_ended(&output, 125);
    assert!(text(&output.stderr).starts_with("fumehood: unexpected argument '--bogus'"));
}

/// Whoever writes -1 for an amount without an end, as for Docker, learns what to write here.
#[test]
fn an_amount_below_nothing_is_told_what_would_be_right() {
    for (option, wrong) in [
        ("--pids-limit", "must be a whole number, or unlimited"),
        ("--pids", "must be a whole number, or unlimited"),
        ("--memory", "is negative; write a number from 0 up, for example 256MiB"),
        ("--wall-time", "is negative; write a number from 0 up, for example 10s"),
    ] {
        let output = fumehood(&["run", option, "-1", "true"]);
        assert_ended(&output, 125);
        assert!(text(&output.stderr).trim_end().ends_with(&format!(": -1: {wrong}")), "{output:?}");
    }
}

#[test]
fn json_that_is_no_job_is_not_called_toml() {
    for text_of_job in ["[]", "null", "5", "\"x\"", " [{\"args\": [\"true\"]}] "] {
        let (_dir, path) = file("job", text_of_job);
        let output = fumehood(&["run", "--job", &path]);
        assert_ended(&output, 125);
        let said = text(&output.stderr);
        assert!(said.contains("an object with args") && !said.contains("TOML"), "{said}");
    }
}

/// A script that keeps what it asked for must not go on with nothing.
#[test]
fn help_that_cannot_be_printed_is_an_error() {
    for word in ["--help", "--version"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(FUMEHOOD).arg(word).stdout(full).output().unwrap();
        assert_ended(&output, 125);
        assert!(text(&output.stderr).contains("No space left"), "{output:?}");
    }
}
