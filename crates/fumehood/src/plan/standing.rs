//! Which guarantees a plan holds and by what, and which of them its job requires.

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, without};
use crate::backend::native::cgroup::Resource;
use crate::backend::native::{diagnose, tree};
use crate::backend::{Backend, Lack, offers};
use crate::host::Host;
use crate::job::{Access, Limit};
use crate::support::Facts;
use crate::{BackendName, Guarantee, Job, Layer, Missing, Network, Standing, format_duration};

/// Guarantees that a job requires unless it waives them.
///
/// What the backend offers on every host where it works as it should is required always. Memory, CPU time and
/// processes are required if their limit was spelled out: a default is enforced where the host can.
pub(crate) fn required(job: &Job, backend: BackendName) -> BTreeSet<Guarantee> {
    use Guarantee as G;
    let mut required: BTreeSet<G> = [
        G::Filesystem,
        G::ReadOnlyRoot,
        G::Processes,
        G::Ipc,
        G::NoPrivileges,
        G::SyscallFilter,
        G::Landlock,
        G::WallTime,
        G::Output,
        G::Disk,
    ]
    .into();
    required.extend((job.network == Network::None).then_some(G::Network));
    required.retain(|guarantee| offers(backend, *guarantee));
    let spelled = |finite: bool, guarantee| finite.then_some(guarantee);
    required.extend(spelled(is_finite(job.limits.memory.as_ref()), G::Memory));
    required.extend(spelled(is_finite(job.limits.pids.as_ref()), G::Pids));
    required.extend(spelled(is_finite(job.limits.cpu_time.as_ref()), G::CpuTime));
    required.extend(spelled(is_finite(job.limits.cpus.as_ref()), G::CpuTime));
    required.retain(|guarantee| !given_up(job, *guarantee));
    if backend == BackendName::Unconfined {
        // Whoever wants nothing held has to say so of everything.
        required.extend(Guarantee::ALL);
    }
    required.extend(&job.require);
    required.retain(|guarantee| !job.waive.contains(guarantee));
    required
}

fn is_finite<T>(limit: Option<&Limit<T>>) -> bool {
    matches!(limit, Some(Limit::Finite(_)))
}

/// What the job itself asked not to have: an unlimited clock, a writable directory of the host.
fn given_up(job: &Job, guarantee: Guarantee) -> bool {
    let limits = &job.limits;
    match guarantee {
        Guarantee::WallTime => limits.wall_time().finite().is_none(),
        Guarantee::Output => limits.output().finite().is_none(),
        Guarantee::Disk => {
            limits.workspace().finite().is_none()
                || limits.tmp().finite().is_none()
                || limits.inodes().finite().is_none()
                || boundless_tmpfs(job).is_some()
                || writable_mount(job).is_some()
                || kept_layer(job).is_some()
        }
        _ => false,
    }
}

/// The refusal for one guarantee that the plan does not hold.
pub(crate) fn missing(plan: &Plan, guarantee: Guarantee) -> Option<Missing> {
    let Some(Standing::NotHeld { reason, .. }) = plan.guarantees.get(&guarantee) else {
        return None;
    };
    if let Some(backend) = &plan.foreign {
        return match foreign(plan, backend.as_ref(), guarantee) {
            Some(Err(lack)) => Some(lack.missing(guarantee)),
            _ => Some(Missing {
                guarantee,
                layer: Layer::Unknown,
                reason: reason.clone(),
                fix: None,
            }),
        };
    }
    if let Some(blocked) = resources(plan, guarantee).find_map(|one| tree::holds(one).err()) {
        return Some(blocked.missing(guarantee));
    }
    if let Some(blocked) = without::cause(&plan.blocked, guarantee) {
        return Some(blocked.missing(guarantee));
    }
    if guarantee == Guarantee::Landlock {
        return Some(diagnose::no_landlock(&Facts::gather()).missing(guarantee));
    }
    let (layer, fix) = blame(guarantee);
    Some(Missing { guarantee, layer, reason: reason.clone(), fix })
}

fn blame(guarantee: Guarantee) -> (Layer, Option<String>) {
    match guarantee {
        Guarantee::NoPrivileges => (Layer::IdMap, Some(diagnose::MAP_IDS.to_owned())),
        Guarantee::KernelBoundary => (Layer::Backend, None),
        _ => (Layer::Unknown, None),
    }
}

pub(super) fn guarantees(plan: &Plan) -> BTreeMap<Guarantee, Standing> {
    Guarantee::ALL.into_iter().map(|guarantee| (guarantee, explained(plan, guarantee))).collect()
}

/// What the host refused is a better reason than that the plan has not got it.
fn explained(plan: &Plan, guarantee: Guarantee) -> Standing {
    match (standing(plan, guarantee), without::cause(&plan.blocked, guarantee)) {
        (Standing::NotHeld { stand_in, .. }, Some(blocked)) => {
            Standing::NotHeld { reason: blocked.reason.clone(), stand_in }
        }
        (standing, _) => standing,
    }
}

/// What a backend that is not ours says of a guarantee; none for what the supervisor holds.
fn foreign(
    plan: &Plan,
    backend: &dyn Backend,
    guarantee: Guarantee,
) -> Option<Result<Vec<String>, Lack>> {
    let ours = matches!(guarantee, Guarantee::WallTime | Guarantee::Output);
    (!ours).then(|| backend.holds(plan, guarantee))
}

fn standing(plan: &Plan, guarantee: Guarantee) -> Standing {
    if let Some(backend) = &plan.foreign
        && let Some(holds) = foreign(plan, backend.as_ref(), guarantee)
    {
        return match holds {
            Ok(by) => Standing::Held { by },
            Err(Lack { reason, stand_in, .. }) => Standing::NotHeld { reason, stand_in },
        };
    }
    match guarantee {
        Guarantee::Filesystem if plan.root_dir.is_some() => {
            in_namespace(plan, &["mount namespace", "pivot_root into the root that the job names"])
        }
        Guarantee::Filesystem => {
            in_namespace(plan, &["mount namespace", "pivot_root into an allow-list root"])
        }
        Guarantee::ReadOnlyRoot => {
            in_namespace(plan, &["recursive read-only mounts", "read-only tmpfs root"])
        }
        Guarantee::Processes => processes(plan),
        Guarantee::Network => network(plan),
        Guarantee::Ipc => ipc(plan),
        Guarantee::NoPrivileges => privileges(plan),
        Guarantee::SyscallFilter => filter(plan),
        Guarantee::Landlock => landlock(plan),
        Guarantee::Memory => memory(plan),
        Guarantee::Pids => pids(plan),
        Guarantee::CpuTime => cpu_time(plan),
        Guarantee::WallTime => wall_time(plan),
        Guarantee::Output => output(plan),
        Guarantee::Disk => disk(plan),
        Guarantee::KernelBoundary => {
            not_held("the native backend shares the host's kernel; only gVisor has its own", None)
        }
    }
}

fn held<S: Into<String>>(by: impl IntoIterator<Item = S>) -> Standing {
    Standing::Held { by: by.into_iter().map(Into::into).collect() }
}

fn not_held(reason: impl Into<String>, stand_in: Option<String>) -> Standing {
    Standing::NotHeld { reason: reason.into(), stand_in }
}

const NO_NAMESPACES: &str = "the run has no namespaces of its own";

fn in_namespace(plan: &Plan, by: &[&str]) -> Standing {
    if plan.namespaces.base {
        held(by.iter().copied())
    } else {
        let fence = plan.fence.map(|fence| fence.describe());
        not_held(NO_NAMESPACES, fence)
    }
}

fn ipc(plan: &Plan) -> Standing {
    if plan.namespaces.ipc { held(["ipc namespace"]) } else { not_held(NO_NAMESPACES, None) }
}

fn processes(plan: &Plan) -> Standing {
    match plan.namespaces {
        super::Namespaces { pid: true, .. } => {
            held(["pid namespace", "/proc of its own", "undumpable init"])
        }
        super::Namespaces { base: true, .. } => {
            not_held("the run has no process namespace and sees the caller's /proc", scoped(plan))
        }
        _ => not_held(NO_NAMESPACES, scoped(plan)),
    }
}

/// Landlock of ABI 6 keeps the program's signals to itself.
fn scoped(plan: &Plan) -> Option<String> {
    plan.fence.filter(|fence| fence.scoped != 0).map(|fence| fence.describe())
}

fn network(plan: &Plan) -> Standing {
    if plan.job.network == Network::Host {
        not_held("the job asks for the host's network", None)
    } else if plan.namespaces.net {
        held(["network namespace with loopback only"])
    } else {
        not_held(NO_NAMESPACES, None)
    }
}

fn privileges(plan: &Plan) -> Standing {
    let identity = plan.identity;
    if plan.is_root {
        let reason = "the program would be root on the host: no other id is mapped in this user \
                      namespace";
        return not_held(reason, Some("no_new_privs, empty capability sets".to_owned()));
    }
    let mut by = vec![
        match identity.host_uid {
            0 => "user id 0 of the caller's user namespace, which is not root outside".to_owned(),
            uid => format!("user id {uid} on the host"),
        },
        "no_new_privs".to_owned(),
        "empty capability sets".to_owned(),
    ];
    if plan.namespaces.base {
        by.insert(0, "user namespace".to_owned());
        by.push("locked securebits".to_owned());
    }
    held(by)
}

fn filter(plan: &Plan) -> Standing {
    plan.filter.as_ref().map_or_else(
        || not_held("the run has no system call filter", None),
        |filter| {
            let len = filter.program.len();
            held([format!("seccomp filter from {}, {len} instructions", filter.origin)])
        },
    )
}

fn landlock(plan: &Plan) -> Standing {
    plan.fence.map_or_else(
        || not_held("the kernel has no Landlock, or it is disabled at boot", None),
        |fence| held([fence.describe()]),
    )
}

/// What a plan needs of control groups to hold a guarantee.
fn resources(plan: &Plan, guarantee: Guarantee) -> impl Iterator<Item = Resource> {
    let shares = plan.job.limits.cpus().finite().is_some();
    Resource::ALL
        .into_iter()
        .filter(move |resource| resource.guarantee() == Some(guarantee))
        .filter(move |resource| shares || *resource != Resource::Cpus)
}

fn memory(plan: &Plan) -> Standing {
    let Some(limit) = plan.job.limits.memory().finite() else {
        return not_held("unlimited, as the job asks", None);
    };
    match tree::holds(Resource::Memory) {
        Ok(file) => held([format!("control group: {file} = {limit}")]),
        Err(blocked) => {
            let waived = plan.job.waive.contains(&Guarantee::Memory);
            let asked = plan.job.limits.memory.is_some();
            let stand_in = format!("RLIMIT_DATA = {limit}, for each process");
            not_held(&blocked.reason, (waived && asked).then_some(stand_in))
        }
    }
}

/// What holds of memory, CPU time and disk where everything that runs is in a cell of ours, whoever
/// confines it further.
pub(crate) fn by_cell(plan: &Plan, guarantee: Guarantee) -> Result<Vec<String>, Lack> {
    let standing = match guarantee {
        Guarantee::Memory => memory(plan),
        Guarantee::CpuTime => cpu_time(plan),
        _ => disk(plan),
    };
    let reason = match standing {
        Standing::Held { by } => return Ok(by),
        Standing::NotHeld { reason, .. } => reason,
    };
    let blocked = resources(plan, guarantee).find_map(|one| tree::holds(one).err());
    let (layer, fix) = blocked.map_or((Layer::Unknown, None), |blocked| {
        let missing = blocked.missing(guarantee);
        (missing.layer, missing.fix)
    });
    Err(Lack { layer, reason, fix, stand_in: None })
}

/// `RLIMIT_NPROC` counts per user and user namespace (since Linux 5.14), and a cell has a user
/// namespace of its own that no process of it can leave: it counts exactly the cell.
fn pids(plan: &Plan) -> Standing {
    let Some(limit) = plan.job.limits.pids().finite() else {
        return not_held("unlimited, as the job asks", None);
    };
    if let Ok(file) = tree::holds(Resource::Pids) {
        return held([format!("control group: {file} = {limit}, and the cell's init")]);
    }
    let rlimit = format!("RLIMIT_NPROC = {limit}");
    if plan.namespaces.base && processes_are_counted_per_namespace() {
        held([format!("{rlimit}, counted in the cell's own user namespace")])
    } else {
        let whole = format!("{rlimit}, counted over all processes of the user");
        not_held("no control group counts processes", Some(whole))
    }
}

/// A sum, a share of the CPUs, or both.
fn cpu_time(plan: &Plan) -> Standing {
    let limits = &plan.job.limits;
    let mut by = Vec::new();
    if let Some(limit) = limits.cpu_time().finite() {
        let limit = format_duration(limit);
        match tree::holds(Resource::CpuTime) {
            Ok(file) => {
                by.push(format!("control group: {file}, watched by the supervisor, {limit}"));
            }
            Err(blocked) => {
                let stand_in = format!("RLIMIT_CPU = {limit}, for each process");
                return not_held(&blocked.reason, Some(stand_in));
            }
        }
    }
    if let Some(cpus) = limits.cpus().finite() {
        match tree::holds(Resource::Cpus) {
            Ok(file) => by.push(format!("control group: {file} = {cpus} CPUs")),
            Err(blocked) => return not_held(&blocked.reason, by.pop()),
        }
    }
    if by.is_empty() { not_held("unlimited, as the job asks", None) } else { held(by) }
}

fn wall_time(plan: &Plan) -> Standing {
    plan.job.limits.wall_time().finite().map_or_else(
        || not_held("unlimited, as the job asks", None),
        |limit| held([format!("the supervisor's clock, {}", format_duration(limit))]),
    )
}

fn output(plan: &Plan) -> Standing {
    plan.job.limits.output().finite().map_or_else(
        || not_held("unlimited, as the job asks", None),
        |limit| held([format!("the supervisor's count, {limit} per stream")]),
    )
}

fn disk(plan: &Plan) -> Standing {
    let limits = &plan.job.limits;
    if !plan.namespaces.base {
        return not_held(NO_NAMESPACES, None);
    }
    if let Some(target) = writable_mount(&plan.job) {
        return not_held(
            format!("{target} is a writable directory of the host, without quota"),
            None,
        );
    }
    if let Some(upper) = kept_layer(&plan.job) {
        let reason = "keeps changes on the host, without quota but that of its file system";
        return not_held(format!("{upper} {reason}"), None);
    }
    if let Some(target) = boundless_tmpfs(&plan.job) {
        return not_held(format!("the tmpfs at {target} is unlimited, as the job asks"), None);
    }
    match (limits.workspace().finite(), limits.tmp().finite(), limits.inodes().finite()) {
        (Some(workspace), Some(tmp), Some(inodes)) => held([
            format!("tmpfs size, /workspace {workspace}, /tmp and /dev/shm {tmp} each"),
            format!("tmpfs nr_inodes, {inodes} each"),
        ]),
        _ => not_held("unlimited, as the job asks", None),
    }
}

pub(crate) fn boundless_tmpfs(job: &Job) -> Option<String> {
    let boundless = job.tmpfs.iter().find(|own| own.size == Some(Limit::Unlimited))?;
    Some(boundless.target.display().to_string())
}

fn writable_mount(job: &Job) -> Option<String> {
    let writable = job.mounts.iter().find(|mount| mount.access == Access::ReadWrite)?;
    Some(writable.target.display().to_string())
}

fn kept_layer(job: &Job) -> Option<String> {
    let kept = job.mounts.iter().find_map(|mount| mount.upper.as_ref())?;
    Some(kept.display().to_string())
}

fn processes_are_counted_per_namespace() -> bool {
    Host::current().kernel >= (5, 14)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ByteSize;

    /// Whoever leaves one out has nothing else that would miss it: a host that lacks it is rare.
    #[test]
    fn every_job_requires_what_confines_it() {
        use Guarantee as G;
        let always = [
            G::Filesystem,
            G::ReadOnlyRoot,
            G::Processes,
            G::Network,
            G::Ipc,
            G::NoPrivileges,
            G::SyscallFilter,
            G::Landlock,
            G::WallTime,
            G::Output,
            G::Disk,
        ];
        let job = Job::new(["true"]);
        let of = |job: &Job| required(job, BackendName::Native);
        assert_eq!(of(&job), always.into());
        for guarantee in always {
            let rest: BTreeSet<_> = always.into_iter().filter(|one| *one != guarantee).collect();
            assert_eq!(of(&job.clone().waive(guarantee)), rest);
        }
        let spelled = job.limits(|limits| {
            limits.memory = Some(ByteSize::mib(64).into());
            limits.pids = Some(7.into());
            limits.cpu_time = Some(std::time::Duration::from_secs(1).into());
        });
        let more = always.into_iter().chain([G::Memory, G::Pids, G::CpuTime]);
        assert_eq!(of(&spelled), more.collect());
    }

    #[test]
    fn an_unlimited_tmpfs_gives_the_disk_up() {
        let mut job = Job::new(["true"]).tmpfs("/data");
        let standing = |job: &Job| Plan::new(job).unwrap().guarantees[&Guarantee::Disk].clone();
        assert!(matches!(standing(&job), Standing::Held { .. }));
        job.tmpfs[0].size = Some(Limit::Unlimited);
        assert!(!required(&job, BackendName::Native).contains(&Guarantee::Disk));
        let Standing::NotHeld { reason, .. } = standing(&job) else { panic!("it is held") };
        assert!(reason.contains("/data is unlimited"), "{reason}");
    }
}
