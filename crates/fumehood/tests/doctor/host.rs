//! Hosts to try, made out of this one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use fumehood::{Guarantee, Job, Mount, blocking};
use libtest_mimic::Failed;
use serde_json::Value;

const NOBODY: u32 = 65534;

/// A way to start this program again, somewhere else.
pub(crate) struct Host {
    place: Place,
    root: bool,
}

enum Place {
    /// A command line that a program's own is appended to.
    Shell(Vec<String>),
    /// A cell of the library itself.
    Cell,
}

/// What became of a run there.
#[derive(Debug)]
pub(crate) enum Verdict {
    Ran(Value),
    Refused(Vec<Value>),
    Failed(#[expect(dead_code, reason = "shown by Debug")] String),
}

impl Verdict {
    pub(crate) fn report(self) -> Result<Value, Failed> {
        match self {
            Self::Ran(report) if report["outcome"]["code"] == 0 => Ok(report),
            other => Err(format!("did not run: {other:?}").into()),
        }
    }

    pub(crate) fn missing(self) -> Result<Vec<Value>, Failed> {
        match self {
            Self::Refused(missing) => Ok(missing),
            other => Err(format!("was not refused: {other:?}").into()),
        }
    }
}

impl Host {
    pub(crate) fn plain() -> Self {
        Self::shell(vec!["env".to_owned()])
    }

    /// New namespaces, made by an ordinary user, in which a shell command prepares the rest.
    pub(crate) fn nested(namespaces: &str, prepare: &str) -> Self {
        let prepare = format!("{prepare} && exec \"$@\"");
        Self::shell(["unshare", namespaces, "sh", "-ec", &prepare, "sh"].map(str::to_owned).into())
    }

    pub(crate) fn limited(kind: &str) -> Self {
        Self::nested("-Ur", &format!("echo 0 > /proc/sys/user/max_{kind}_namespaces"))
    }

    pub(crate) fn chroot(mount_point: bool) -> Self {
        let cover = if mount_point { "mount -t tmpfs none $root" } else { ":" };
        let root = scratch().join(if mount_point { "mounted" } else { "plain" });
        let script = format!(
            "root={}; mkdir -p $root; {cover}; mkdir -p $root/usr $root/tmp $root/proc $root/dev; \
             for dir in bin lib lib64 sbin; do ln -sfn usr/$dir $root/$dir; done; \
             for dir in usr tmp proc dev; do mount --rbind /$dir $root/$dir; done; \
             exec chroot $root \"$@\"",
            root.display()
        );
        Self::shell(["unshare", "-Urm", "sh", "-ec", &script, "sh"].map(str::to_owned).into())
    }

    pub(crate) fn in_fumehood() -> Self {
        Self { place: Place::Cell, root: false }
    }

    /// A container that shows this host's programs. Engines do not like hosts with both versions
    /// of control groups, so the second is out of their sight.
    pub(crate) fn podman(options: &[&str]) -> Self {
        let dir = scratch().join("podman");
        let (store, root) = (dir.display(), dir.join("root"));
        let script = format!(
            "umount /sys/fs/cgroup/unified 2>/dev/null || :; mkdir -p {0}/usr {0}/tmp {0}/etc; \
             for dir in bin lib lib64 sbin; do ln -sfn usr/$dir {0}/$dir; done; \
             exec podman --root {store}/store --runroot {store}/run --storage-driver vfs \
             --cgroup-manager cgroupfs run --rm --network none --cgroups disabled \
             --log-driver none --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 \
             -v /usr:/usr:ro -v {1}:{1}:ro {2} --rootfs {0} \"$@\"",
            root.display(),
            // Only the file: the directory holds the container's root, and with it an unmasked /proc.
            executable().display(),
            options.join(" ")
        );
        Self::shell(["unshare", "-m", "sh", "-ec", &script, "sh"].map(str::to_owned).into())
            .into_root()
    }

    fn shell(words: Vec<String>) -> Self {
        Self { place: Place::Shell(words), root: false }
    }

    pub(crate) fn into_root(self) -> Self {
        Self { root: true, ..self }
    }

    pub(crate) fn run(&self, waive: &[&str], program: &[&str]) -> Verdict {
        let waived = waive.join(",");
        let answer = self.ask(&[&["__run", waived.as_str()], program].concat());
        match answer {
            Ok(mut answer) if answer.get("report").is_some() => {
                Verdict::Ran(answer["report"].take())
            }
            Ok(answer) if answer.get("missing").is_some() => {
                Verdict::Refused(answer["missing"].as_array().cloned().unwrap_or_default())
            }
            Ok(answer) => Verdict::Failed(answer.to_string()),
            Err(failed) => Verdict::Failed(format!("{failed:?}")),
        }
    }

    pub(crate) fn support(&self) -> Result<Value, Failed> {
        self.ask(&["__support"])
    }

    fn ask(&self, args: &[&str]) -> Result<Value, Failed> {
        let answer = match &self.place {
            Place::Cell => in_cell(args)?,
            Place::Shell(_) => {
                let output = self.command(args).output()?;
                [output.stdout, output.stderr].concat()
            }
        };
        let answer = String::from_utf8_lossy(&answer).into_owned();
        serde_json::from_str(&answer).map_err(|_| format!("no answer but {answer:?}").into())
    }

    /// This program with these arguments, there.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let words = match &self.place {
            Place::Shell(words) => words.as_slice(),
            Place::Cell => &[],
        };
        let mut command = Command::new(words.first().map_or("env", String::as_str));
        command.args(words.iter().skip(1)).arg(executable()).args(args).current_dir("/");
        if rustix::process::geteuid().is_root() && !self.root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

fn in_cell(args: &[&str]) -> Result<Vec<u8>, Failed> {
    let executable = executable().to_string_lossy().into_owned();
    let mut job = Job::new([&[executable.as_str()], args].concat());
    job.mounts = vec![Mount::new(scratch(), scratch())];
    job.waive = [Guarantee::Memory].into();
    let report = blocking::run(&job).map_err(|error| format!("the outer cell: {error}"))?;
    Ok([report.stdout.data, report.stderr.data].concat())
}

/// A directory that everyone can enter, with a copy of this program that everyone can run.
fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("fumehood-doctor-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a scratch directory can be made");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777)).expect("it is ours");
        let this = std::env::current_exe().expect("this program has a path");
        fs::copy(this, dir.join("doctor")).expect("this program can be copied");
        dir
    })
}

/// Makes the copy while there is nobody else: a process that another thread starts meanwhile has it open
/// for writing until it executes something, and for as long nobody can execute it (`ETXTBSY`).
pub(crate) fn prepare() {
    scratch();
}

fn executable() -> PathBuf {
    scratch().join("doctor")
}

/// Removes what [`scratch`] made, if it made anything.
pub(crate) fn clean_up() {
    let dir = std::env::temp_dir().join(format!("fumehood-doctor-{}", std::process::id()));
    let _ = fs::remove_dir_all(dir);
}
