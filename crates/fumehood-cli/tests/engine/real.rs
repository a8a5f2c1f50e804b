//! What takes an engine with something of its own: a registry to pull from, gVisor as a runtime, a user
//! who is not root.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;

use serde_json::{Value, json};

use crate::daemons::{Engine, Extras, IMAGE, fresh, images, root, tool};
use crate::fumehood::{binary, command, stderr, stdout};
use crate::registry::Registry;

fn plain() -> Vec<u8> {
    root().expect("an engine has started with one")
}

/// An engine beside the one that all share.
fn engine(name: &'static str, extras: &Extras) -> Engine {
    let archive = plain();
    let images = images(name).map(|(image, changes)| (image, archive.clone(), changes));
    Engine::start_with(name, extras, &images).expect("one has started before")
}

fn run(engine: &Engine, image: &str, flags: &[&str], program: &[&str]) -> std::process::Output {
    let head = ["run", "--backend", engine.name, "--image", image];
    let args = [&head[..], flags, &["--"], program].concat();
    command(engine, &args).output().expect("it starts")
}

/// Y-10 with a registry that is there; and what a pin by a registry's digest means.
pub(crate) fn y_10_an_image_that_is_absent_is_pulled_and_said_to_be(name: &'static str) {
    // With a layer that the engine has not got from an import.
    let mut layer = plain();
    layer.truncate(layer.len() - 1024);
    layer.extend([0; 2048]);
    let registry = Registry::start(layer);
    let extras = Extras { registry: Some(registry.port()), ..Extras::default() };
    let engine = engine(name, &extras);
    registry.break_off(true);
    let output = run(&engine, &registry.by_tag(), &[], &["true"]);
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot be pulled"), "{}", stderr(&output));
    registry.break_off(false);
    registry.asked();
    let output = run(&engine, &registry.by_tag(), &[], &["echo", "pulled"]);
    assert_eq!(stdout(&output), "pulled\n", "{}", stderr(&output));
    let progress = stderr(&output);
    assert!(progress.contains(&format!("{}: ", registry.by_tag())), "{progress}");
    assert!(registry.asked().iter().any(|path| path.contains("/manifests/1")));
    let output = run(&engine, &registry.by_tag(), &[], &["echo", "again"]);
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("again\n", ""));
    assert_eq!(registry.asked(), <[String; 0]>::default(), "it is there");
    engine.has_nothing_left();
}

pub(crate) fn an_image_is_pinned_by_the_digest_of_a_registry(name: &'static str) {
    let registry = Registry::start(plain());
    let extras = Extras { registry: Some(registry.port()), ..Extras::default() };
    let engine = engine(name, &extras);
    let output = run(&engine, &registry.by_digest(), &[], &["echo", "pinned"]);
    assert_eq!(stdout(&output), "pinned\n", "{}", stderr(&output));
    let other = registry.by_digest();
    let (before, _) = other.split_once("sha256:").expect("it has one");
    let wrong = format!("{before}sha256:{}", "1".repeat(64));
    let output = run(&engine, &wrong, &[], &["true"]);
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(stderr(&output).contains(&wrong), "{}", stderr(&output));
    engine.has_nothing_left();
}

/// Asked for by the guarantee, and looked at inside: gVisor says that it is Linux 4.4.
#[expect(clippy::print_stdout, reason = "what is not tried is said")]
pub(crate) fn gvisor_is_the_runtime_where_a_kernel_boundary_is_required(name: &'static str) {
    if name == "podman" || tool("runsc").is_none() {
        println!("not tried: Podman takes no runtime from its clients, or there is no runsc");
        return;
    }
    let engine = engine(name, &Extras { gvisor: true, ..Extras::default() });
    let flags = ["--require", "kernel-boundary", "--waive", "syscall-filter", "--json"];
    let output = run(&engine, IMAGE, &flags, &["cat", "/proc/version"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", stdout(&output), stderr(&output));
    });
    assert_eq!(said["outcome"], json!({ "kind": "exited", "code": 0 }), "{said}");
    assert_eq!(said["confinement"]["guarantees"]["kernel-boundary"]["state"], "held", "{said}");
    let host = fs::read_to_string("/proc/version").expect("the host has one");
    assert_ne!(said["stdout"]["data"]["text"], host.as_str());
    let plain = run(&engine, IMAGE, &[], &["cat", "/proc/version"]);
    assert_eq!(stdout(&plain), host, "unasked it is the engine's own runtime");
    engine.has_nothing_left();
}

/// A user without a name: nothing of the host is this user's.
const USER: u32 = 54_321;

pub(crate) fn an_ordinary_user_runs_a_podman_of_their_own(name: &'static str) {
    if name != "podman" {
        return;
    }
    let engine = engine(name, &Extras { user: Some(USER), ..Extras::default() });
    let dir = fresh("client");
    let client = dir.join("fumehood");
    fs::copy(binary(), &client).expect("there is room");
    chown(&dir, Some(USER), Some(USER)).expect("we are root");
    let (variable, value) = engine.variable();
    let run = |flags: &[&str], program: &[&str]| {
        let mut command = std::process::Command::new(&client);
        command.args(["run", "--backend", "podman", "--image", IMAGE]).args(flags).arg("--");
        command.args(program).env_clear().env(variable, &value).env("HOME", &dir);
        command.uid(USER).gid(USER).current_dir(&dir).output().expect("it starts")
    };
    let waived = ["--json", "--waive", "disk"];
    let output = run(&waived, &["sh", "-c", "id -u; echo kept > f"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", stdout(&output), stderr(&output));
    });
    assert_eq!(said["stdout"]["data"]["text"], "65532\n", "{said}");
    let guarantees = &said["confinement"]["guarantees"];
    for held in ["filesystem", "network", "no-privileges", "syscall-filter", "wall-time"] {
        assert_eq!(guarantees[held]["state"], "held", "{held}: {said}");
    }
    if guarantees["memory"]["state"] != "held" {
        let output = run(&["--memory", "64MiB", "--waive", "disk"], &["true"]);
        assert_eq!(
            output.status.code(),
            Some(99),
            "a limit that is asked for: {}",
            stderr(&output)
        );
    }
    engine.has_nothing_left();
    drop(fs::remove_dir_all(dir));
}
