//! Hosts that refuse something, made for real out of nested namespaces: nothing runs there until
//! exactly what is missing is waived, and then the report says so.
//!
//! The test program plays the caller, too: it starts itself again inside such a host.
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

mod caller;
mod host;
mod weak;

use std::collections::BTreeSet;

use host::{Host, Verdict};
use libtest_mimic::{Arguments, Failed, Trial};

/// What a run without namespaces has to waive.
pub(crate) const BASE: [&str; 6] =
    ["disk", "filesystem", "ipc", "network", "processes", "read-only-root"];

fn main() {
    fumehood::init();
    if let Some(role) = std::env::args().nth(1).filter(|role| role.starts_with("__")) {
        caller::play(&role, &std::env::args().skip(2).collect::<Vec<_>>());
        return;
    }
    let arguments = Arguments::from_args();
    host::prepare();
    let mut trials = limits();
    trials.extend(masks());
    trials.extend(callers());
    trials.extend(weak::trials());
    trials.extend(podman());
    let conclusion = libtest_mimic::run(&arguments, trials);
    host::clean_up();
    conclusion.exit();
}

fn trial(name: &str, test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    Trial::test(name.to_owned(), test)
}

pub(crate) fn check(holds: bool, otherwise: impl std::fmt::Debug) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("{otherwise:?}").into()) }
}

fn limits() -> Vec<Trial> {
    let kinds: [(&str, &[&str]); 7] = [
        ("user", &BASE),
        ("mnt", &BASE),
        ("uts", &BASE),
        ("cgroup", &BASE),
        ("pid", &["processes"]),
        ("net", &["network"]),
        ("ipc", &["ipc"]),
    ];
    let trials = kinds.into_iter().map(|(kind, missing)| {
        trial(&format!("a_host_without_{kind}_namespaces_is_told_apart"), move || {
            let sysctl = format!("user.max_{kind}_namespaces = 0");
            let host = Host::limited(kind);
            refuses_then_obeys(&host, missing, "sysctl", &sysctl, "sysctl -w user.max_")
        })
    });
    trials.collect()
}

fn masks() -> Vec<Trial> {
    vec![
        trial("a_masked_proc_costs_only_the_processes", || {
            let host = Host::nested("-Urm", "mount -t tmpfs none /proc/fs");
            refuses_then_obeys(&host, &["processes"], "masked-proc", "/proc/fs", "umount")
        }),
        trial("a_chroot_is_named", || {
            let host = Host::chroot(false);
            refuses_then_obeys(&host, &BASE, "chroot", "in a chroot", "pivot_root")
        }),
        trial("a_chroot_into_a_mount_point_is_named", || {
            let host = Host::chroot(true);
            refuses_then_obeys(&host, &BASE, "chroot", "chroot", "pivot_root")
        }),
        trial("a_filter_of_an_outer_sandbox_is_named", || {
            let host = Host::in_fumehood();
            refuses_then_obeys(
                &host,
                &BASE,
                "outer-seccomp",
                "seccomp filter",
                "RestrictNamespaces",
            )
        }),
    ]
}

fn callers() -> Vec<Trial> {
    vec![
        trial("an_id_without_a_place_is_named", || {
            let host = Host::nested("-U", ":");
            refuses_then_obeys(&host, &BASE, "id-map", "no place in the id map", "--map-auto")
        }),
        trial("a_user_that_plays_root_is_confined_like_any_user", || {
            let report = Host::nested("-Ur", ":").run(&[], &["id", "-u"]).report()?;
            check(report["stdout"]["data"]["text"] == "1000\n", &report)?;
            check(report["confinement"]["guarantees"]["no-privileges"]["state"] == "held", &report)
        }),
        trial("support_and_a_run_agree", || {
            let host = Host::plain();
            let refused = host.support()?["refused"].as_array().map_or(0, Vec::len);
            let ran = matches!(host.run(&[], &["true"]), Verdict::Ran(_));
            check(ran == (refused == 0), (ran, refused))
        }),
        trial("root_of_the_host_is_never_what_a_program_is", || {
            if !rustix::process::geteuid().is_root() {
                println!("skipped: only root can play root of the host");
                return Ok(());
            }
            let host = Host::nested("-Ur", ":").into_root();
            let missing = host.run(&[], &["true"]).missing()?;
            check(missing.len() == 1 && missing[0]["layer"] == "id-map", &missing)?;
            check(missing[0]["guarantee"] == "no-privileges", &missing)
        }),
    ]
}

/// Needs Podman and root, and takes seconds.
fn podman() -> Vec<Trial> {
    let default = trial("in_podman_with_its_defaults_the_filter_is_named", || {
        let host = Host::podman(&[]);
        refuses_then_obeys(&host, &BASE, "outer-seccomp", "Podman's seccomp filter", "unmask=ALL")
    });
    let masked = trial("in_podman_without_its_filter_proc_is_masked", || {
        let host = Host::podman(&["--security-opt", "seccomp=unconfined"]);
        refuses_then_obeys(&host, &["processes"], "masked-proc", "/proc/", "unmask=ALL")
    });
    let mended = trial("in_podman_the_printed_fix_mends_everything", || {
        let fix = ["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"];
        let host = Host::podman(&[&fix[..], &["--security-opt", "unmask=ALL"]].concat());
        host.run(&[], &["true"]).report().map(drop)
    });
    let ignored =
        |trial: Trial| trial.with_kind("needs podman, crun and root").with_ignored_flag(true);
    [default, masked, mended].map(ignored).into()
}

/// The promise of every host that lacks something.
fn refuses_then_obeys(
    host: &Host,
    lacks: &[&str],
    layer: &str,
    reason: &str,
    fix: &str,
) -> Result<(), Failed> {
    let missing = host.run(&[], &["true"]).missing()?;
    let said = |one: &serde_json::Value, field: &str, words: &str| {
        one[field].as_str().is_some_and(|text| text.contains(words))
    };
    check(names(&missing) == set(lacks), &missing)?;
    for one in &missing {
        check(one["layer"] == layer, one)?;
        check(said(one, "reason", reason) && said(one, "fix", fix), one)?;
    }
    one_waiver_too_few_is_no_use(host, lacks)?;
    runs_with_waivers(host, lacks)?;
    agrees(host, lacks)
}

fn set<'a>(names: &[&'a str]) -> BTreeSet<&'a str> {
    names.iter().copied().collect()
}

fn names(missing: &[serde_json::Value]) -> BTreeSet<&str> {
    missing.iter().filter_map(|one| one["guarantee"].as_str()).collect()
}

fn one_waiver_too_few_is_no_use(host: &Host, lacks: &[&str]) -> Result<(), Failed> {
    let (first, rest) = lacks.split_first().ok_or("nothing is missing")?;
    let missing = host.run(rest, &["true"]).missing()?;
    check(names(&missing) == set(&[first]), &missing)
}

fn runs_with_waivers(host: &Host, lacks: &[&str]) -> Result<(), Failed> {
    let report = host.run(lacks, &["true"]).report()?;
    let guarantees = &report["confinement"]["guarantees"];
    let state = |name: &str| guarantees[name]["state"].as_str().map(str::to_owned);
    for name in lacks {
        check(state(name).as_deref() == Some("not-held"), (name, guarantees))?;
    }
    for name in BASE.iter().filter(|name| !lacks.contains(name)) {
        check(state(name).as_deref() == Some("held"), (name, guarantees))?;
    }
    for name in ["no-privileges", "syscall-filter", "wall-time", "output"] {
        check(state(name).as_deref() == Some("held"), (name, guarantees))?;
    }
    Ok(())
}

/// The doctor says the same as the refusal.
fn agrees(host: &Host, lacks: &[&str]) -> Result<(), Failed> {
    let said = host.support()?;
    let refused = said["refused"].as_array().cloned().unwrap_or_default();
    check(names(&refused) == set(lacks), &refused)?;
    let tries = said["support"]["tries"].as_array().cloned().unwrap_or_default();
    check(tries.last().is_some_and(|last| last["failure"].is_null()), &tries)
}
