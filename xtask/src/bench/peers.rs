//! How each of the others runs the payload, with settings as equal as they can be made.

use super::scene::Who;

/// Another sandbox. In its commands `{dir}` stands for the directory of the benchmark and `{n}` for
/// a number that is never used twice. No argument has spaces.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// What has to be done once before, in order.
    pub(super) prepare: &'static [&'static str],
    /// The command that is measured. Its first word is what has to be installed.
    pub(super) run: &'static str,
    /// What undoes the preparation.
    pub(super) cleanup: &'static [&'static str],
    /// In what it does less or more than the others.
    pub(super) differs: &'static str,
}

/// The name of the peer that others compare themselves with.
pub(super) const BUBBLEWRAP: &str = "bwrap";

const BWRAP_RUN: &str = "bwrap --unshare-all --unshare-user --uid 1000 --gid 1000 \
    --die-with-parent --new-session --clearenv --cap-drop ALL --ro-bind /usr /usr \
    --symlink usr/lib /lib --symlink usr/lib64 /lib64 --symlink usr/bin /bin \
    --ro-bind {dir}/payload /payload --proc /proc --dev /dev --tmpfs /tmp -- /payload/true";

const NSJAIL_RUN: &str = "nsjail -Mo -Q --user 1000 --group 1000 -R /usr:/usr -s usr/lib:/lib \
    -s usr/lib64:/lib64 -s usr/bin:/bin -R {dir}/payload:/payload -T /tmp -R /dev/null \
    -- /payload/true";

const FIREJAIL_RUN: &str = "firejail --noprofile --quiet --net=none --private --private-dev \
    --private-tmp --keep-var-tmp --read-only=/usr --caps.drop=all --nonewprivs --noroot --seccomp \
    --ipc-namespace --hostname=box -- {dir}/payload/true";

const DOCKER_RUN: &str = "docker run --rm --network=none --read-only --cap-drop=ALL \
    --security-opt=no-new-privileges --pids-limit=64 --memory=256m --cpus=1 --user=1000:1000 \
    --tmpfs /tmp:rw,nosuid,nodev,size=16m --ulimit nofile=64 fumehood-bench /payload/true";

const PODMAN_RUN: &str = "podman --events-backend=none run --rm --network=none --read-only \
    --cap-drop=all --security-opt=no-new-privileges --pids-limit=64 --memory=256m \
    --user=1000:1000 --log-driver=none --ulimit nofile=64 --ulimit nproc=64 \
    --tmpfs /tmp:rw,size=16m localhost/fumehood-bench /payload/true";

/// All that we know how to run.
pub(super) const PEERS: &[Peer] = &[
    peer(BUBBLEWRAP, BWRAP_RUN, "no filter, no Landlock, no limits"),
    peer("nsjail", NSJAIL_RUN, "no filter, no Landlock; /dev has nothing but null"),
    peer("firejail", FIREJAIL_RUN, "setuid; a deny-list as filter; shows the host's own tree"),
    peer(
        "hakoniwa",
        "hakoniwa run --unshare-all --devfs /dev --tmpfs /tmp -b {dir}/payload:/payload \
         -- /payload/true",
        "a filter that it compiles for every run; keeps all capabilities inside",
    ),
    Peer {
        name: "isolate",
        prepare: &["isolate -b 0 --init"],
        run: "isolate -b 0 --silent --dir=/payload={dir}/payload --run -- /payload/true",
        cleanup: &["isolate -b 0 --cleanup"],
        differs: "in a box that was made before and is used again and again; no user namespace",
    },
    peer(
        "unshare",
        "unshare -UrmpfniuC --mount-proc -- {dir}/payload/true",
        "namespaces alone: no new root, no filter, no limits",
    ),
    peer("crun", "crun run -b {dir}/bundle fumehood-bench-{n}", "no filter; keeps state on disk"),
    peer("runc", "runc run -b {dir}/bundle fumehood-bench-{n}", "no filter; keeps state on disk"),
    peer(
        "runsc",
        "runsc --root {dir}/home/runsc --ignore-cgroups --network=none --platform=systrap run \
         -bundle {dir}/gvisor fumehood-bench-{n}",
        "a kernel of its own: a stronger boundary",
    ),
    Peer {
        name: PODMAN,
        prepare: &["podman import {dir}/image.tar fumehood-bench"],
        run: PODMAN_RUN,
        cleanup: &["podman rmi --force fumehood-bench"],
        differs: "filter, control groups, image as overlay, monitor",
    },
    Peer {
        name: "docker",
        prepare: &["docker import {dir}/image.tar fumehood-bench"],
        run: DOCKER_RUN,
        cleanup: &["docker rmi --force fumehood-bench"],
        differs: "filter, control groups, image as overlay, by a daemon",
    },
    peer(GO_JUDGE, "go-judge", ""),
];

/// Known, but not comparable: see [`unusable`].
const GO_JUDGE: &str = "go-judge";
const PODMAN: &str = "podman";

/// Why a peer is not measured even where it is installed.
pub(super) fn unusable(name: &str, who: Who) -> Option<&'static str> {
    match (name, who) {
        (GO_JUDGE, _) => Some("a service; it has no command that runs one program and ends"),
        (PODMAN, Who::Unprivileged) => Some("leaves a process to its user that never ends"),
        _ => None,
    }
}

/// One that needs no preparation.
const fn peer(name: &'static str, run: &'static str, differs: &'static str) -> Peer {
    Peer { name, prepare: &[], run, cleanup: &[], differs }
}

impl Peer {
    /// What has to be installed.
    pub(super) fn program(&self) -> &'static str {
        self.run.split(' ').next().unwrap_or(self.run)
    }
}
