//! The `config.json` of a bundle, as the OCI runtime specification has it.

use std::borrow::Cow;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::home::{Lodging, SHM, cover_of};
use super::{Kind, devices, rules};
use crate::backend::inner;
use crate::backend::native::script::NO_CORE;
use crate::job::{Access, Limit};
use crate::plan::{Entry, Plan};
use crate::sabotage::leaves_out;
use crate::{Network, Result, Seccomp};

/// What is written down for a plan, as JSON.
///
/// # Errors
/// A filter that the runtime's own compiler would understand otherwise.
pub(super) fn config(kind: Kind, plan: &Plan, lodging: &Lodging) -> Result<String> {
    let mut env: Vec<_> = plan
        .env
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_string_lossy()))
        .collect();
    let mut args = plan.job.args.clone();
    if let Some(token) = &lodging.token {
        args.insert(0, inner::INIT.to_owned());
        // gVisor's own kernel starts process 1, with every signal at its default. To set them again takes a
        // millisecond there.
        let fresh = if kind == Kind::Runsc { inner::FRESH } else { "" };
        env.push(format!("{}={fresh}{token}", inner::TOKEN));
    }
    let none: &[&str] = if leaves_out("oci-capabilities") { &["CAP_KILL"] } else { &[] };
    let capabilities = json!({
        "bounding": none, "effective": none, "inheritable": none, "permitted": none, "ambient": none
    });
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": plan.identity.uid, "gid": plan.identity.gid},
            "args": args,
            "env": env,
            "cwd": plan.job.cwd,
            "noNewPrivileges": !leaves_out("oci-no-new-privs"),
            "capabilities": capabilities,
            "rlimits": rlimits(kind, plan, lodging),
        },
        "root": {"path": "rootfs", "readonly": !leaves_out("oci-read-only")},
        "hostname": plan.job.hostname,
        "mounts": mounts(kind, plan, lodging),
    });
    let filter = plan.filter.as_ref().filter(|_| !leaves_out("oci-filter"));
    if let (Kind::Crun, Some(filter)) = (kind, filter) {
        // The very filter that cells of ours get, rather than what another compiler makes of it.
        let program = BASE64_STANDARD.encode(filter.program.to_bytes());
        config["annotations"] = json!({ "run.oci.seccomp_bpf_data": program });
    }
    Ok(with_member(&config, "linux", &linux(kind, plan)?))
}

/// An object, with one more member that is written down already.
fn with_member(object: &Value, name: &str, value: &str) -> String {
    let text = object.to_string();
    let before = text.strip_suffix('}').unwrap_or(&text);
    format!(r#"{before},"{name}":{value}}}"#)
}

fn rlimits(kind: Kind, plan: &Plan, lodging: &Lodging) -> Vec<Value> {
    let limits = &plan.job.limits;
    let seconds = |time: std::time::Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let number = |limit: Limit<u64>| limit.finite();
    let pids = number(limits.pids()).filter(|_| kind == Kind::Crun && !leaves_out("oci-pids"));
    // Process 1 counts, too, where it is ours. Where an ordinary user is the same on both sides of the
    // container's user namespace, so do the home's init and the runtime: what is counted outside is held
    // against the limit of whoever made the namespace (`user_namespaces(7)`).
    let ours = u64::from(lodging.token.is_some()) + if plan.identity.by_root { 0 } else { 2 };
    let pids = pids.map(|pids| pids.saturating_add(ours));
    let set = [
        ("RLIMIT_CORE", Resource::Core, Some(NO_CORE)),
        ("RLIMIT_FSIZE", Resource::Fsize, limits.file_size().finite().map(|size| size.0)),
        ("RLIMIT_NOFILE", Resource::Nofile, number(limits.open_files())),
        ("RLIMIT_CPU", Resource::Cpu, limits.cpu_time().finite().map(seconds)),
        ("RLIMIT_NPROC", Resource::Nproc, pids),
    ];
    // What the kernel counts by user, so that one container could take all of it: none of gVisor's
    // business, which has no use for it.
    let counted = [
        ("RLIMIT_MEMLOCK", Resource::Memlock, Some(64 << 10)),
        ("RLIMIT_MSGQUEUE", Resource::Msgqueue, Some(0)),
        ("RLIMIT_SIGPENDING", Resource::Sigpending, Some(1024)),
        ("RLIMIT_NICE", Resource::Nice, Some(0)),
        ("RLIMIT_RTPRIO", Resource::Rtprio, Some(0)),
    ];
    let counted = counted.into_iter().filter(|_| kind != Kind::Runsc);
    let set = set.into_iter().chain(counted).filter_map(|(name, resource, limit)| {
        // A lower limit of the caller's own stays: raising it would take a privilege.
        let own = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = limit?;
        // SIGXCPU at the soft limit, which says what is up, and SIGKILL a second later.
        let hard = limit.saturating_add(u64::from(resource == Resource::Cpu));
        Some(json!({"type": name, "soft": limit.min(own), "hard": hard.min(own)}))
    });
    set.collect()
}

fn mounts(kind: Kind, plan: &Plan, lodging: &Lodging) -> Vec<Value> {
    let mut mounts = vec![mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])];
    if devices::are_ours(kind, plan) {
        mounts.extend(devices::mounts(lodging));
    } else {
        mounts.push(mount("/dev", "tmpfs", "tmpfs", dev(kind)));
    }
    mounts.push(mount("/dev/pts", "devpts", "devpts", devpts(kind)));
    mounts.extend(plan.root.iter().filter_map(|entry| shm(kind, entry, lodging)));
    mounts.extend(plan.root.iter().filter_map(|entry| own(kind, entry, lodging)));
    if lodging.token.is_some() {
        let at = |name: &str| lodging.path(name);
        mounts.push(bind(&at("init"), Path::new(inner::INIT), read_only(kind, false)));
        let writable = ["bind", "rw", "nosuid", "nodev", "noexec"];
        mounts.push(bind(&at("end"), Path::new(inner::END), &writable));
    }
    mounts
}

/// Shared memory: of gVisor, which does not limit the number of files, a directory of the home.
fn shm(kind: Kind, entry: &Entry, lodging: &Lodging) -> Option<Value> {
    let Entry::Tmpfs { target, size, inodes, .. } = entry else { return None };
    if target != Path::new(SHM) {
        return None;
    }
    if kind == Kind::Runsc {
        return Some(bind(&lodging.source(target), target, &["rbind", "rw", "nosuid", "nodev"]));
    }
    let mut options = vec!["nosuid".to_owned(), "nodev".into(), "mode=1777".into()];
    options.extend(size.map(|size| format!("size={size}")));
    options.extend(inodes.map(|inodes| format!("nr_inodes={inodes}")));
    Some(json!({"destination": SHM, "type": "tmpfs", "source": "shm", "options": options}))
}

/// All instances share one number of terminals, `kernel.pty.max`.
const fn devpts(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Runsc => &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        Kind::Crun | Kind::Runc => {
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "max=64"]
        }
    }
}

/// gVisor makes the devices only when it is mounted, and guards it by modes.
const fn dev(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Runsc => &["nosuid", "noexec", "mode=755", "size=65536"],
        Kind::Crun | Kind::Runc => &["nosuid", "noexec", "mode=755", "size=65536", "ro"],
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

/// What the plan has of its own at a place.
fn own(kind: Kind, entry: &Entry, lodging: &Lodging) -> Option<Value> {
    match entry {
        Entry::Bind { source, target, access: Access::ReadOnly, directory, .. } => {
            Some(bind(&lodging.read_from(source, target), target, read_only(kind, *directory)))
        }
        Entry::Bind { target, .. } => {
            Some(bind(&lodging.source(target), target, &["rbind", "rw", "nosuid", "nodev"]))
        }
        Entry::Tmpfs { target, .. } if target != Path::new(SHM) => {
            Some(bind(&lodging.source(target), target, &["rbind", "rw", "nosuid", "nodev"]))
        }
        Entry::Cover { path, .. } => {
            let source = lodging.place.join(cover_of(path));
            Some(bind(&source, path, read_only(kind, false)))
        }
        _ => None,
    }
}

pub(super) fn bind(source: &Path, target: &Path, options: &[&str]) -> Value {
    json!({"destination": target, "type": "bind", "source": source, "options": options})
}

/// For gVisor, which has one mount for all that is below, read-only means all of it; for the others,
/// `ro` alone would leave nested mounts writable. A file has none, and crun wants a directory there.
const fn read_only(kind: Kind, directory: bool) -> &'static [&'static str] {
    match kind {
        Kind::Runsc => &["rbind", "ro", "nosuid", "nodev"],
        _ if directory => &["rbind", "ro", "rro", "nosuid", "nodev", "rnosuid", "rnodev"],
        _ => &["bind", "ro", "nosuid", "nodev"],
    }
}

fn linux(kind: Kind, plan: &Plan) -> Result<String> {
    let network = plan.job.network == Network::None && !leaves_out("oci-network");
    let network = network.then_some("network");
    let user = (kind == Kind::Crun).then_some("user");
    let kinds = ["pid", "ipc", "uts", "mount"].into_iter().chain(network).chain(user);
    let namespaces: Vec<_> = kinds.map(|kind| json!({ "type": kind })).collect();
    let masked: Vec<_> = plan
        .root
        .iter()
        .filter_map(|entry| match entry {
            Entry::Mask { path, .. } => Some(path),
            _ => None,
        })
        .collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": masked,
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if kind == Kind::Crun {
        // In the home of an ordinary user there is one id, which is 0.
        let identity = plan.identity;
        let (uid, gid) =
            if identity.by_root { (identity.host_uid, identity.host_gid) } else { (0, 0) };
        let map = |inside, outside| json!([{"containerID": inside, "hostID": outside, "size": 1}]);
        linux["uidMappings"] = map(identity.uid, uid);
        linux["gidMappings"] = map(identity.gid, gid);
    }
    Ok(if kind == Kind::Runc {
        with_member(&linux, "seccomp", &seccomp(plan)?)
    } else {
        linux.to_string()
    })
}

/// For a compiler that drops rules with conditions once there is one without.
fn seccomp(plan: &Plan) -> Result<Cow<'static, str>> {
    Ok(match &plan.job.seccomp {
        Seccomp::Default => rules::shipped()?.into(),
        Seccomp::Profile(path) => rules::oci(&crate::plan::read_profile(path)?)?.to_string().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_text_is_one_of_the_object() {
        let text = with_member(&json!({"a": {}}), "b", &with_member(&json!({"c": 1}), "d", "[2]"));
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, json!({"a": {}, "b": {"c": 1, "d": [2]}}));
    }
}
