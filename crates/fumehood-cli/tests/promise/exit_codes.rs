//! What the exit code says, and that a line on standard error says why.

use crate::support::{Feed, Fumehood, Promise, TempDir, promises, python, run, run_reported};

promises![
    a_program_that_prints_and_ends_well,
    a_program_s_own_exit_code_is_ours,
    a_program_s_own_125_is_told_apart_by_the_report,
    a_signal_is_128_and_its_number,
    a_signal_that_a_program_sends_itself_is_no_limit,
    a_program_cannot_hide_how_it_ended,
    a_missing_program_is_127,
    a_missing_interpreter_is_127,
    a_file_that_is_not_executable_is_126,
    a_directory_as_the_program_is_126,
    a_time_limit_is_124,
    a_time_limit_holds_against_a_program_that_ignores_term,
    a_time_limit_holds_against_a_grandchild_that_keeps_stdout,
    an_unknown_flag_starts_nothing,
    no_program_at_all_is_an_error,
];

fn a_program_that_prints_and_ends_well() -> Promise {
    let python = python()?;
    let ran = run(&[], &[&python, "-c", "print(\"hello\")"]).exits(0);
    assert_eq!(ran.stdout, b"hello\n");
    assert_eq!(ran.stderr, "", "a program that ends well is not commented");
    Ok(())
}

fn a_program_s_own_exit_code_is_ours() -> Promise {
    for code in [0, 1, 7, 42, 255] {
        run(&[], &["sh", "-c", &format!("exit {code}")]).exits(code);
    }
    Ok(())
}

fn a_program_s_own_125_is_told_apart_by_the_report() -> Promise {
    for code in [99, 124, 125, 126, 127, 137] {
        let ran = run_reported(&[], &["sh", "-c", &format!("exit {code}")]).exits(code);
        assert_eq!(ran.outcome(), "exited");
        assert_eq!(ran.report()["outcome"]["code"], code);
        assert_eq!(ran.stderr, "", "the program's own exit is not commented");
    }
    Ok(())
}

fn a_signal_is_128_and_its_number() -> Promise {
    for (name, number) in [("SEGV", 11), ("TERM", 15), ("KILL", 9), ("ABRT", 6), ("USR1", 10)] {
        let ran = run_reported(&[], &["sh", "-c", &format!("kill -{name} $$")]).exits(128 + number);
        assert_eq!(ran.outcome(), "signaled");
        assert_eq!(ran.report()["outcome"]["signal"], number);
        ran.complains_in_one_line(&[&format!("SIG{name}")]);
    }
    Ok(())
}

fn a_signal_that_a_program_sends_itself_is_no_limit() -> Promise {
    for (name, signal) in [("XCPU", 24), ("SYS", 31)] {
        let ran = run_reported(&[], &["sh", "-c", &format!("kill -{name} $$")]);
        assert_eq!(ran.outcome(), "signaled", "{name}: {ran}");
        assert_eq!(ran.report()["outcome"]["signal"], signal, "{ran}");
        ran.exits(128 + signal);
    }
    Ok(())
}

/// What a sandbox notes down inside belongs to an ordinary user's program, as all files of its user do.
fn a_program_cannot_hide_how_it_ended() -> Promise {
    let script = "chmod 0 /dev/.[a-z]*; echo > /dev/.fumehood-end; exit 7";
    let ran = run_reported(&[], &["sh", "-c", &format!("({script}) 2>/dev/null; exit 7")]).exits(7);
    assert_eq!(ran.outcome(), "exited", "{ran}");
    Ok(())
}

fn a_missing_program_is_127() -> Promise {
    run(&[], &["no-such-program"]).exits(127).complains_in_one_line(&["no-such-program"]);
    run(&[], &["/no/such/program"]).exits(127).complains_in_one_line(&["/no/such/program"]);
    Ok(())
}

fn a_missing_interpreter_is_127() -> Promise {
    let dir = executable("#!/no/such/interpreter\n");
    let volume = dir.volume("/data", "ro");
    run(&["--volume", &volume], &["/data/program"]).exits(127).complains("/data/program");
    Ok(())
}

fn a_file_that_is_not_executable_is_126() -> Promise {
    let dir = TempDir::new();
    dir.file("program", "#!/bin/sh\n");
    let volume = dir.volume("/data", "ro");
    let ran = run(&["--volume", &volume], &["/data/program"]).exits(126);
    ran.complains_in_one_line(&["/data/program"]);
    Ok(())
}

fn a_directory_as_the_program_is_126() -> Promise {
    run(&[], &["/usr"]).exits(126).complains_in_one_line(&["/usr"]);
    Ok(())
}

fn a_time_limit_is_124() -> Promise {
    let ran = run_reported(&["--timeout", "1s"], &["sleep", "60"]).exits(124);
    assert_eq!(ran.outcome(), "timed-out");
    assert_eq!(ran.report()["outcome"]["limit"], "wall");
    ran.complains_in_one_line(&["wall-clock limit"]);
    Ok(())
}

fn a_time_limit_holds_against_a_program_that_ignores_term() -> Promise {
    let script = "trap '' TERM; while :; do sleep 1; done";
    run(&["--timeout", "1s"], &["sh", "-c", script]).exits(124);
    Ok(())
}

fn a_time_limit_holds_against_a_grandchild_that_keeps_stdout() -> Promise {
    let script = "(trap '' TERM HUP; setsid sleep 600) & wait";
    run(&["--timeout", "1s"], &["sh", "-c", script]).exits(124);
    Ok(())
}

fn an_unknown_flag_starts_nothing() -> Promise {
    let dir = TempDir::open_to_all();
    let volume = dir.volume("/data", "rw");
    let touch = ["touch", "/data/started"];
    run(&["--volume", &volume, "--no-such-flag"], &touch).exits(125).complains("--no-such-flag");
    assert!(!dir.join("started").exists(), "the program was started");
    Ok(())
}

fn no_program_at_all_is_an_error() -> Promise {
    Fumehood::new(&[], &[]).feed(Feed::Null).run().exits(125);
    Ok(())
}

fn executable(content: &str) -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new();
    let path = dir.file("program", content);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    dir
}
