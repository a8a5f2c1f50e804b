//! What a runtime holds of the guarantees, and by what.

use super::Kind;
use crate::backend::Lack;
use crate::plan::{Plan, standing};
use crate::{Guarantee, Layer, Network};

type Holds = Result<Vec<String>, Lack>;

pub(super) fn holds(kind: Kind, plan: &Plan, guarantee: Guarantee) -> Holds {
    use Guarantee as G;
    match guarantee {
        G::Memory | G::CpuTime | G::Disk => standing::by_cell(plan, guarantee),
        G::Landlock => Err(Lack::of_backend("OCI runtimes set no Landlock fence")),
        G::Network if plan.job.network == Network::Host => {
            Err(Lack::of_backend("the job asks for the host's network"))
        }
        G::NoPrivileges if plan.is_root && kind != Kind::Runsc => Err(root_on_the_host()),
        _ if kind == Kind::Runsc => by_gvisor(plan, guarantee),
        _ => by_namespaces(kind, plan, guarantee),
    }
}

fn root_on_the_host() -> Lack {
    Lack {
        layer: Layer::IdMap,
        reason:
            "the program would be root on the host: no other id is mapped in this user namespace"
                .to_owned(),
        fix: None,
        stand_in: Some("no_new_privs, empty capability sets".to_owned()),
    }
}

fn held<S: Into<String>>(by: impl IntoIterator<Item = S>) -> Holds {
    Ok(by.into_iter().map(Into::into).collect())
}

fn by_gvisor(plan: &Plan, guarantee: Guarantee) -> Holds {
    use Guarantee as G;
    match guarantee {
        G::Filesystem => held(["gVisor's own file system, of an allow-list root"]),
        G::ReadOnlyRoot => {
            held(["read-only mounts of gVisor", "a root in memory that ends with the run"])
        }
        G::Processes => held(["gVisor's own processes", "pid namespace"]),
        G::Network => held(["gVisor with loopback only", "network namespace"]),
        G::Ipc => held(["gVisor's own queues, semaphores and shared memory", "ipc namespace"]),
        G::NoPrivileges => held([
            format!("user id {} of gVisor, which is nobody on the host", plan.identity.uid),
            "no_new_privs".to_owned(),
            "empty capability sets".to_owned(),
        ]),
        G::KernelBoundary => held(["gVisor: an application kernel answers system calls"]),
        G::SyscallFilter => Err(Lack {
            stand_in: Some("gVisor's filter of what it asks of the host itself".to_owned()),
            ..Lack::of_backend("gVisor answers the program's system calls without a filter of them")
        }),
        _ => Err(Lack::of_backend(
            "the processes of gVisor are none of the host, and it does not limit them itself",
        )),
    }
}

fn by_namespaces(kind: Kind, plan: &Plan, guarantee: Guarantee) -> Holds {
    use Guarantee as G;
    match guarantee {
        G::Filesystem => held(["mount namespace", "pivot_root into an allow-list root"]),
        G::ReadOnlyRoot => held(["recursive read-only mounts", "read-only root"]),
        G::Processes => held(["pid namespace", "/proc of its own"]),
        G::Network => held(["network namespace with loopback only"]),
        G::Ipc => held(["ipc namespace"]),
        G::NoPrivileges => privileges(kind, plan),
        G::SyscallFilter => filter(kind, plan),
        G::Pids => pids(kind, plan),
        _ => Err(Lack::of_backend("OCI runtimes share the host's kernel; only gVisor has its own")),
    }
}

fn privileges(kind: Kind, plan: &Plan) -> Holds {
    let mut by = vec![
        format!("user id {} on the host", plan.identity.host_uid),
        "no_new_privs".to_owned(),
        "empty capability sets".to_owned(),
    ];
    if kind == Kind::Crun || !plan.identity.by_root {
        by.insert(0, "user namespace".to_owned());
    }
    Ok(by)
}

fn filter(kind: Kind, plan: &Plan) -> Holds {
    let Some(filter) = &plan.filter else {
        return Err(Lack::of_backend("the run has no system call filter"));
    };
    Ok(vec![match kind {
        Kind::Crun => {
            format!("seccomp filter from {}, {} instructions", filter.origin, filter.program.len())
        }
        _ => format!("seccomp rules from {}, compiled by the runtime", filter.origin),
    }])
}

/// As for a cell of ours: the kernel counts by user and user namespace, and only crun's container has
/// one that has nobody else in it.
fn pids(kind: Kind, plan: &Plan) -> Holds {
    let Some(limit) = plan.job.limits.pids().finite() else {
        return Err(Lack::of_backend("unlimited, as the job asks"));
    };
    if kind == Kind::Crun && crate::host::Host::current().kernel >= (5, 14) {
        return held([format!(
            "RLIMIT_NPROC = {limit}, counted in the container's own user namespace"
        )]);
    }
    Err(Lack::of_backend("threads of the runtime itself would count towards the limit"))
}
