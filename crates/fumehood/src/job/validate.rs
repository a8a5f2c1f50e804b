//! What can be said against a job without looking at the host.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::{Access, BackendName, Job, Mount, Network, Root, Seccomp, Stdin, Tmpfs};
use super::{validate_files, validate_limits};
use crate::{ByteSize, Error, Result, env};

/// Mounts that a job may have. The kernel hands an init at most 253 descriptors at once (`SCM_MAX_FD` in
/// `include/net/scm.h`), and each mount of root's is one; the rest is for control groups and the like. Whoever
/// runs it, and by what backend, the job is right or wrong.
pub(super) const MOST_MOUNTS: usize = 200;

/// Inside directories that the sandbox makes itself: a mount there would replace what confines.
pub(super) const RESERVED: [&str; 4] = ["/proc", "/dev", "/sys", "/.changes"];

impl Job {
    /// Checks everything that can be judged without the host: whether its paths exist and what
    /// it can enforce is seen later.
    ///
    /// ```
    /// let job = fumehood::Job::new(["true"]).cwd("work");
    /// assert_eq!(job.validate().unwrap_err().to_string(),
    ///     r#"invalid job: cwd: "work": must be absolute, such as "/work""#);
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidJob`](crate::ErrorKind::InvalidJob), which names the first field that is wrong.
    pub fn validate(&self) -> Result<()> {
        self.validate_program()?;
        root(&self.root)?;
        env::check(&self.env)?;
        inside("cwd", &self.cwd)?;
        mounts(&self.mounts, &self.tmpfs)?;
        validate_files::check(self)?;
        network(&self.network, self.backend)?;
        hostname(&self.hostname)?;
        validate_limits::check(self)?;
        match &self.seccomp {
            Seccomp::Profile(path) => on_host("seccomp.profile", path),
            Seccomp::Default => Ok(()),
        }
    }
}

impl Job {
    /// The part of it in which jobs that have the [same plan](Self::same_plan) may differ.
    pub(crate) fn validate_program(&self) -> Result<()> {
        args(&self.args, &self.root)?;
        stdin(&self.stdin, self.tty)
    }
}

pub(super) fn refuse(
    field: impl Into<String>,
    value: impl Display,
    problem: impl Into<String>,
) -> Result<()> {
    Err(Error::invalid(field, value, problem))
}

/// A name is an engine's affair; what has a meaning of its own there, such as `container:ID`, is none.
fn network(network: &Network, backend: BackendName) -> Result<()> {
    let Network::Named(name) = network else { return Ok(()) };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !first || !name.bytes().all(is_plain) || ["host", "none", "private"].contains(&name.as_str())
    {
        let problem = "must be the name of a network of Docker's or Podman's, such as bridge";
        return refuse("network.named", format_args!("{name:?}"), problem);
    }
    match backend {
        BackendName::Docker | BackendName::Podman | BackendName::Auto => Ok(()),
        _ => {
            let problem =
                format!("only docker and podman have networks by name; the backend is {backend}");
            refuse("network.named", format_args!("{name:?}"), problem)
        }
    }
}

fn args(args: &[String], root: &Root) -> Result<()> {
    let by_image = args.is_empty() && matches!(root, Root::Image { .. } | Root::Bundle(_));
    if args.first().is_none_or(String::is_empty) && !by_image {
        return refuse("args", format_args!("{args:?}"), "must start with the name of a program");
    }
    // Names of fields are written only where one is wrong: this is on the way to every program.
    match args.iter().enumerate().find(|(_, arg)| arg.contains('\0')) {
        Some((index, arg)) => no_nul(&format!("args[{index}]"), arg),
        None => Ok(()),
    }
}

fn root(root: &Root) -> Result<()> {
    match root {
        Root::Host => Ok(()),
        Root::Dir(dir) => on_host("root.dir", dir),
        Root::Bundle(dir) => on_host("root.bundle", dir),
        Root::Image { image, .. } if image.is_empty() => {
            refuse("root.image", "\"\"", "must be the name of an image: fumehood image list")
        }
        Root::Image { image, entrypoint } => {
            no_nul("root.image", image)?;
            entrypoint.iter().flatten().try_for_each(|text| no_nul("root.entrypoint", text))
        }
    }
}

fn no_nul(field: &str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return refuse(field, format_args!("{text:?}"), "must not contain a NUL byte");
    }
    Ok(())
}

/// A path on the host, which must not depend on the directory that the caller happens to be in.
pub(super) fn on_host(field: &str, path: &Path) -> Result<()> {
    if path.as_os_str().as_bytes().contains(&0) {
        return refuse(field, format_args!("{path:?}"), "must not contain a NUL byte");
    }
    if !path.is_absolute() {
        let problem = "must be absolute: it would depend on the directory of the caller";
        return refuse(field, format_args!("{path:?}"), problem);
    }
    Ok(())
}

/// A path inside, in the one form that means the same whatever links there are.
pub(super) fn inside(field: &str, path: &Path) -> Result<()> {
    let shown = format_args!("{path:?}");
    if path.as_os_str().as_bytes().contains(&0) {
        return refuse(field, shown, "must not contain a NUL byte");
    }
    if !path.is_absolute() {
        // What is proposed must not be refused in its turn.
        let known = path.components().filter(|part| matches!(part, Component::Normal(_)));
        let mut right: PathBuf = [Component::RootDir].into_iter().chain(known).collect();
        if right == Path::new("/") {
            right = Job::CWD.into();
        }
        return refuse(field, shown, format!("must be absolute, such as {right:?}"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return refuse(field, shown, "must not contain ..: what it means depends on links");
    }
    // Components leave out `.`, `//` and a slash at the end.
    let normal: PathBuf = path.components().collect();
    if normal.as_os_str() != path.as_os_str() {
        return refuse(field, shown, format!("must be written in its shortest form, {normal:?}"));
    }
    Ok(())
}

fn stdin(stdin: &Stdin, tty: bool) -> Result<()> {
    if let Stdin::File(path) = stdin {
        on_host("stdin.file", path)?;
    }
    if tty {
        let given = match stdin {
            Stdin::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Stdin::File(path) => format!("{path:?}"),
            Stdin::None | Stdin::Inherit => return Ok(()),
        };
        let problem = "a job with a tty reads from its terminal; set tty to false, or stdin to \
                       \"none\" or \"inherit\"";
        return refuse("stdin", given, problem);
    }
    Ok(())
}

fn mounts(mounts: &[Mount], tmpfs: &[Tmpfs]) -> Result<()> {
    if mounts.len() > MOST_MOUNTS {
        let problem = format!("are more than {MOST_MOUNTS}; mount a directory above some of them");
        return refuse("mounts", format_args!("{} mounts", mounts.len()), problem);
    }
    for (index, mount) in mounts.iter().enumerate() {
        on_host(&format!("mounts[{index}].source"), &mount.source)?;
        if let Some(upper) = &mount.upper {
            keeps_changes(index, mount.access, upper)?;
        }
    }
    for (index, tmpfs) in tmpfs.iter().enumerate() {
        let Some(limit) = tmpfs.size else { continue };
        validate_limits::size(&format!("tmpfs[{index}].size"), limit, ByteSize::kib(4))?;
    }
    let targets = mounts.iter().enumerate().map(|(index, mount)| ("mounts", index, &mount.target));
    let scratch = tmpfs.iter().enumerate().map(|(index, tmpfs)| ("tmpfs", index, &tmpfs.target));
    let mut seen = BTreeMap::new();
    for (list, index, path) in targets.chain(scratch) {
        let field = format!("{list}[{index}].target");
        target(&field, path)?;
        if let Some(first) = seen.insert(path, format!("{list}[{index}]")) {
            let problem = format!("is the target of {first} too; each needs its own");
            return refuse(field, format_args!("{path:?}"), problem);
        }
    }
    Ok(())
}

fn keeps_changes(index: usize, access: Access, upper: &Path) -> Result<()> {
    let field = format!("mounts[{index}].upper");
    on_host(&field, upper)?;
    if access != Access::CopyOnWrite {
        let problem = "goes with access \"cow\" only: any other mount has no changes to keep";
        return refuse(field, format_args!("{upper:?}"), problem);
    }
    Ok(())
}

/// Whether a mount of the job may go there: not over what the sandbox makes itself.
pub(crate) fn may_hold_a_mount(target: &Path) -> bool {
    target != Path::new("/") && !RESERVED.iter().any(|reserved| target.starts_with(reserved))
}

fn target(field: &str, target: &Path) -> Result<()> {
    inside(field, target)?;
    if target == Path::new("/") {
        let problem = "would replace the whole root; mount into a directory of it";
        return refuse(field, format_args!("{target:?}"), problem);
    }
    if let Some(reserved) = RESERVED.iter().find(|reserved| target.starts_with(reserved)) {
        let problem = format!("is in {reserved}, which the sandbox makes itself; choose another");
        return refuse(field, format_args!("{target:?}"), problem);
    }
    Ok(())
}

/// The rules of `hostname(7)`, and the kernel's 64 bytes (`uname(2)`, `__NEW_UTS_LEN`).
fn hostname(name: &str) -> Result<()> {
    let shown = format_args!("{name:?}");
    if name.is_empty() || name.len() > 64 {
        return refuse("hostname", shown, "must have 1 to 64 bytes");
    }
    let label = |part: &str| {
        let known = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        known && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
    };
    if !name.split('.').all(label) {
        let problem = "must be made of letters, digits and -, in parts between points that \
                       neither start nor end with -";
        return refuse("hostname", shown, problem);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Guarantee, Limit, Limits};

    fn job() -> Job {
        Job::new(["true"])
    }

    fn mounted(source: &str, target: &str) -> Job {
        job().mount(source, target)
    }

    fn limited(change: impl FnOnce(&mut Limits)) -> Job {
        job().limits(change)
    }

    #[test]
    fn what_is_right_passes() {
        for job in [
            job(),
            Job::new(["a", ""]),
            job().cwd("/"),
            job().tty(true).stdin(Stdin::Inherit),
            mounted("/a/../b", "/workspace"),
            mounted("/a", "/a").mount("/b", "/a/b"),
            mounted("/a", "/process"),
            job().hostname("a-1.example"),
            job().hostname("x".repeat(64)),
            limited(|limits| limits.memory = Some(ByteSize::mib(1).into())),
            limited(|limits| limits.pids = Some(1.into())),
            limited(|limits| limits.grace = Some(Duration::from_secs(3600))),
            limited(|limits| limits.memory = Some(Limit::Unlimited)),
            job().network(Network::Host),
            job().require(Guarantee::KernelBoundary),
        ] {
            assert_eq!(job.validate().map_err(|error| error.to_string()), Ok(()));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (job, message) in [
            (Job::new(Vec::<String>::new()), "args: []: must start with the name of a program"),
            (Job::new([""]), r#"args: [""]: must start with the name of a program"#),
            (Job::new(["a", "b\0"]), r#"args[1]: "b\0": must not contain a NUL byte"#),
            (
                job().network(Network::Named("bridge".to_owned())),
                r#"network.named: "bridge": only docker and podman have networks by name; the backend is native"#,
            ),
            (job().cwd("a"), r#"cwd: "a": must be absolute, such as "/a""#),
            (job().cwd(""), r#"cwd: "": must be absolute, such as "/workspace""#),
            (job().cwd(".."), r#"cwd: "..": must be absolute, such as "/workspace""#),
            (job().cwd("./a//b/"), r#"cwd: "./a//b/": must be absolute, such as "/a/b""#),
            (job().cwd("/a\0"), r#"cwd: "/a\0": must not contain a NUL byte"#),
            (
                job().cwd("/a/../b"),
                r#"cwd: "/a/../b": must not contain ..: what it means depends on links"#,
            ),
            (job().cwd("/a/./b"), r#"cwd: "/a/./b": must be written in its shortest form, "/a/b""#),
            (job().cwd("/a//b"), r#"cwd: "/a//b": must be written in its shortest form, "/a/b""#),
            (job().cwd("/a/"), r#"cwd: "/a/": must be written in its shortest form, "/a""#),
            (
                job().hostname("a_b"),
                "hostname: \"a_b\": must be made of letters, digits and -, in parts between \
                 points that neither start nor end with -",
            ),
            (job().hostname(""), r#"hostname: "": must have 1 to 64 bytes"#),
            (
                job().env("A=B", ""),
                "env.set: \"A=B\": is no name of a variable; it must not be empty or contain = or \
                 NUL",
            ),
            (
                job().seccomp(Seccomp::Profile("p.json".into())),
                "seccomp.profile: \"p.json\": must be absolute: it would depend on the directory \
                 of the caller",
            ),
            (
                job().tty(true).stdin("abc"),
                "stdin: 3 bytes: a job with a tty reads from its terminal; set tty to false, or \
                 stdin to \"none\" or \"inherit\"",
            ),
        ] {
            assert_eq!(job.validate().unwrap_err().to_string(), format!("invalid job: {message}"));
        }
        for name in ["-a", "a-", "a..b", ".a", "ä", "a b"] {
            assert!(job().hostname(name).validate().is_err(), "{name}");
        }
        assert!(job().hostname("x".repeat(65)).validate().is_err());
    }

    #[test]
    fn as_many_mounts_as_an_init_can_be_handed_are_allowed() {
        let with = |count: usize| {
            (0..count).fold(job(), |job, index| job.mount("/a", format!("/a/{index}")))
        };
        assert!(with(MOST_MOUNTS).validate().is_ok());
        assert_eq!(
            with(MOST_MOUNTS + 1).validate().unwrap_err().to_string(),
            "invalid job: mounts: 201 mounts: are more than 200; mount a directory above some of them"
        );
    }

    #[test]
    fn wrong_mounts_are_named() {
        for (job, message) in [
            (
                mounted("a", "/a"),
                "mounts[0].source: \"a\": must be absolute: it would depend on the directory of \
                 the caller",
            ),
            (mounted("/a", ""), r#"mounts[0].target: "": must be absolute, such as "/workspace""#),
            (mounted("/a", "a"), r#"mounts[0].target: "a": must be absolute, such as "/a""#),
            (
                mounted("/a", "/"),
                "mounts[0].target: \"/\": would replace the whole root; mount into a directory of it",
            ),
            (
                mounted("/a", "/proc/self"),
                "mounts[0].target: \"/proc/self\": is in /proc, which the sandbox makes itself; \
                 choose another",
            ),
            (
                mounted("/a", "/a").mount("/b", "/dev"),
                "mounts[1].target: \"/dev\": is in /dev, which the sandbox makes itself; choose \
                 another",
            ),
            (
                mounted("/a", "/a").mount("/b", "/b").mount("/c", "/a"),
                "mounts[2].target: \"/a\": is the target of mounts[0] too; each needs its own",
            ),
        ] {
            assert_eq!(job.validate().unwrap_err().to_string(), format!("invalid job: {message}"));
        }
    }
}
