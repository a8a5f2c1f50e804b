//! The profiles that Docker and Podman ship load as they are.
//!
//! Looked for: Docker's `default.json` (of the Go module `github.com/moby/profiles/seccomp`) where
//! `FUMEHOOD_TEST_DOCKER_SECCOMP` says; Podman's `seccomp.json` where
//! `FUMEHOOD_TEST_PODMAN_SECCOMP` says, or where its package installs it.

use std::fs;

use super::oracle::sweep;
use super::*;

const PODMAN: &str = "/usr/share/containers/seccomp.json";

/// The profile, or none after the reason is printed.
fn profile(variable: &str, installed: Option<&str>) -> Option<String> {
    let named = std::env::var(variable).ok();
    let Some(path) = named.clone().or_else(|| installed.map(String::from)) else {
        println!("skipped: {variable} does not name a profile");
        return None;
    };
    match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if named.is_some() => panic!("{variable}={path}: {error}"),
        Err(error) => {
            println!("skipped: {path}: {error}; set {variable}");
            None
        }
    }
}

/// Asserts what holds for both, and returns the filters.
fn load(json: &str) -> [Program; 2] {
    Arch::ALL.map(|arch| {
        let program = compiled(json, arch);
        program.require_start(arch).unwrap();
        assert!(sweep(json, &program, &target(arch)) > 10_000);
        assert!(program.len() < 300, "{} instructions", program.len());
        assert_eq!(ask(&program, arch, "read", [0; 6]), ALLOW);
        assert_eq!(ask(&program, arch, "personality", [8, 0, 0, 0, 0, 0]), ALLOW);
        assert!(!ask(&program, arch, "personality", [9, 0, 0, 0, 0, 0]).allows());
        assert!(!ask(&program, arch, "bpf", [0; 6]).allows());
        program
    })
}

#[test]
fn dockers_profile_loads() {
    let Some(json) = profile("FUMEHOOD_TEST_DOCKER_SECCOMP", None) else { return };
    for (program, arch) in load(&json).iter().zip(Arch::ALL) {
        assert_eq!(ask(program, arch, "clone3", [0; 6]), ENOSYS);
        assert_eq!(ask(program, arch, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), EPERM);
        assert_eq!(ask(program, arch, "clone", [0x11, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(ask(program, arch, "mount", [0; 6]), EPERM);
        assert_eq!(ask(program, arch, "socket", [38, 0, 0, 0, 0, 0]), EPERM, "AF_ALG");
        assert_eq!(ask(program, arch, "ptrace", [0; 6]), ALLOW, "minKernel is met");
    }
}

#[test]
fn podmans_profile_loads() {
    let Some(json) = profile("FUMEHOOD_TEST_PODMAN_SECCOMP", Some(PODMAN)) else { return };
    for (program, arch) in load(&json).iter().zip(Arch::ALL) {
        assert_eq!(ask(program, arch, "fanotify_init", [0; 6]), EPERM);
        assert_eq!(ask(program, arch, "socket", [16, 0, 9, 0, 0, 0]), Action::Errno(22), "audit");
        assert_eq!(ask(program, arch, "socket", [16, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(program.evaluate(&SeccompData::new(arch, 500, [0; 6])), ENOSYS);
    }
}
