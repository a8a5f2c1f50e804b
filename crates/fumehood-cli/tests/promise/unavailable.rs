//! Hosts that cannot give what is asked: nothing runs, or runs only what was waived by name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{
    Fumehood, GUARANTEES, Probe, Promise, Ran, Skip, TempDir, host_tool, promises, skip,
};

promises![
    without_user_namespaces_nothing_runs,
    without_user_namespaces_the_refusal_names_layer_and_fix,
    without_user_namespaces_waiving_all_but_one_still_refuses,
    without_user_namespaces_waiving_exactly_what_is_missing_runs_it,
    in_a_container_nothing_runs,
    in_a_container_the_refusal_names_the_layer,
    in_a_container_waiving_all_but_one_still_refuses,
    in_a_container_waiving_exactly_what_is_missing_runs_it,
    the_weaker_mode_still_filters,
    the_weaker_mode_still_hides_files,
    the_weaker_mode_still_kills,
    the_weaker_mode_refuses_copy_on_write,
];

/// A host that lacks something, as a command to put in front of the binary.
struct Host {
    wrap: Vec<String>,
}

impl Host {
    /// Inside a user namespace that allows no further ones, and without capabilities in it: as an
    /// ordinary user of a host with that setting.
    fn without_user_namespaces() -> Result<Self, Skip> {
        let (unshare, setpriv) = (host_tool("unshare")?, host_tool("setpriv")?);
        let script = format!(
            "echo 0 >/proc/sys/user/max_user_namespaces && \
             exec {setpriv} --bounding-set=-all --inh-caps=-all -- \"$@\""
        );
        Self::new(&[&unshare, "-Ur", "sh", "-c", &script, "sh"])
    }

    /// Under a filter like that of common container runtimes.
    fn in_a_container() -> Result<Self, Skip> {
        Self::new(&[&Probe::get()?.path(), "contained"])
    }

    fn new(wrap: &[&str]) -> Result<Self, Skip> {
        let output = Command::new(wrap[0]).args(&wrap[1..]).arg("true").output();
        let output = output.expect("the tool was found");
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return skip(format!("the case cannot be built on this host: {reason}"));
        }
        Ok(Self { wrap: wrap.iter().map(|&word| word.to_owned()).collect() })
    }

    fn run(&self, flags: &[&str], program: &[&str]) -> Ran {
        let wrap: Vec<_> = self.wrap.iter().map(String::as_str).collect();
        Fumehood::new(flags, program).under(&wrap).reported().run()
    }

    /// The guarantees that the refusal names, each with its layer in parentheses.
    #[track_caller]
    fn missing(&self) -> Vec<&'static str> {
        let ran = self.run(&[], &["true"]).exits(99);
        let listed = |guarantee: &&str| {
            let line = format!("{guarantee} (");
            ran.stderr
                .lines()
                .any(|own| own.trim_start_matches("fumehood:").trim().starts_with(&line))
        };
        let missing: Vec<_> = GUARANTEES.into_iter().filter(listed).collect();
        assert!(!missing.is_empty(), "the refusal names no guarantee\n{ran}");
        missing
    }

    #[track_caller]
    fn waiving(&self, guarantees: &[&str], program: &[&str]) -> Ran {
        let flags: Vec<_> = guarantees.iter().flat_map(|name| ["--waive", name]).collect();
        self.run(&flags, program)
    }

    #[track_caller]
    fn runs_nothing(&self) {
        let dir = TempDir::open_to_all();
        let volume = dir.volume("/data", "rw");
        self.run(&["--volume", &volume], &["touch", "/data/started"]).exits(99);
        assert!(!dir.join("started").exists(), "the program was started");
    }

    #[track_caller]
    fn refuses_with_all_but_one_waived(&self) {
        let missing = self.missing();
        for index in 0..missing.len() {
            let mut rest = missing.clone();
            let kept = rest.remove(index);
            self.waiving(&rest, &["true"]).exits(99).complains(kept);
        }
    }

    #[track_caller]
    fn runs_with_exactly_what_is_missing_waived(&self) {
        let missing = self.missing();
        let ran = self.waiving(&missing, &["sh", "-c", "echo ran; exit 3"]).exits(3);
        assert_eq!(ran.text(), "ran");
        for guarantee in &missing {
            assert_eq!(ran.standing(guarantee), "not-held", "{guarantee}");
        }
        let waived = ran.report()["confinement"]["waived"].as_array().expect("a list");
        assert_eq!(waived.len(), missing.len(), "{waived:?}");
    }
}

fn without_user_namespaces_nothing_runs() -> Promise {
    Host::without_user_namespaces()?.runs_nothing();
    Ok(())
}

fn without_user_namespaces_the_refusal_names_layer_and_fix() -> Promise {
    let host = Host::without_user_namespaces()?;
    let ran = host.run(&[], &["true"]).exits(99);
    ran.complains("user.max_user_namespaces").complains("sysctl");
    // Whoever asks beforehand is told the same.
    let mut check = Command::new(&host.wrap[0]);
    let check = check.args(&host.wrap[1..]).arg(Fumehood::binary()).arg("check").output();
    let check = check.expect("the tool was found");
    let said = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
    assert_eq!(check.status.code(), Some(99), "{said}");
    assert!(said.contains("user.max_user_namespaces"), "{said}");
    Ok(())
}

fn without_user_namespaces_waiving_all_but_one_still_refuses() -> Promise {
    Host::without_user_namespaces()?.refuses_with_all_but_one_waived();
    Ok(())
}

fn without_user_namespaces_waiving_exactly_what_is_missing_runs_it() -> Promise {
    Host::without_user_namespaces()?.runs_with_exactly_what_is_missing_waived();
    Ok(())
}

fn in_a_container_nothing_runs() -> Promise {
    Host::in_a_container()?.runs_nothing();
    Ok(())
}

fn in_a_container_the_refusal_names_the_layer() -> Promise {
    Host::in_a_container()?.run(&[], &["true"]).exits(99).complains("seccomp");
    Ok(())
}

fn in_a_container_waiving_all_but_one_still_refuses() -> Promise {
    Host::in_a_container()?.refuses_with_all_but_one_waived();
    Ok(())
}

fn in_a_container_waiving_exactly_what_is_missing_runs_it() -> Promise {
    Host::in_a_container()?.runs_with_exactly_what_is_missing_waived();
    Ok(())
}

fn the_weaker_mode_still_filters() -> Promise {
    let host = Host::without_user_namespaces()?;
    let script = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; unshare -U true";
    let ran = host.waiving(&host.missing(), &["sh", "-c", script]);
    assert_eq!(ran.text(), "NoNewPrivs:\t1\nSeccomp:\t2", "{ran}");
    assert_ne!(ran.status.code(), Some(0), "a new namespace was made\n{ran}");
    assert_eq!(ran.standing("syscall-filter"), "held");
    Ok(())
}

fn the_weaker_mode_still_hides_files() -> Promise {
    let host = Host::without_user_namespaces()?;
    let missing = host.missing();
    if missing.contains(&"landlock") {
        return skip("this host has no Landlock either");
    }
    let dir = TempDir::new();
    let path = dir.file("secret", "secret").display().to_string();
    let ran = host.waiving(&missing, &["cat", &path]);
    assert_eq!(ran.stdout_total, 0, "{ran}");
    ran.exits(1);
    // What is mounted can be written if that was said, and only then.
    for (access, written) in [("ro", false), ("rw", true)] {
        let dir = TempDir::open_to_all();
        let path = dir.file("file", "before").display().to_string();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("it is ours");
        let volume = dir.volume(&dir.path().display().to_string(), access);
        let waived = missing.join(",");
        let script = format!("cat {path} && echo after >{path}; touch {path}.new");
        let ran = host.run(&["--waive", &waived, "-v", &volume], &["sh", "-c", &script]);
        assert_eq!(ran.text(), "before", "{access}\n{ran}");
        let now = fs::read_to_string(&path).expect("it is there");
        assert_eq!(now, if written { "after\n" } else { "before" }, "{access}\n{ran}");
        assert_eq!(dir.join("file.new").exists(), written, "{access}\n{ran}");
    }
    Ok(())
}

/// Without a process namespace nobody could hold a call up until everyone is killed, so the filter
/// kills by itself, and the name of the call is lost.
fn the_weaker_mode_still_kills() -> Promise {
    let host = Host::without_user_namespaces()?;
    let dir = TempDir::open_to_all();
    let rule = r#"{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}"#;
    let text = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#);
    let profile = dir.file("profile.json", &text).display().to_string();
    let waived = host.missing().into_iter().flat_map(|name| ["--waive", name]);
    let flags: Vec<_> = ["--seccomp", &profile].into_iter().chain(waived).collect();
    let ran = host.run(&flags, &["mkdir", "/tmp/never-made"]);
    assert_eq!(ran.outcome(), "denied", "{ran}");
    assert!(ran.report()["outcome"]["syscall"].is_null(), "{ran}");
    ran.exits(159);
    Ok(())
}

fn the_weaker_mode_refuses_copy_on_write() -> Promise {
    let host = Host::without_user_namespaces()?;
    let waived = host.missing().join(",");
    let dir = TempDir::open_to_all();
    let path = dir.path().display().to_string();
    let volume = dir.volume(&path, "cow");
    let script = format!("touch {path}/new");
    let ran = host.run(&["--waive", &waived, "-v", &volume], &["sh", "-c", &script]).exits(125);
    assert!(!dir.join("new").exists(), "{ran}");
    ran.complains("mounts[0].access").complains("nothing can be copy-on-write");
    Ok(())
}
