//! Nothing at all. A job must waive every guarantee but the two that the supervisor holds by itself.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::native::ahead::Ahead;
use super::native::launch::Launcher;
use super::native::script::TerminalSize;
use super::{Backend, Lack, Soon, Started, bare};
use crate::plan::Plan;
use crate::{Access, BackendName, Error, Guarantee, Job, Network, Result, Root, Seccomp};

/// The lack of a sandbox.
#[derive(Debug)]
pub(super) struct Unconfined;

impl Backend for Unconfined {
    fn name(&self) -> BackendName {
        BackendName::Unconfined
    }

    fn version(&self) -> String {
        "no sandbox".to_owned()
    }

    fn notes(&self) -> Vec<String> {
        vec!["the program runs with all rights of who calls, and can outlive the run".to_owned()]
    }

    fn lays_out_root(&self, _job: &Job) -> bool {
        false
    }

    fn fit(&self, plan: &mut Plan) -> Result<()> {
        refuse(&plan.job, "without a sandbox")?;
        for (index, mount) in plan.job.mounts.iter().enumerate() {
            if mount.source != mount.target {
                let problem = "without a sandbox a mount can only stay where it is";
                let field = format!("mounts[{index}].target");
                return Err(Error::invalid(field, mount.target.display(), problem));
            }
        }
        stays_on_host(plan);
        Ok(())
    }

    fn holds(&self, _plan: &Plan, _guarantee: Guarantee) -> Result<Vec<String>, Lack> {
        Err(Lack::of_backend("there is no sandbox"))
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
            let argv = bare::argv(&[], bare::find(plan)?, plan);
            bare::start(plan, &argv, stdio)
        })
    }
}

/// The directory where programs start by default is one of sandboxes that have a root of their own.
pub(super) fn stays_on_host(plan: &mut Plan) {
    if plan.job.cwd == Path::new(Job::CWD) {
        plan.job.cwd = "/".into();
    }
}

/// What takes a root of one's own, or another mechanism of ours.
pub(super) fn refuse(job: &Job, without: &str) -> Result<()> {
    let no = |field: &str, value: String, what: &str| {
        Err(Error::invalid(field, value, format!("{without} {what}")))
    };
    if job.root != Root::Host {
        return no("root", format!("{:?}", job.root), "there is no root but the host's");
    }
    if job.tty {
        return no("tty", "true".to_owned(), "there is no terminal of the program's own");
    }
    if job.hostname != Job::HOSTNAME {
        return no("hostname", format!("{:?}", job.hostname), "there is no name but the host's");
    }
    if let Some(tmpfs) = job.tmpfs.first() {
        let path = tmpfs.target.display().to_string();
        return no("tmpfs[0].target", path, "nothing can be mounted");
    }
    if let Seccomp::Profile(path) = &job.seccomp {
        return no("seccomp.profile", path.display().to_string(), "no system call is filtered");
    }
    let limits = &job.limits;
    let spelled = [
        ("limits.file_size", limits.file_size.is_some()),
        ("limits.open_files", limits.open_files.is_some()),
        ("limits.workspace", limits.workspace.is_some()),
        ("limits.tmp", limits.tmp.is_some()),
        ("limits.inodes", limits.inodes.is_some()),
    ];
    if let Some((field, _)) = spelled.into_iter().find(|(_, spelled)| *spelled) {
        return no(field, "set".to_owned(), "nothing holds it");
    }
    let files = [("inputs", job.inputs.len()), ("collect", job.collect.paths.len())];
    if let Some((field, count)) = files.into_iter().find(|(_, count)| *count > 0) {
        return no(field, format!("{count} listed"), "there are no files of the program's own");
    }
    for (index, mount) in job.mounts.iter().enumerate() {
        if mount.access == Access::CopyOnWrite {
            let field = format!("mounts[{index}].access");
            return no(&field, "cow".to_owned(), "nothing can be copy-on-write");
        }
        if mount.as_owner {
            return no(&format!("mounts[{index}].as_owner"), true.to_string(), "nobody is mapped");
        }
    }
    Ok(())
}

/// Whether the job leaves the network to the program.
pub(super) fn has_network(plan: &Plan) -> bool {
    plan.job.network == Network::Host
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ByteSize, ErrorKind};

    fn unconfined(job: Job) -> Job {
        job.backend(BackendName::Unconfined)
    }

    #[test]
    fn every_guarantee_but_those_of_the_supervisor_must_be_waived() {
        let error = Plan::new(&unconfined(Job::new(["true"]))).unwrap_err();
        let ErrorKind::Unsupported { missing } = error.kind() else { panic!("{error}") };
        let missing: Vec<_> = missing.iter().map(|missing| missing.guarantee).collect();
        let held = [Guarantee::WallTime, Guarantee::Output];
        let all = Guarantee::ALL.into_iter().filter(|guarantee| !held.contains(guarantee));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        assert_eq!(missing, all);
        for one in &all {
            let waived = all.iter().filter(|other| *other != one);
            let job = waived.fold(unconfined(Job::new(["true"])), |job, other| job.waive(*other));
            let error = Plan::new(&job).unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Unsupported { missing } if missing.len() == 1)
            );
        }
    }

    #[test]
    fn what_nothing_would_hold_is_refused() {
        let limited = Job::new(["true"]).limits(|limits| {
            limits.file_size = Some(ByteSize::mib(1).into());
        });
        let mut as_owner = Job::new(["true"]).mount("/srv", "/srv");
        as_owner.mounts[0].as_owner = true;
        for (job, field) in [
            (Job::new(["true"]).tmpfs("/data"), "tmpfs[0].target"),
            (Job::new(["true"]).mount_cow("/srv", "/srv"), "mounts[0].access"),
            (Job::new(["true"]).tty(true), "tty"),
            (Job::new(["true"]).hostname("other"), "hostname"),
            (as_owner, "mounts[0].as_owner"),
            (limited, "limits.file_size"),
        ] {
            let said = refuse(&job, "without a sandbox").unwrap_err().to_string();
            assert!(said.starts_with(&format!("invalid job: {field}: ")), "{said}");
        }
    }

    #[tokio::test]
    async fn why_a_program_cannot_be_started_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, mode, text| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.display().to_string()
        };
        let started = |program: &str| {
            let job = unconfined(Job::new([program]));
            let job = Guarantee::ALL.into_iter().fold(job, Job::waive);
            let plan = Plan::new(&job).unwrap();
            bare::find(&plan).and_then(|found| bare::start(&plan, &[found], Vec::new())).map(drop)
        };
        let missing = [
            file("script", 0o755, "#!/no/such/interpreter\n"),
            dir.path().join("none").display().to_string(),
        ];
        for program in missing.iter().map(String::as_str).chain(["no-such-program"]) {
            let error = started(program).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::ProgramNotFound { .. }), "{error}");
        }
        for program in [
            file("data", 0o644, ""),
            file("of data", 0o755, &format!("#!{}\n", dir.path().join("data").display())),
            file("text", 0o755, "exit 7\n"),
            file("of text", 0o755, &format!("#!{}\n", dir.path().join("text").display())),
            dir.path().display().to_string(),
        ] {
            let error = started(&program).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::ProgramNotExecutable { .. }), "{error}");
        }
    }

    #[test]
    fn a_directory_that_may_not_be_entered_is_no_fault_of_the_program() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o000)).unwrap();
        let job = unconfined(Job::new(["true"]).cwd(dir.path()));
        let plan = Plan::new(&Guarantee::ALL.into_iter().fold(job, Job::waive)).unwrap();
        let found = bare::find(&plan);
        if rustix::process::geteuid().is_root() {
            assert!(found.is_ok(), "{found:?}");
            return;
        }
        let said = found.unwrap_err().to_string();
        assert!(said.starts_with("invalid job: cwd: "), "{said}");
    }
}
