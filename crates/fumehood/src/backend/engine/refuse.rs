//! What jobs ask for that an engine cannot do: said before anything is made.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path};

use super::Engine;
use super::preset::directories;
use crate::plan::{Plan, mounts};
use crate::{Access, BackendName, Error, ErrorKind, Job, MountNote, MountNoteKind, Result, Root};

/// The first field that asks for what an engine cannot do.
pub(super) fn unfit(engine: &Engine, plan: &mut Plan) -> Result<()> {
    let job = &plan.job;
    if job.tty {
        let problem = "a terminal is not passed on to containers; leave it out";
        return Err(Error::invalid("tty", "true", problem));
    }
    if engine.is_podman() && job.limits.inodes.is_some_and(|inodes| inodes.finite().is_some()) {
        let problem = "Podman cannot limit the inodes of a directory in memory; leave it out: what \
                       they take counts as memory";
        return Err(Error::invalid("limits.inodes", "set", problem));
    }
    for (index, input) in job.inputs.iter().enumerate() {
        if !is_in_scratch(plan, &input.to) {
            let problem = "is not in the program's own scratch, such as /workspace or /tmp, where \
                           inputs go: they never change what is mounted from the host";
            let field = format!("inputs[{index}].to");
            return Err(Error::invalid(field, format_args!("{:?}", input.to), problem));
        }
    }
    judge_mounts(plan)
}

/// Whether the innermost directory above a path is one in memory, rather than mounted from the host.
pub(super) fn is_in_scratch(plan: &Plan, path: &Path) -> bool {
    let depth = |above: &Path| path.starts_with(above).then(|| above.components().count());
    let scratch = directories(plan).iter().filter_map(|(own, _)| depth(own)).max();
    let mounted = plan.job.mounts.iter().filter_map(|mount| depth(&mount.target)).max();
    scratch.is_some() && scratch > mounted
}

/// Judges mounts, and leaves out those that may be missing and are.
fn judge_mounts(plan: &mut Plan) -> Result<()> {
    for (index, mount) in plan.job.mounts.iter().enumerate() {
        let refused = |field: &str, value: &dyn std::fmt::Display, problem: &str| {
            Err(Error::invalid(format!("mounts[{index}].{field}"), value, problem))
        };
        if mount.access == Access::CopyOnWrite {
            let problem = "engines have no copy-on-write mounts; copy it in, as an input";
            return refused("access", &"cow", problem);
        }
        if mount.as_owner {
            let problem = "engines cannot map the owner of a mount";
            return refused("as_owner", &true, problem);
        }
        if !is_plain(&mount.target) {
            let problem = "must be an absolute path without . and .., and not the sandbox's own";
            return refused("target", &mount.target.display(), problem);
        }
        if [&mount.source, &mount.target].into_iter().any(|path| path.to_str().is_none()) {
            let problem = "is not UTF-8, which is what engines are asked in";
            return refused("source", &mount.source.display(), problem);
        }
        if OWN.iter().any(|own| mount.target.starts_with(own)) {
            let problem = "is the container's own: nothing of the host takes its place";
            return refused("target", &mount.target.display(), problem);
        }
        if !mount.optional
            && let Err(error) = fs::metadata(&mount.source)
        {
            return refused("source", &mount.source.display(), &format!("cannot be used: {error}"));
        }
    }
    let (kept, missing): (Vec<_>, _) =
        std::mem::take(&mut plan.job.mounts).into_iter().partition(|mount| mount.source.exists());
    plan.job.mounts = kept;
    plan.notes.extend(missing.into_iter().map(|mount| {
        let text = format!("{} does not exist on the host", mounts::shown(&mount.source));
        MountNote::new(&mount.target, MountNoteKind::Skipped, text)
    }));
    Ok(())
}

/// What every container has of its own.
const OWN: [&str; 4] = ["/proc", "/sys", "/dev", "/.fumehood"];

fn is_plain(path: &Path) -> bool {
    let inside = |part| matches!(part, Component::Normal(_) | Component::RootDir);
    path.is_absolute() && path != Path::new("/") && path.components().all(inside)
}

/// A root that is not an engine's image.
pub(super) fn no_image(job: &Job) -> Error {
    let problem = "an engine runs images of its own: name one in root.image, on the command line by \
                   --image";
    match &job.root {
        Root::Dir(dir) => Error::invalid("root.dir", dir.display(), problem),
        _ => Error::invalid("root", "host", problem),
    }
}

/// Whether something is mounted below a path of the host.
pub(super) fn has_mounts_below(source: &Path) -> bool {
    let Ok(source) = fs::canonicalize(source) else { return false };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.any(|point| Path::new(point) != source && Path::new(point).starts_with(&source))
}

/// The init has to run in any image, also in one without a dynamic linker.
pub(super) fn dynamic(backend: BackendName, program: &Path) -> Result<()> {
    let read = |error| Error::internal("look at this program's own file", error);
    let mut head = Vec::new();
    let file = File::open(program).map_err(read)?;
    file.take(64 << 10).read_to_end(&mut head).map_err(read)?;
    if !has_interpreter(&head) {
        return Ok(());
    }
    let reason = format!(
        "needs a statically linked program as the init of its containers, and {} is not",
        program.display()
    );
    let fix = "build with -C target-feature=+crt-static, or name an installed fumehood in \
               FUMEHOOD_BIN and do not call fumehood::init()";
    let fix = Some(fix.to_owned());
    Err(ErrorKind::NoBackend { backend, reason, fix }.into())
}

/// Whether a program header of this 64-bit ELF file is `PT_INTERP` (`elf(5)`).
fn has_interpreter(head: &[u8]) -> bool {
    const INTERP: u32 = 3;
    let number = |at: usize, len: usize| {
        let bytes = head.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte)))
    };
    let (Some(start), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2))
    else {
        return false;
    };
    (0..count).any(|index| {
        let at = start.saturating_add(index * size);
        usize::try_from(at).ok().and_then(|at| number(at, 4)) == Some(u64::from(INTERP))
    })
}
