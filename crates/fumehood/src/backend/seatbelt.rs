//! The sandbox of macOS, by `sandbox-exec(1)`: a profile of what a program may read, write and reach.
//!
//! It is a fence around a process of the host, not a place of its own: no mount, no process and no
//! network namespace, and no limit. What is written here is tested down to the text of the profile and
//! the arguments; only a Mac runs it.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::native::ahead::Ahead;
use super::native::launch::Launcher;
use super::native::script::TerminalSize;
use super::{Backend, Lack, Soon, Started, bare, unconfined};
use crate::plan::Plan;
use crate::{Access, BackendName, Error, ErrorKind, Guarantee, Job, Result};

const PROGRAM: &str = "/usr/bin/sandbox-exec";

/// The system, which every program reads.
const SYSTEM: [&str; 8] = [
    "/Library/Apple",
    "/System",
    "/bin",
    "/private/etc",
    "/private/var/db/dyld",
    "/private/var/db/timezone",
    "/sbin",
    "/usr",
];

/// What every program may read and write.
const DEVICES: [&str; 7] = [
    "/dev/dtracehelper",
    "/dev/null",
    "/dev/random",
    "/dev/stderr",
    "/dev/stdout",
    "/dev/urandom",
    "/dev/zero",
];

/// The sandbox of this Mac.
#[derive(Debug)]
pub(super) struct Seatbelt;

impl Seatbelt {
    pub(super) fn find() -> Result<Self> {
        if cfg!(target_os = "macos") && Path::new(PROGRAM).exists() {
            return Ok(Self);
        }
        let reason = "is the sandbox of macOS, and this is none".to_owned();
        Err(ErrorKind::NoBackend { backend: BackendName::Seatbelt, reason, fix: None }.into())
    }
}

impl Backend for Seatbelt {
    fn name(&self) -> BackendName {
        BackendName::Seatbelt
    }

    fn version(&self) -> String {
        PROGRAM.to_owned()
    }

    fn notes(&self) -> Vec<String> {
        vec!["the program sees the host's processes, and can outlive the run".to_owned()]
    }

    fn lays_out_root(&self, _job: &Job) -> bool {
        false
    }

    fn fit(&self, plan: &mut Plan) -> Result<()> {
        fits(&plan.job)?;
        unconfined::stays_on_host(plan);
        Ok(())
    }

    fn holds(&self, plan: &Plan, guarantee: Guarantee) -> Result<Vec<String>, Lack> {
        let held = |by: &str| Ok(vec![format!("sandbox-exec profile: {by}")]);
        match guarantee {
            Guarantee::Filesystem => held("file-read* of the system and the mounts alone"),
            Guarantee::ReadOnlyRoot => held("file-write* of writable mounts alone"),
            Guarantee::Network if !unconfined::has_network(plan) => held("no network*"),
            Guarantee::Network => Err(Lack::of_backend("the job asks for the host's network")),
            _ => Err(Lack::of_backend("the sandbox of macOS has no mechanism for it")),
        }
    }

    fn start<'a>(
        &'a self,
        _launcher: &'a Launcher,
        _ahead: Option<Ahead>,
        plan: &'a Plan,
        stdio: Vec<OwnedFd>,
        _terminal: Option<TerminalSize>,
    ) -> Soon<'a, Result<Started>> {
        Box::pin(async move {
            let profile = profile(&plan.job)?;
            let argv = command(&profile, bare::find(plan)?, plan);
            bare::start(plan, &argv, stdio)
        })
    }
}

/// What of a job this sandbox can do.
fn fits(job: &Job) -> Result<()> {
    unconfined::refuse(job, "in the sandbox of macOS")?;
    for (index, mount) in job.mounts.iter().enumerate() {
        if mount.source != mount.target {
            let problem = "the sandbox of macOS moves nothing: a mount can only stay where it is";
            let field = format!("mounts[{index}].target");
            return Err(Error::invalid(field, mount.target.display(), problem));
        }
    }
    Ok(())
}

fn command(profile: &str, program: OsString, plan: &Plan) -> Vec<OsString> {
    bare::argv(&[OsStr::new(PROGRAM), OsStr::new("-p"), OsStr::new(profile)], program, plan)
}

/// The profile of a job: everything is denied that no line allows.
///
/// # Errors
/// A path that is not UTF-8, which a profile cannot hold.
fn profile(job: &Job) -> Result<String> {
    let mut text = "(version 1)\n(deny default)\n(allow process-fork)\n(allow process-exec*)\n\
        (allow signal (target same-sandbox))\n(allow sysctl-read)\n(allow file-read-metadata)\n\
        (allow file-read* (literal \"/\"))\n"
        .to_owned();
    for path in SYSTEM {
        allow(&mut text, "file-read*", "subpath", path);
    }
    for path in DEVICES {
        allow(&mut text, "file-read* file-write*", "literal", path);
    }
    for (index, mount) in job.mounts.iter().enumerate() {
        let path = mount.source.to_str().ok_or_else(|| {
            let problem = "is no UTF-8, and a profile of macOS holds nothing else";
            Error::invalid(format!("mounts[{index}].source"), mount.source.display(), problem)
        })?;
        let operations = match mount.access {
            Access::ReadWrite => "file-read* file-write*",
            _ => "file-read*",
        };
        allow(&mut text, operations, "subpath", path);
    }
    if job.network == crate::Network::Host {
        text.push_str("(allow network*)\n(allow system-socket)\n");
    }
    Ok(text)
}

fn allow(text: &mut String, operations: &str, filter: &str, path: &str) {
    let quoted = path.replace('\\', "\\\\").replace('"', "\\\"");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "(allow {operations} ({filter} \"{quoted}\"))");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;

    fn lines(job: &Job) -> Vec<String> {
        profile(job).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn everything_is_denied_that_no_line_allows() {
        let lines = lines(&Job::new(["true"]));
        assert_eq!(lines[..2], ["(version 1)", "(deny default)"]);
        assert!(lines.iter().skip(2).all(|line| line.starts_with("(allow ")), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("network")), "{lines:?}");
        let writable = lines.iter().filter(|line| line.contains("file-write*"));
        assert!(writable.clone().all(|line| line.contains("\"/dev/")), "{lines:?}");
    }

    #[test]
    fn a_mount_is_opened_as_far_as_it_says() {
        let job = Job::new(["true"]).mount("/srv/a", "/srv/a").mount_writable("/srv/b", "/srv/b");
        let lines = lines(&job);
        assert!(lines.contains(&"(allow file-read* (subpath \"/srv/a\"))".to_owned()));
        assert!(lines.contains(&"(allow file-read* file-write* (subpath \"/srv/b\"))".to_owned()));
    }

    #[test]
    fn a_path_is_no_code() {
        let path = r#"/srv/") (allow default) ("\"#;
        let lines = lines(&Job::new(["true"]).mount(path, path));
        let last = r#"(allow file-read* (subpath "/srv/\") (allow default) (\"\\"))"#;
        assert_eq!(lines.last().unwrap(), last);
    }

    #[test]
    fn the_network_is_opened_only_on_request() {
        let lines = lines(&Job::new(["true"]).network(Network::Host));
        assert!(lines.contains(&"(allow network*)".to_owned()));
    }

    #[test]
    fn nothing_can_be_moved_or_mounted() {
        for job in [
            Job::new(["true"]).mount("/srv", "/data"),
            Job::new(["true"]).tmpfs("/data"),
            Job::new(["true"]).mount_cow("/srv", "/srv"),
        ] {
            assert!(fits(&job).is_err(), "{job:?}");
        }
    }

    #[test]
    fn only_a_mac_has_it() {
        let said = Seatbelt::find().unwrap_err().to_string();
        assert!(said.contains("macOS"), "{said}");
    }
}
