//! What cells of one kind have in common, made once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fumehood_child::template::Lent;
use fumehood_child::wire::Kind;
use fumehood_child::zygote::Request;
use rustix::fs::{PROC_SUPER_MAGIC, statfs};

use super::cell::{Cell, Handle, NotBuilt};
use super::cgroup::unescape;
use super::launch::Launcher;
use super::part::Steps;
use super::script::{self, Script, Split};
use super::tree::Join;
use crate::plan::Plan;
use crate::sabotage::{leaves_out, leaves_something_out};
use crate::{Error, Result, Root, zygote};

/// A cell in which the inits of other cells are cloned. They do not depend on it once they are there.
#[derive(Debug)]
pub(crate) struct Template {
    requests: OwnedFd,
    init: Handle,
    /// Which part of the root is its own.
    split: Split,
    /// What its cells were told last, by the names of the groups that they join: all are told the
    /// same.
    rest: Mutex<Option<(Vec<String>, Arc<Script>)>>,
}

impl Template {
    /// Makes one for plans whose cell would be that of this one; none for cells that have nothing to
    /// gain from it, or cannot be made of two parts.
    ///
    /// # Errors
    /// Those of building a cell.
    pub(crate) async fn build(launcher: &Launcher, plan: &Plan) -> Result<Option<Self>, NotBuilt> {
        let Some(split) = may_have_one(launcher, plan).then(|| Split::of(plan)).flatten() else {
            return Ok(None);
        };
        let cell = Cell::build_template(launcher, plan, &split).await?.park().await?;
        let internal = |error| Error::internal("make a template", error);
        let (requests, theirs) = zygote::packets().map_err(internal)?;
        // A template that is slow, or dead, keeps nobody waiting.
        rustix::io::ioctl_fionbio(&requests, true).map_err(|error| internal(error.into()))?;
        let init = cell.into_init();
        let body = [lent(plan) as u8];
        init.send_with(Kind::Template, &body, &[theirs.as_fd()]).await.map_err(internal)?;
        Ok(Some(Self { requests, init, split, rest: Mutex::default() }))
    }

    /// Asks for an init, whose end of the line to its supervisor goes along.
    pub(crate) fn request(&self, request: &Request<'_>, init: BorrowedFd<'_>) -> io::Result<()> {
        zygote::ask(self.requests.as_fd(), request, init, None)
    }

    /// The steps of a cell in it, which may join these groups. The plan must be that of the template,
    /// or one that was made from it for another job.
    pub(super) fn rest(&self, plan: &Plan, join: Vec<Join>) -> Result<Steps> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |names: &[String]| names.iter().eq(join.iter().map(|group| &group.name));
        let script = match &*rest {
            Some((names, script)) if same(names) => Arc::clone(script),
            _ => {
                let names = join.iter().map(|group| group.name.clone()).collect();
                let script = Arc::new(script::rest(plan, &self.split, &join)?);
                *rest = Some((names, Arc::clone(&script)));
                script
            }
        };
        let fds = join.into_iter().filter_map(|group| group.file).collect();
        Ok(Steps { script, fds, notes: Vec::new() })
    }

    /// Whether it still stands.
    pub(crate) fn is_alive(&self) -> bool {
        self.init.is_alive()
    }
}

/// Whether networks of these cells are used again. Through a socket in a mount of the job, or in a root of its
/// own, writable or not, a program can hand out a file that would tell of the next one in its network.
fn lent(plan: &Plan) -> Lent {
    let leads_out = !plan.job.mounts.is_empty() || matches!(plan.job.root, Root::Dir(_));
    match leads_out {
        _ if leaves_out("network-witnesses") => Lent::Unseen,
        false => Lent::LikeNew,
        true if shows_processes(plan) => Lent::Once,
        true => Lent::Unheld,
    }
}

/// Whether a process file system may come along with what a job shows of the host: a file of that one can be
/// held, too, and it is never gone.
fn shows_processes(plan: &Plan) -> bool {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else { return true };
    let root = match &plan.job.root {
        Root::Dir(dir) => Some(dir),
        _ => None,
    };
    let sources = plan.job.mounts.iter().map(|mount| &mount.source).chain(root);
    let is_proc = |path: &Path| statfs(path).map_or(true, |fs| fs.f_type == PROC_SUPER_MAGIC);
    let shown = sources.map(|source| source.canonicalize().ok());
    let shown: Option<Vec<_>> = shown.collect();
    shown.is_none_or(|shown| {
        let below = |place: &Path| shown.iter().any(|source| place.starts_with(source));
        shown.iter().any(|source| is_proc(source))
            || process_file_systems(&mounts).any(|place| below(&place))
    })
}

/// Where they are mounted (`proc_pid_mountinfo(5)`).
fn process_file_systems(mounts: &str) -> impl Iterator<Item = PathBuf> {
    let of_proc = mounts.lines().filter(|line| line.contains(" - proc "));
    of_proc.filter_map(|line| Some(unescape(line.split(' ').nth(4)?).into()))
}

/// Whether cells of this plan gain from one, and lose nothing by it.
fn may_have_one(launcher: &Launcher, plan: &Plan) -> bool {
    let namespaces = plan.namespaces;
    let ordinary = namespaces.base && namespaces.ipc && namespaces.pid;
    // Our filter is known to leave nothing that could stay behind in a network.
    let filtered = plan.filter.as_ref().is_some_and(|filter| filter.is_shipped);
    // The siblings of who is cloned by this very process would be children of its own: it would have to
    // wait for them, and they would end with one of its threads.
    let kept = matches!(launcher, Launcher::Zygote(_));
    ordinary && filtered && kept && !leaves_out("template") && !leaves_something_out()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Job, Mount};

    #[test]
    fn networks_of_cells_with_directories_of_others_are_used_once() {
        let lent_to = |job: &Job| lent(&Plan::new(job).unwrap());
        let mut job = Job::new(["true"]);
        assert_eq!(lent_to(&job), Lent::LikeNew);
        job.root = Root::Dir("/usr".into());
        assert_eq!(lent_to(&job), Lent::Unheld);
        job.root = Root::Host;
        for (source, lent) in
            [("/usr", Lent::Unheld), ("/proc", Lent::Once), ("/proc/sys", Lent::Once)]
        {
            job.mounts = vec![Mount::new(source, "/shown")];
            assert_eq!(lent_to(&job), lent, "{source}");
        }
    }
}
