//! Hosts that cannot give what is asked: nothing runs, or runs only what was waived by name.

use crate::support::{Fumehood, Promise, Ran, Skip, TempDir, host_tool, promises, skip};

promises![
    without_user_namespaces_nothing_runs,
    the_refusal_names_the_layer_and_the_fix,
    waiving_all_but_one_still_refuses,
    waiving_exactly_what_is_missing_runs_it,
    the_weaker_mode_still_filters,
    the_weaker_mode_still_hides_files,
];

/// Inside a user namespace that allows no further ones, and without capabilities in it, as an
/// ordinary user of a host with that setting.
const WITHOUT_NAMESPACES: &str = "echo 0 >/proc/sys/user/max_user_namespaces && \
    exec setpriv --bounding-set=-all --inh-caps=-all -- \"$@\"";

const GUARANTEES: [&str; 14] = [
    "filesystem",
    "read-only-root",
    "processes",
    "network",
    "ipc",
    "no-privileges",
    "syscall-filter",
    "landlock",
    "memory",
    "pids",
    "cpu-time",
    "wall-time",
    "output",
    "disk",
];

fn crippled(flags: &[&str], program: &[&str]) -> Result<Ran, Skip> {
    host_tool("setpriv")?;
    let unshare = host_tool("unshare")?;
    let wrap = [unshare.as_str(), "-Ur", "sh", "-c", WITHOUT_NAMESPACES, "sh"];
    let works = std::process::Command::new(wrap[0]).args(&wrap[1..]).arg("true").output();
    match works {
        Ok(output) if output.status.success() => {}
        _ => return skip("this host has no user namespaces to build the case in"),
    }
    Ok(Fumehood::new(flags, program).under(&wrap).reported().run())
}

/// The guarantees that a refusal names, each followed by its reason.
fn missing(ran: &Ran) -> Vec<&'static str> {
    let names = |guarantee: &&str| ran.stderr.contains(&format!("{guarantee}: "));
    GUARANTEES.into_iter().filter(names).collect()
}

fn waivers(guarantees: &[&'static str]) -> Vec<&'static str> {
    guarantees.iter().flat_map(|guarantee| ["--waive", guarantee]).collect()
}

fn without_user_namespaces_nothing_runs() -> Promise {
    let dir = TempDir::open_to_all();
    let volume = dir.volume("/data", "rw");
    crippled(&["--volume", &volume], &["touch", "/data/started"])?.exits(99);
    assert!(!dir.join("started").exists(), "the program was started");
    Ok(())
}

fn the_refusal_names_the_layer_and_the_fix() -> Promise {
    let ran = crippled(&[], &["true"])?.exits(99);
    ran.complains("user.max_user_namespaces").complains("sysctl");
    Ok(())
}

fn waiving_all_but_one_still_refuses() -> Promise {
    let missing = missing(&crippled(&[], &["true"])?.exits(99));
    assert!(!missing.is_empty(), "the refusal names no guarantee");
    for index in 0..missing.len() {
        let mut rest = missing.clone();
        let kept = rest.remove(index);
        crippled(&waivers(&rest), &["true"])?.exits(99).complains(kept);
    }
    Ok(())
}

/// A run with exactly what is missing waived.
fn waived(program: &[&str]) -> Result<(Ran, Vec<&'static str>), Skip> {
    let missing = missing(&crippled(&[], &["true"])?.exits(99));
    Ok((crippled(&waivers(&missing), program)?, missing))
}

fn waiving_exactly_what_is_missing_runs_it() -> Promise {
    let (ran, missing) = waived(&["sh", "-c", "echo ran; exit 3"])?;
    let ran = ran.exits(3);
    assert_eq!(ran.text(), "ran");
    for guarantee in &missing {
        assert_eq!(ran.standing(guarantee), "not-held", "{guarantee}");
    }
    let listed = ran.report()["confinement"]["waived"].as_array().expect("a list").len();
    assert_eq!(listed, missing.len());
    Ok(())
}

fn the_weaker_mode_still_filters() -> Promise {
    let script = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; unshare -U true";
    let (ran, _) = waived(&["sh", "-c", script])?;
    assert_eq!(ran.text(), "NoNewPrivs:\t1\nSeccomp:\t2", "{ran}");
    assert_ne!(ran.status.code(), Some(0), "a new namespace was made\n{ran}");
    assert_eq!(ran.standing("syscall-filter"), "held");
    Ok(())
}

fn the_weaker_mode_still_hides_files() -> Promise {
    let dir = TempDir::new();
    let path = dir.file("secret", "secret").display().to_string();
    let (ran, missing) = waived(&["cat", &path])?;
    if missing.contains(&"landlock") {
        return skip("this host has no Landlock either");
    }
    assert_eq!(ran.stdout_total, 0, "{ran}");
    ran.exits(1);
    Ok(())
}
