//! What nsjail holds of the guarantees, and by what.

use crate::backend::Lack;
use crate::plan::{Plan, standing};
use crate::{Guarantee, Layer, Network};

pub(super) fn holds(plan: &Plan, guarantee: Guarantee) -> Result<Vec<String>, Lack> {
    use Guarantee as G;
    let held = |by: &[&str]| Ok(by.iter().map(|by| (*by).to_owned()).collect());
    match guarantee {
        G::Memory | G::CpuTime | G::Disk => standing::by_cell(plan, guarantee),
        G::Filesystem => held(&["mount namespace", "pivot_root into an allow-list root"]),
        G::ReadOnlyRoot => held(&["recursive read-only mounts of the home", "read-only root"]),
        G::Processes => held(&["pid namespace", "/proc of its own"]),
        G::Network if plan.job.network == Network::Host => {
            Err(Lack::of_backend("the job asks for the host's network"))
        }
        G::Network => held(&["network namespace with loopback only"]),
        G::Ipc => held(&["ipc namespace"]),
        G::NoPrivileges if plan.is_root => Err(Lack {
            layer: Layer::IdMap,
            reason: "the program would be root on the host: no other id is mapped in this user \
                     namespace"
                .to_owned(),
            fix: None,
            stand_in: Some("no_new_privs, empty capability sets".to_owned()),
        }),
        G::NoPrivileges => Ok(vec![
            "user namespace".to_owned(),
            format!("user id {} on the host", plan.identity.host_uid),
            "no_new_privs".to_owned(),
            "empty capability sets".to_owned(),
        ]),
        G::Pids => pids(plan),
        G::SyscallFilter => Err(Lack::of_backend("nsjail is given no system call filter here")),
        G::Landlock => Err(Lack::of_backend("nsjail sets no Landlock fence")),
        _ => Err(Lack::of_backend("nsjail shares the host's kernel; only gVisor has its own")),
    }
}

/// As for a cell of ours: the kernel counts by user and user namespace, and the jail has its own.
fn pids(plan: &Plan) -> Result<Vec<String>, Lack> {
    let Some(limit) = plan.job.limits.pids().finite() else {
        return Err(Lack::of_backend("unlimited, as the job asks"));
    };
    if crate::host::Host::current().kernel >= (5, 14) {
        return Ok(vec![format!(
            "RLIMIT_NPROC = {limit}, counted in the jail's own user namespace"
        )]);
    }
    Err(Lack::of_backend("before Linux 5.14 all processes of the user would count"))
}
