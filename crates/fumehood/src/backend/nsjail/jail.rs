//! A program in a jail, in the home of its nsjail.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::{args, log};
use crate::Result;
use crate::backend::native::ahead::Ahead;
use crate::backend::native::launch::Launcher;
use crate::backend::native::script::{Shown, Tool};
use crate::backend::oci::Kind;
use crate::backend::oci::home::{Lodging, resolved};
use crate::backend::oci::place::Place;
use crate::backend::oci::tenant::{self, Judge, Sent, Tenant, not_built, not_killed};
use crate::backend::{Ending, Started};
use crate::job::Access;
use crate::plan::{Entry, Plan};
use crate::sabotage::leaves_out;

/// nsjail makes its root below here, and leaves the directory.
const ROOTS: &str = "/run/user";

pub(super) async fn start(
    program: &Path,
    launcher: &Launcher,
    ahead: Option<Ahead>,
    plan: &Plan,
    stdio: Vec<OwnedFd>,
) -> Result<Started> {
    args::judge(plan)?;
    let lodging = lodging(plan)?;
    let owner = (plan.identity.host_uid, plan.identity.host_gid);
    let owner = plan.identity.by_root.then_some(owner);
    // While the home is built it is written down what runs in it.
    let moving_in = tenant::move_in(launcher, ahead, plan, &lodging, owner);
    let (moved_in, args) = tokio::join!(moving_in, async { args::args(plan, &lodging) });
    let (cell, place) = moved_in?;
    let args = args::with_program(args, plan, &place)?;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let tool = Tool {
        program: program.to_owned(),
        args,
        env: vec![path.into()],
        cwd: lodging.path("bundle"),
    };
    let started = cell.start_tool(&tool, stdio, None).await.map_err(not_built)?;
    let judge = Jail { program: plan.job.args.first().cloned().unwrap_or_default() };
    let tenant = Tenant::new(started.init, place, judge);
    Ok(tenant.started(started.group, started.notes, started.steps))
}

fn lodging(plan: &Plan) -> Result<Lodging> {
    let mut lodging = Lodging::of(Kind::Crun, plan)?;
    for entry in plan.root.iter() {
        if let Entry::Bind { source, access: Access::ReadOnly, directory, .. } = entry {
            let target = args::reached(plan, &lodging, source);
            let (source, directory) = (source.clone(), *directory);
            if target != source && !lodging.home.shown.iter().any(|shown| shown.target == target) {
                lodging.home.shown.push(Shown {
                    source,
                    target,
                    directory,
                    nested: true,
                    attributes: Shown::WRITABLE,
                    hidden: Vec::new(),
                });
            }
        }
    }
    let mut frozen = args::frozen(plan);
    frozen.retain(|source| !lodging.place.starts_with(source));
    let reached = frozen.iter().map(|source| args::reached(plan, &lodging, source));
    let frozen: Vec<_> = reached.map(|source| resolved(&source)).collect();
    let is_free = !frozen.iter().any(|source| source.starts_with(ROOTS));
    if Path::new(ROOTS).is_dir() && is_free {
        lodging.home.covers.push(ROOTS.into());
    }
    if !leaves_out("home-frozen-nsjail") {
        lodging.home.frozen.extend(frozen);
    }
    Ok(lodging)
}

/// A program in a jail, as nsjail's log tells of it.
#[derive(Debug)]
struct Jail {
    program: String,
}

impl Judge for Jail {
    fn judged(&self, place: &Place, mut ending: Ending, sent: Sent) -> Result<Ending> {
        not_killed("nsjail", &ending, sent)?;
        if leaves_out("nsjail-log") {
            return Ok(ending);
        }
        let log = place.read("log").unwrap_or_default();
        if let Some(error) = log::failure(&log, &self.program) {
            return Err(error);
        }
        if let Some(signal) = log::signal(&log) {
            ending.status = signal;
        }
        Ok(ending)
    }
}
