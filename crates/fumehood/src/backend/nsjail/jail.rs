//! A program in a jail, in the home of its nsjail.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::{args, log};
use crate::backend::native::cell::{Cell, Handle, NotBuilt};
use crate::backend::native::launch::Launcher;
use crate::backend::native::script::Tool;
use crate::backend::oci::Kind;
use crate::backend::oci::home::{self, Lodging};
use crate::backend::oci::place::Place;
use crate::backend::{Ending, Foreign, Soon, Started, Tether, init_says};
use crate::job::Limit;
use crate::plan::Plan;
use crate::{ErrorKind, Guarantee, Result};

/// nsjail makes its root below here, and leaves the directory.
const ROOTS: &str = "/run/user";

pub(super) async fn start(
    program: &Path,
    launcher: &Launcher,
    plan: &Plan,
    stdio: Vec<OwnedFd>,
) -> Result<Started> {
    args::judge(plan)?;
    let lodging = lodging(plan)?;
    let args = args::args(plan, &lodging)?;
    // The processes of the program are counted in its own namespace, and nsjail's are not.
    let mut limited = plan.clone();
    limited.job.limits.pids = Some(Limit::Unlimited);
    let mut cell = Cell::home(launcher, &limited, &lodging.home).await.map_err(not_built)?;
    stage(&mut cell, plan, &lodging).await?;
    let place = Place::open(cell.shared_root()?, &lodging.place)?;
    let owner = (plan.identity.host_uid, plan.identity.host_gid);
    home::furnish(&place, plan, plan.identity.by_root.then_some(owner))?;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let tool = Tool {
        program: program.to_owned(),
        args,
        env: vec![path.into()],
        cwd: lodging.path("bundle"),
    };
    let started = cell.start_tool(&tool, stdio, None).await.map_err(not_built)?;
    let program = plan.job.args.first().cloned().unwrap_or_default();
    let jail = Jail { init: started.init, place, program };
    Ok(Started {
        tether: Tether::Foreign(Box::new(jail)),
        group: started.group,
        changes: None,
        notes: started.notes,
        steps: started.steps,
        terminal: None,
        found: std::collections::BTreeMap::new(),
    })
}

fn lodging(plan: &Plan) -> Result<Lodging> {
    let mut lodging = Lodging::of(Kind::Crun, plan)?;
    let frozen = args::frozen(plan);
    let is_free = !frozen.iter().any(|source| source.starts_with(ROOTS));
    if Path::new(ROOTS).is_dir() && is_free {
        lodging.home.covers.push(ROOTS.into());
    }
    lodging.home.frozen.extend(frozen);
    Ok(lodging)
}

/// Inputs are written where the program's files are, seen from the home.
async fn stage(cell: &mut Cell, plan: &Plan, lodging: &Lodging) -> Result<()> {
    let mut moved = plan.clone();
    for input in &mut moved.job.inputs {
        input.to = lodging.source(&input.to);
    }
    cell.stage(&moved).await.map_err(not_built)
}

/// What the host refuses to a home it refuses to nsjail.
fn not_built(error: NotBuilt) -> crate::Error {
    match error {
        NotBuilt::Failed(error) => error,
        NotBuilt::Blocked(blocked) => {
            let broken = [Guarantee::Processes, Guarantee::Filesystem];
            let missing = broken.map(|guarantee| blocked.missing(guarantee)).into();
            ErrorKind::Unsupported { missing }.into()
        }
    }
}

#[derive(Debug)]
struct Jail {
    init: Handle,
    place: Place,
    program: String,
}

impl Jail {
    /// What nsjail's own end, and its log, say about the program's.
    fn judged(&self, ending: Option<Ending>) -> Result<Option<Ending>> {
        let Some(mut ending) = ending else { return Ok(None) };
        let log = self.place.read("log").unwrap_or_default();
        if let Some(error) = log::failure(&log, &self.program) {
            return Err(error);
        }
        if let Some(signal) = log::signal(&log) {
            ending.status = signal;
        }
        Ok(Some(ending))
    }
}

impl Foreign for Jail {
    fn pid(&self) -> i32 {
        self.init.pid
    }

    fn ended(&mut self) -> Soon<'_, Result<Option<Ending>>> {
        Box::pin(async {
            let ending = init_says(&mut self.init).await?;
            self.judged(ending)
        })
    }

    fn signal(&mut self, signal: i32, everyone: bool) -> Soon<'_, ()> {
        const KILL: i32 = 9;
        // nsjail passes signals on. Sent to everyone they would end nsjail, too, which is right for the
        // last.
        let everyone = everyone && signal == KILL;
        Box::pin(async move { drop(self.init.signal(signal, everyone).await) })
    }

    fn kill(&mut self) {
        self.init.kill();
    }

    fn files(&mut self) -> Soon<'_, Result<Option<OwnedFd>>> {
        Box::pin(async { self.place.below(Path::new("files")).map(Some) })
    }

    fn remove(self: Box<Self>) -> Soon<'static, ()> {
        Box::pin(async move {
            let Self { mut init, .. } = *self;
            init.ended().await;
        })
    }
}
