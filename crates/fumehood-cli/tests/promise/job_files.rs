//! Jobs that must not run: one clear error each, and nothing started.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Fumehood, Promise, Ran, TempDir, promises, run};

promises![
    a_job_file_runs,
    flags_go_before_the_job_file,
    a_typo_is_an_error_that_names_the_right_word,
    a_size_without_a_unit_is_an_error,
    a_time_without_a_unit_is_an_error,
    a_missing_source_is_an_error,
    a_relative_path_is_an_error,
    a_mount_target_through_a_link_is_an_error,
    a_mount_over_the_system_is_an_error,
    a_working_directory_outside_is_an_error,
    a_job_that_is_not_json_is_an_error,
    a_job_without_a_program_is_an_error,
    a_job_with_a_nul_is_an_error,
    an_unknown_guarantee_is_an_error,
    a_guarantee_both_required_and_waived_is_an_error,
    a_job_file_that_is_missing_is_an_error,
    a_report_that_cannot_be_written_is_an_error,
];

/// A directory where a program that was started leaves a file.
struct Trap(TempDir);

impl Trap {
    fn new() -> Self {
        Self(TempDir::open_to_all())
    }

    /// Runs a job whose program leaves the file; `more` are further members of the JSON object.
    fn job(&self, more: &str) -> Ran {
        let dir = TempDir::new();
        let source = self.0.path().display();
        let args = r#""args": ["touch", "/trap/started"]"#;
        let mount = format!(r#"{{"source": "{source}", "target": "/trap", "access": "rw"}}"#);
        let mounts = if more.contains("\"mounts\"") {
            String::new()
        } else {
            format!(r#", "mounts": [{mount}]"#)
        };
        let more = more.replace("TRAP", &mount);
        let comma = if more.is_empty() { "" } else { ", " };
        run_job(&dir, &format!("{{{args}{mounts}{comma}{more}}}"))
    }

    /// Runs it with flags.
    fn flags(&self, flags: &[&str]) -> Ran {
        let volume = self.0.volume("/trap", "rw");
        let flags = [&["--volume", &volume], flags].concat();
        run(&flags, &["touch", "/trap/started"])
    }

    /// Holds that the run was refused with one line that names every one of `texts`.
    #[track_caller]
    fn refused(&self, ran: Ran, texts: &[&str]) {
        ran.exits(125).complains_in_one_line(texts);
        assert!(!self.0.join("started").exists(), "the program was started");
    }
}

fn run_job(dir: &TempDir, json: &str) -> Ran {
    let path = dir.file("job.json", json);
    run_file(&path)
}

fn run_file(path: &Path) -> Ran {
    Fumehood::new(&["--job", &path.display().to_string()], &[]).run()
}

fn a_job_file_runs() -> Promise {
    let trap = Trap::new();
    trap.job(r#""env": {"set": {"A": "1"}}, "limits": {"wall_time": "5s"}"#).exits(0);
    assert!(trap.0.join("started").exists());
    Ok(())
}

fn flags_go_before_the_job_file() -> Promise {
    let dir = TempDir::new();
    let path = dir.file("job.json", r#"{"args": ["sleep", "60"], "limits": {"wall_time": "50s"}}"#);
    let path = path.display().to_string();
    Fumehood::new(&["--job", &path, "--timeout", "500ms"], &[]).run().exits(124);
    Ok(())
}

fn a_typo_is_an_error_that_names_the_right_word() -> Promise {
    let trap = Trap::new();
    trap.refused(trap.job(r#""limts": {"memory": "1GiB"}"#), &["limts", "limits"]);
    trap.refused(trap.job(r#""limits": {"memroy": "1GiB"}"#), &["memroy", "memory"]);
    trap.refused(trap.job(r#""network": "none2""#), &["network", "none2"]);
    Ok(())
}

fn a_size_without_a_unit_is_an_error() -> Promise {
    let trap = Trap::new();
    trap.refused(trap.job(r#""limits": {"memory": 100}"#), &["limits.memory", "100", "MiB"]);
    trap.refused(trap.job(r#""limits": {"output": "100"}"#), &["limits.output", "100"]);
    Ok(())
}

fn a_time_without_a_unit_is_an_error() -> Promise {
    let trap = Trap::new();
    trap.refused(trap.job(r#""limits": {"wall_time": 5}"#), &["limits.wall_time", "5"]);
    Ok(())
}

fn a_missing_source_is_an_error() -> Promise {
    let trap = Trap::new();
    let mounts = r#""mounts": [TRAP, {"source": "/no/such/dir", "target": "/data"}]"#;
    trap.refused(trap.job(mounts), &["mounts[1]", "/no/such/dir"]);
    trap.refused(trap.flags(&["--volume", "/no/such/dir:/data:ro"]), &["/no/such/dir"]);
    Ok(())
}

fn a_relative_path_is_an_error() -> Promise {
    let trap = Trap::new();
    let mounts = r#""mounts": [TRAP, {"source": "/usr", "target": "data"}]"#;
    trap.refused(trap.job(mounts), &["mounts[1].target", "data"]);
    trap.refused(trap.job(r#""cwd": "workspace""#), &["cwd", "workspace"]);
    let mounts = r#""mounts": [TRAP, {"source": "/usr", "target": "/data/../etc"}]"#;
    trap.refused(trap.job(mounts), &["mounts[1].target", ".."]);
    Ok(())
}

fn a_mount_target_through_a_link_is_an_error() -> Promise {
    let (trap, links) = (Trap::new(), TempDir::new());
    symlink("/etc", links.join("link")).expect("the directory is ours");
    std::fs::create_dir(links.join("real")).expect("the directory is ours");
    let volume = links.volume("/links", "ro");
    for target in ["/links/link/inner", "/links/link"] {
        let inner = format!("/usr/share:{target}:ro");
        trap.refused(trap.flags(&["--volume", &volume, "--volume", &inner]), &[target]);
    }
    trap.flags(&["--volume", &volume, "--volume", "/usr/share:/links/real:ro"]).exits(0);
    Ok(())
}

fn a_mount_over_the_system_is_an_error() -> Promise {
    let trap = Trap::new();
    for target in ["/", "/proc", "/dev", "/proc/self"] {
        let volume = format!("/usr/share:{target}:ro");
        trap.refused(trap.flags(&["--volume", &volume]), &[target]);
    }
    Ok(())
}

fn a_working_directory_outside_is_an_error() -> Promise {
    let trap = Trap::new();
    for cwd in ["/no/such/dir", "/root", "/workspace/../../root"] {
        trap.refused(trap.flags(&["--workdir", cwd]), &[cwd]);
    }
    Ok(())
}

fn a_job_that_is_not_json_is_an_error() -> Promise {
    let dir = TempDir::new();
    run_job(&dir, "{\"args\": [").exits(125).complains_in_one_line(&["job"]);
    run_job(&dir, "[]").exits(125).complains_in_one_line(&["job"]);
    Ok(())
}

fn a_job_without_a_program_is_an_error() -> Promise {
    let dir = TempDir::new();
    run_job(&dir, "{}").exits(125).complains_in_one_line(&["args"]);
    run_job(&dir, "{\"args\": []}").exits(125).complains_in_one_line(&["args"]);
    Ok(())
}

fn a_job_with_a_nul_is_an_error() -> Promise {
    let trap = Trap::new();
    trap.refused(trap.job(r#""env": {"set": {"A": "x\u0000y"}}"#), &["env"]);
    trap.refused(trap.job(r#""env": {"set": {"A=B": "x"}}"#), &["env", "A=B"]);
    Ok(())
}

fn an_unknown_guarantee_is_an_error() -> Promise {
    let trap = Trap::new();
    trap.refused(trap.flags(&["--waive", "netwrk"]), &["netwrk", "network"]);
    Ok(())
}

fn a_guarantee_both_required_and_waived_is_an_error() -> Promise {
    let trap = Trap::new();
    trap.refused(trap.flags(&["--waive", "landlock", "--require", "landlock"]), &["landlock"]);
    Ok(())
}

fn a_job_file_that_is_missing_is_an_error() -> Promise {
    run_file(Path::new("/no/such/job.json")).exits(125).complains("/no/such/job.json");
    Ok(())
}

fn a_report_that_cannot_be_written_is_an_error() -> Promise {
    let trap = Trap::new();
    trap.refused(trap.flags(&["--report", "/no/such/dir/r.json"]), &["/no/such/dir/r.json"]);
    Ok(())
}
