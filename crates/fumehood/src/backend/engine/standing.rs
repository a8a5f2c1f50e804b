//! What an engine holds: what it was asked for, and then what was found inside.

use super::Engine;
use super::api::Info;
use super::facts::Facts;
use super::limits::Sizes;
use crate::backend::Lack;
use crate::plan::{Plan, standing as plans};
use crate::{Access, Guarantee, Layer, Network, Seccomp, format_duration};

type Holds = Result<Vec<String>, Lack>;

/// By what a guarantee is held; before a container is there, by what it will be asked for.
pub(super) fn holds(
    engine: &Engine,
    plan: &Plan,
    guarantee: Guarantee,
    facts: Option<&Facts>,
) -> Holds {
    use Guarantee as G;
    match guarantee {
        G::Filesystem => by(["the container's mount namespace", "the image as its root"]),
        G::ReadOnlyRoot => {
            let by = ["read-only root of the container", "read-only binds without what is below"];
            found(by, facts.is_none_or(|facts| facts.root_read_only), "the root can be written to")
        }
        G::Processes => {
            let own = facts.is_none_or(|facts| facts.pid == 1);
            found(["the container's process namespace"], own, "it has no process namespace")
        }
        G::Network => network(plan, facts),
        G::Ipc => by(["the container's IPC namespace"]),
        G::NoPrivileges => privileges(facts),
        G::SyscallFilter => filter(plan, facts),
        G::Landlock => Err(Lack::of_backend("engines put no Landlock fence around containers")),
        G::Memory => memory(engine, plan, facts),
        G::Pids => pids(engine, plan, facts),
        G::CpuTime => cpu_time(engine, plan, facts),
        G::Disk => disk(engine, plan, facts),
        G::KernelBoundary => kernel(engine, plan, facts),
        G::WallTime | G::Output => by(["the supervisor"]),
    }
}

fn by<S: Into<String>>(by: impl IntoIterator<Item = S>) -> Holds {
    Ok(by.into_iter().map(Into::into).collect())
}

fn found<const N: usize>(mechanisms: [&str; N], is_so: bool, otherwise: &str) -> Holds {
    if is_so { by(mechanisms) } else { Err(otherwise_found(otherwise)) }
}

/// Something that was asked for and is not so.
fn otherwise_found(reason: impl Into<String>) -> Lack {
    Lack { layer: Layer::Backend, reason: reason.into(), fix: None, stand_in: None }
}

fn unlimited() -> Lack {
    Lack::of_backend("unlimited, as the job asks")
}

fn network(plan: &Plan, facts: Option<&Facts>) -> Holds {
    match &plan.job.network {
        Network::Host => Err(Lack::of_backend("the job asks for the host's network")),
        Network::Named(name) => {
            Err(Lack::of_backend(format!("the job asks for the engine's network {name:?}")))
        }
        Network::None => match facts.and_then(|facts| facts.interfaces.first()) {
            Some(other) => Err(otherwise_found(format!("there is a network interface {other}"))),
            None => by(["the container's network namespace with loopback only"]),
        },
    }
}

fn privileges(facts: Option<&Facts>) -> Holds {
    let user = super::preset::USER;
    let Some(facts) = facts else {
        return by([format!("user id {user}"), "no_new_privs".into(), "no capabilities".into()]);
    };
    if facts.uid == 0 {
        return Err(otherwise_found("the program would be root"));
    }
    if !facts.no_new_privs || !facts.no_capabilities {
        return Err(otherwise_found("the program would have, or could get, capabilities"));
    }
    let place = if facts.own_users { "in the engine's user namespace" } else { "on the host" };
    by([
        format!("user id {} {place}", facts.uid),
        "no_new_privs".to_owned(),
        "empty capability sets".to_owned(),
    ])
}

fn filter(plan: &Plan, facts: Option<&Facts>) -> Holds {
    if facts.is_some_and(|facts| !facts.filter) {
        let mut lack = otherwise_found("the engine gave the container no filter of system calls");
        lack.fix = Some("remove seccomp-profile=unconfined from the engine's settings".to_owned());
        return Err(lack);
    }
    match &plan.job.seccomp {
        Seccomp::Default => by(["seccomp filter from the engine's default profile"]),
        Seccomp::Profile(path) => {
            by([format!("seccomp filter from {}, compiled by the engine", path.display())])
        }
    }
}

/// A limit that the engine took and did not set: rootless without delegated control groups, mostly.
fn ignored(engine: &Engine, what: &str, found: Option<u64>) -> Lack {
    let found = found.map_or_else(|| "none is set".to_owned(), |found| format!("it is {found}"));
    let reason =
        format!("{} did not set the limit of {what} that was asked for: {found}", engine.name);
    let fix = "run the engine as root, or with control groups (version 2) delegated to its user";
    let fix = Some(fix.to_owned());
    Lack { layer: Layer::Cgroup, reason, fix, stand_in: None }
}

/// gVisor shows no control group inside: the limits are those of the whole sandbox, which the engine
/// says that it can set.
fn of_sandbox(engine: &Engine, facts: Option<&Facts>, can: fn(&Info) -> bool) -> bool {
    has_own_kernel(facts) && engine.info().is_some_and(can)
}

fn memory(engine: &Engine, plan: &Plan, facts: Option<&Facts>) -> Holds {
    let limit = plan.job.limits.memory().finite().ok_or_else(unlimited)?;
    if of_sandbox(engine, facts, |info| info.memory_limit) {
        return by([format!(
            "control group of the whole sandbox, set by the engine: memory {limit}"
        )]);
    }
    if let Some(facts) = facts {
        // The kernel counts in pages.
        if facts.memory.is_none_or(|memory| memory > limit.0) {
            return Err(ignored(engine, "memory", facts.memory));
        }
        if facts.memory_and_swap.is_some_and(|both| both > limit.0) {
            return Err(ignored(engine, "swap", facts.memory_and_swap));
        }
    }
    by([format!("the container's control group: memory {limit}, swap off")])
}

fn pids(engine: &Engine, plan: &Plan, facts: Option<&Facts>) -> Holds {
    let limit = plan.job.limits.pids().finite().ok_or_else(unlimited)?;
    if has_own_kernel(facts) {
        let reason =
            "the limit counts what the application kernel has on the host, not the program's";
        return Err(Lack::of_backend(reason));
    }
    if let Some(facts) = facts
        && facts.pids.is_none_or(|pids| pids > limit.saturating_add(1))
    {
        return Err(ignored(engine, "processes", facts.pids));
    }
    by([format!("the container's control group: {limit} processes, and its init")])
}

fn cpu_time(engine: &Engine, plan: &Plan, facts: Option<&Facts>) -> Holds {
    let limits = &plan.job.limits;
    let mut by = Vec::new();
    if let Some(limit) = limits.cpu_time().finite() {
        let limit = format_duration(limit);
        if facts.is_some_and(|facts| !facts.meter) {
            let reason = "the container has no control group of its own that would tell CPU time";
            let mut lack = Lack { layer: Layer::Cgroup, ..otherwise_found(reason) };
            lack.stand_in = Some(for_each(&limit));
            return Err(lack);
        }
        if facts.is_some_and(|facts| !facts.guarded) {
            return Err(unguarded(&limit));
        }
        by.push(format!("the container's control group, watched by its init, {limit}"));
    }
    if let Some(cpus) = limits.cpus().finite() {
        if let Some(facts) = facts
            && facts.cpus_milli.is_none_or(|milli| milli > u64::from(cpus.milli))
        {
            return Err(ignored(engine, "CPUs", facts.cpus_milli));
        }
        by.push(format!("the container's control group: {cpus} CPUs"));
    }
    if by.is_empty() { Err(unlimited()) } else { Ok(by) }
}

fn for_each(limit: &str) -> String {
    format!("RLIMIT_CPU = {limit}, for each process")
}

/// Whoever watches the CPU time could be kept from it.
fn unguarded(limit: &str) -> Lack {
    let reason = "process 1 of the container, which watches the CPU time, could add no filter of system \
                  calls, and so the program may change its schedule";
    let fix = "allow seccomp(2) in seccomp.profile".to_owned();
    Lack { fix: Some(fix), stand_in: Some(for_each(limit)), ..otherwise_found(reason) }
}

fn disk(engine: &Engine, plan: &Plan, facts: Option<&Facts>) -> Holds {
    let limits = &plan.job.limits;
    if let Some(mount) = plan.job.mounts.iter().find(|mount| mount.access == Access::ReadWrite) {
        let target = mount.target.display();
        let reason = format!("{target} is a writable directory of the host, without quota");
        return Err(Lack::of_backend(reason));
    }
    if let Some(target) = plans::boundless_tmpfs(&plan.job) {
        let reason = format!("the tmpfs at {target} is unlimited, as the job asks");
        return Err(Lack::of_backend(reason));
    }
    let Sizes { workspace, tmp, inodes } = Sizes::of(limits);
    if workspace == 0 || tmp == 0 || inodes.is_none() {
        return Err(unlimited());
    }
    if let Some(facts) = facts {
        sizes_are_held(plan, facts)?;
    }
    let inodes = inodes_held_by(engine, plan, facts, inodes)?;
    let (workspace, tmp) = (limits.workspace(), limits.tmp());
    by([format!("tmpfs size, /workspace {workspace}, /tmp and /dev/shm {tmp} each"), inodes])
}

/// Every directory in memory that the program can write to was found, and is no larger than was asked for.
fn sizes_are_held(plan: &Plan, facts: &Facts) -> Result<(), Lack> {
    for (path, most) in super::preset::directories(plan) {
        let found = facts.scratch.iter().find(|scratch| scratch.path == path);
        let shown = path.display();
        match found.map(|found| found.bytes) {
            None => return Err(otherwise_found(format!("{shown} could not be looked at"))),
            // Sizes are rounded up to pages.
            Some(bytes) if bytes == 0 || bytes > most.next_multiple_of(64 << 10) => {
                return Err(otherwise_found(format!("{shown} holds {bytes} bytes")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Inodes are limited one by one, or as the memory that they take: every one counts there.
fn inodes_held_by(
    engine: &Engine,
    plan: &Plan,
    facts: Option<&Facts>,
    most: Option<u64>,
) -> Result<String, Lack> {
    let most = most.unwrap_or(u64::MAX);
    let mut scratch = facts.iter().flat_map(|facts| &facts.scratch);
    let over = scratch.any(|scratch| scratch.inodes == 0 || scratch.inodes > most);
    if !over {
        return Ok(format!("tmpfs nr_inodes, {most} each"));
    }
    let limited = plan.job.limits.memory().finite();
    let is_limited = facts.is_some_and(|facts| facts.memory.is_some())
        || of_sandbox(engine, facts, |info| info.memory_limit);
    if let (Some(limit), true) = (limited, is_limited) {
        return Ok(format!("inodes only as memory of the control group, {limit} in all"));
    }
    Err(otherwise_found("the engine limits no inodes, and memory, as which they count, neither"))
}

/// Whether another kernel than ours answers inside.
fn has_own_kernel(facts: Option<&Facts>) -> bool {
    facts.is_some_and(|facts| facts.kernel != super::facts::kernel())
}

fn kernel(engine: &Engine, plan: &Plan, facts: Option<&Facts>) -> Holds {
    match engine.runtime(plan) {
        Some(runtime) if facts.is_some() && !has_own_kernel(facts) => {
            let reason = format!(
                "the engine was asked for its runtime {runtime}, and the host's kernel answers"
            );
            Err(otherwise_found(reason))
        }
        Some(runtime) => by([format!("gVisor, by the engine's runtime {runtime}")]),
        None => Err(Lack {
            layer: Layer::Tool,
            reason: "the engine's runtime shares the host's kernel, and it has no gVisor"
                .to_owned(),
            fix: Some("install runsc and name it in the engine's settings (runtimes)".to_owned()),
            stand_in: None,
        }),
    }
}
