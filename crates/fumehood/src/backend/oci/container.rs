//! A program in a container of a runtime.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::home::Lodging;
use super::place::{self, Place};
use super::sign::{self, Sign};
use super::tenant::{self, Judge, Sent, Tenant, not_built, not_killed};
use super::{Kind, Runtime, as_is, config, devices, failure, sources};
use crate::backend::inner::End;
use crate::backend::native::ahead::Ahead;
use crate::backend::native::cell::exec_error;
use crate::backend::native::launch::Launcher;
use crate::backend::native::script::Tool;
use crate::backend::{Ending, Started};
use crate::host::Host;
use crate::plan::Plan;
use crate::sabotage::leaves_out;
use crate::{Error, ErrorKind, Figure, Network, Result, Source, StepTime};

/// How long a runtime may take until its container is there. gVisor's takes a tenth of a second; on a
/// crowded machine fifty at once take some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where gVisor's kernel says why it crashed. Not its log, where it says what it does as well: to write that
/// down takes a tenth of a run.
const LAST_WORDS: &str = "panic";

/// How gVisor gets hold of a program's system calls, best first.
const PLATFORMS: [&str; 3] = ["systrap", "ptrace", "kvm"];

/// Starts the program of a plan, on the first platform that works.
pub(super) async fn start(
    runtime: &Runtime,
    launcher: &Launcher,
    mut ahead: Option<Ahead>,
    plan: &Plan,
    stdio: Vec<OwnedFd>,
) -> Result<Started> {
    if runtime.kind != Kind::Runsc {
        return attempt(runtime, launcher, ahead, plan, stdio, None).await;
    }
    let mut first = None;
    for platform in PLATFORMS {
        let stdio = stdio.iter().map(OwnedFd::try_clone).collect::<Result<_, _>>();
        let stdio = stdio.map_err(|error| Error::internal("pass streams on", error))?;
        match attempt(runtime, launcher, ahead.take(), plan, stdio, Some(platform)).await {
            Err(error) if lacks_platform(&error) => {
                first.get_or_insert(error);
            }
            other => return other,
        }
    }
    Err(first.unwrap_or_else(|| Error::internal("run runsc", std::io::Error::other("no platform"))))
}

fn lacks_platform(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Start { source, .. } => failure::is_about_platform(&source.to_string()),
        _ => false,
    }
}

async fn attempt(
    runtime: &Runtime,
    launcher: &Launcher,
    ahead: Option<Ahead>,
    plan: &Plan,
    stdio: Vec<OwnedFd>,
    platform: Option<&str>,
) -> Result<Started> {
    let lodging = Lodging::of(runtime.kind, plan)?;
    let owner = owner(runtime.kind, plan);
    // While the home is built it is decided what runs in it.
    let (moved_in, (config, tool)) =
        tokio::join!(tenant::move_in(launcher, ahead, plan, &lodging, owner), async {
            (written(runtime.kind, plan, &lodging), tool(runtime, plan, &lodging, platform))
        });
    let (cell, place) = moved_in?;
    if devices::are_ours(runtime.kind, plan) {
        devices::furnish(&place)?;
    }
    place.file(Path::new("bundle/config.json"), config?.as_bytes())?;
    let sign = Arc::new(Sign::expect(&place));
    let end = place.opened("end")?;
    let began = Instant::now();
    let started = cell.start_tool(&tool, stdio, None).await.map_err(not_built)?;
    let token = lodging.token;
    let judge = Container { kind: runtime.kind, token, end, plan: plan.clone(), sign };
    let mut tenant = Tenant::new(started.init, place, judge);
    stands(&mut tenant).await?;
    let us = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
    let mut steps = started.steps;
    steps.push(StepTime { step: format!("{} run", runtime.kind.name()), us });
    Ok(tenant.started(started.group, started.notes, steps))
}

/// The `config.json` of a bundle.
fn written(kind: Kind, plan: &Plan, lodging: &Lodging) -> Result<String> {
    match as_is::dir(plan) {
        Some(dir) => sources::moved(&lodging.place, dir),
        None => config::config(kind, plan, lodging),
    }
}

/// Whose the program's files are, where that is not who makes them.
fn owner(kind: Kind, plan: &Plan) -> Option<(u32, u32)> {
    let identity = plan.identity;
    let is_root = Host::current().uid == 0;
    match kind {
        Kind::Runsc => is_root.then_some((identity.uid, identity.gid)),
        Kind::Crun | Kind::Runc => {
            identity.by_root.then_some((identity.host_uid, identity.host_gid))
        }
    }
}

fn tool(runtime: &Runtime, plan: &Plan, lodging: &Lodging, platform: Option<&str>) -> Tool {
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |name: &str, value: PathBuf| args.extend([name.into(), value.into_os_string()]);
    add("--root", lodging.path("state"));
    add("--log", lodging.path("log"));
    add("--log-format", "json".into());
    match runtime.kind {
        Kind::Runsc => {
            let network = if plan.job.network == Network::Host { "host" } else { "none" };
            // Of a bundle that is not ours not even writable mounts reach the host.
            let overlaid = if as_is::dir(plan).is_some() { "all" } else { "root" };
            args.push("--ignore-cgroups".into());
            args.push(format!("--overlay2={overlaid}:memory").into());
            args.push(format!("--network={network}").into());
            args.push(format!("--panic-log={}", lodging.path(LAST_WORDS).display()).into());
            args.extend(platform.map(|platform| format!("--platform={platform}").into()));
        }
        Kind::Crun => args.push("--cgroup-manager=disabled".into()),
        Kind::Runc => args.push("--rootless=true".into()),
    }
    args.extend(["run", "--pid-file"].map(OsString::from));
    args.push(lodging.path(sign::FILE).into());
    args.push("--bundle".into());
    let bundle = lodging.path("bundle");
    args.push(bundle.clone().into());
    args.push(id().into());
    let env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()];
    let runtime_dir = OsString::from(format!("XDG_RUNTIME_DIR={}", lodging.place.display()));
    Tool {
        program: runtime.program.clone(),
        args,
        env: env.into_iter().chain([runtime_dir]).collect(),
        cwd: as_is::dir(plan).map_or(bundle, Path::to_path_buf),
    }
}

/// No other container of this host has it.
fn id() -> String {
    format!("fumehood-{}-{}", std::process::id(), random())
}

/// A word that nobody guesses: the standard library seeds its hashers from the kernel's randomness.
pub(super) fn random() -> String {
    use std::hash::{BuildHasher, Hasher};
    let half = || std::hash::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

/// A program in a container, as its runtime tells of it.
#[derive(Debug)]
struct Container {
    kind: Kind,
    /// The word by which process 1 proves itself, if it is ours.
    token: Option<String>,
    /// Where process 1 writes. Opened before there is a program: to an ordinary user's the file belongs, and
    /// with it its mode.
    end: File,
    plan: Plan,
    sign: Arc<Sign>,
}

/// Waits until the container is there.
async fn stands(tenant: &mut Tenant<Container>) -> Result<()> {
    let sign = Arc::clone(&tenant.judge.sign);
    let deadline = Instant::now() + PATIENCE;
    loop {
        tokio::select! {
            biased;
            ended = tenant.last_word() => return come_and_gone(tenant, ended),
            () = sign.wait() => {}
            () = sleep_until(deadline) => {
                let source = std::io::Error::from(std::io::ErrorKind::TimedOut);
                let step = format!("{} run", tenant.judge.kind.name());
                return Err(ErrorKind::Start { step, source }.into());
            }
        }
        if sign.is_there(&tenant.place) {
            return Ok(());
        }
    }
}

/// A brief program has come and gone; or there never was one. What broke down is told by who knows what it
/// may have been ended for, such as a limit of memory.
fn come_and_gone(tenant: &mut Tenant<Container>, ended: Result<Option<Ending>>) -> Result<()> {
    let has_run = tenant.judge.sign.is_there(&tenant.place);
    let broke_down = |error: &Error| matches!(error.kind(), ErrorKind::Internal { .. });
    match ended {
        Err(error) if !has_run && !broke_down(&error) => Err(error),
        ended => {
            tenant.early = Some(ended);
            Ok(())
        }
    }
}

impl Judge for Container {
    /// What the runtime's own end says about the program's. A runtime ends with the program's status,
    /// with 128 and the number of the signal that ended it, or with a complaint.
    fn judged(&self, place: &Place, mut ending: Ending, sent: Sent) -> Result<Ending> {
        if let Some(end) = self.end() {
            if end.errno != 0 {
                return Err(exec_error(&self.plan, end.errno, end.interpreter));
            }
            return Ok(Ending { status: end.status, ..used(&end) });
        }
        let code = (ending.status >> 8) & 0xff;
        if code != 0
            && let Some(complaint) = place.read("log").as_deref().and_then(failure::complaint)
        {
            let program = self.plan.job.args.first().map_or("", String::as_str);
            let has_run = self.sign.is_there(place);
            return Err(failure::error(self.kind, program, &complaint, has_run));
        }
        if let Some(last_words) = self.crash(place) {
            return Err(tenant::failed(format!("gVisor's kernel crashed: {last_words}")));
        }
        if code != 0 && !self.sign.is_there(place) {
            let said = format!("it ended with status {code} before there was a container");
            let step = format!("{} run", self.kind.name());
            return Err(ErrorKind::Start { step, source: std::io::Error::other(said) }.into());
        }
        not_killed(self.kind.name().name(), &ending, sent)?;
        if let signal @ 1..=64 = code - 128 {
            ending.status = signal;
        }
        self.is_credible(&ending, sent).map(|()| ending)
    }
}

/// What process 1 counted. Nothing in it of what the runtime itself used.
fn used(end: &End) -> Ending {
    let figure = |value, source| Some(Figure { value, source });
    Ending {
        user_us: figure(end.user_us, Source::Rusage),
        system_us: figure(end.system_us, Source::Rusage),
        peak_memory: figure(end.maxrss_kib << 10, Source::RusageMaxrss),
        ..Ending::default()
    }
}

impl Container {
    /// What process 1 wrote down, if it did.
    fn end(&self) -> Option<End> {
        End::read(&place::text(&self.end)?, self.token.as_deref()?)
    }

    /// Where process 1 is ours it tells how the program ended. If it did not it was killed, which nobody in
    /// the container can do where the host's kernel has it: by who ends the container, or because what runs
    /// the container broke down. gVisor kills everything when its server of files is gone.
    fn is_credible(&self, ending: &Ending, sent: Sent) -> Result<()> {
        let status = ending.status;
        if self.token.is_none() || leaves_out("oci-last-word") || sent.has(status & 0x7f) {
            return Ok(());
        }
        let what = match self.kind {
            Kind::Runsc => "gVisor's kernel or its server of files died, or process 1 was killed",
            Kind::Crun | Kind::Runc => "process 1 of the container was killed from outside",
        };
        Err(tenant::failed(format!("{what}: nobody told how the program ended (status {status})")))
    }

    /// What gVisor's kernel said when it crashed, which its runtime passes off as the program's end.
    fn crash(&self, place: &Place) -> Option<String> {
        if self.kind != Kind::Runsc {
            return None;
        }
        failure::crash(&place.read(LAST_WORDS)?)
    }
}
