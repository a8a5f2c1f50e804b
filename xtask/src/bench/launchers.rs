//! How each of them runs the payload, with settings as equal as they can be made.

use std::path::Path;
use std::process::Command;

use crate::components::find;

/// The name of ours.
pub(crate) const FUMEHOOD: &str = "fumehood run";
/// The name of the payload alone.
pub(crate) const FLOOR: &str = "bare process";
/// The name of the peer that others compare themselves with.
pub(crate) const BUBBLEWRAP: &str = "bwrap";

/// A way to run the payload.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub(crate) name: &'static str,
    argv: Vec<String>,
}

impl Launcher {
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]);
        command
    }
}

/// All that are installed.
pub(crate) fn launchers(dir: &Path) -> Vec<Launcher> {
    let payload = dir.join("payload").display().to_string();
    let fumehood = dir.join("fumehood").display().to_string();
    let launcher = |name, program: Option<String>, args: String| {
        let args = args.split_whitespace().map(str::to_owned);
        Some(Launcher { name, argv: program.into_iter().chain(args).collect() })
    };
    let peer = |name, program: &str, args: String| launcher(name, Some(find(program)?), args);
    let all = [
        launcher(FLOOR, Some(format!("{payload}/true")), String::new()),
        launcher(
            FUMEHOOD,
            Some(fumehood),
            format!("run --volume {payload}:/payload:ro -- /payload/true"),
        ),
        peer(BUBBLEWRAP, "bwrap", bubblewrap(&payload)),
        peer("nsjail", "nsjail", nsjail(&payload)),
        peer("firejail", "firejail", firejail(&payload)),
        peer(
            "unshare (no new root)",
            "unshare",
            format!("-UrmpfniuC --mount-proc -- {payload}/true"),
        ),
    ];
    all.into_iter().flatten().collect()
}

/// The same namespaces, mounts and user; it has neither a filter nor Landlock nor limits.
fn bubblewrap(payload: &str) -> String {
    format!(
        "--unshare-all --unshare-user --uid 1000 --gid 1000 --die-with-parent --new-session \
         --clearenv --cap-drop ALL --ro-bind /usr /usr --symlink usr/lib /lib \
         --symlink usr/lib64 /lib64 --symlink usr/bin /bin --ro-bind {payload} /payload \
         --proc /proc --dev /dev --tmpfs /tmp -- /payload/true"
    )
}

/// Without a filter, as bubblewrap.
fn nsjail(payload: &str) -> String {
    format!(
        "-Mo -Q --user 1000 --group 1000 -R /usr:/usr -s usr/lib:/lib -s usr/lib64:/lib64 \
         -s usr/bin:/bin -R {payload}:/payload -T /tmp -R /dev/null -- /payload/true"
    )
}

/// It shows the host's own tree.
fn firejail(payload: &str) -> String {
    format!(
        "--noprofile --quiet --net=none --private --private-dev --private-tmp --read-only=/usr \
         --caps.drop=all --nonewprivs --noroot --seccomp --ipc-namespace --hostname=box \
         -- {payload}/true"
    )
}
