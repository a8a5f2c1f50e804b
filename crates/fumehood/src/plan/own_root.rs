//! A root that is not the host's: a directory, or an image.

use std::fs;
use std::path::{Path, PathBuf};

use super::layout::{Entry, bind, dir, made_files};
use crate::image::{Image, ImageConfig, Store, account, read_small};
use crate::{Error, Job, Result, Root};

/// What the sandbox makes itself, whatever the root has there.
const MADE: [&str; 5] = ["dev", "proc", "sys", "tmp", "workspace"];

/// More than any root directory has: one of a sandbox that a program could fill.
const MOST_NAMES: usize = 256;

/// A root that the job names.
#[derive(Clone, Debug)]
pub(crate) struct OwnRoot {
    /// Where it is on the host.
    pub(crate) dir: PathBuf,
    /// The image, if it is one.
    pub(crate) image: Option<Image>,
}

impl OwnRoot {
    /// The root of a job; none for the host's.
    pub(crate) fn of(job: &Job) -> Result<Option<Self>> {
        let refused = |field: &str, value: &str, problem: String| {
            Err(Error::invalid(field, format!("{value:?}"), problem))
        };
        match &job.root {
            Root::Host => Ok(None),
            Root::Bundle(dir) => refused(
                "root.bundle",
                &dir.to_string_lossy(),
                format!("is not run by backend {}; name backend runsc", job.backend),
            ),
            Root::Dir(dir) => match fs::canonicalize(dir) {
                Ok(dir) if dir == Path::new("/") => {
                    refused("root.dir", "/", "is all of the host; name a directory".to_owned())
                }
                Ok(dir) if dir.is_dir() => Ok(Some(Self { dir, image: None })),
                Ok(dir) => {
                    refused("root.dir", &dir.to_string_lossy(), "is no directory".to_owned())
                }
                Err(error) => {
                    refused("root.dir", &dir.to_string_lossy(), format!("cannot be used: {error}"))
                }
            },
            Root::Image { image, .. } => {
                let image = Store::of_user()?.find(image)?;
                Ok(Some(Self { dir: image.root.clone(), image: Some(image) }))
            }
        }
    }

    /// The user id and group id inside, if the image has a user.
    pub(crate) fn user(&self) -> Option<(u32, u32)> {
        let user = self.image.as_ref()?.config.user.as_ref()?;
        Some((user.uid, user.gid))
    }

    /// The variables that the image sets.
    pub(crate) fn env(&self) -> &[(String, String)] {
        self.image.as_ref().map_or(&[], |image| &image.config.env)
    }
}

/// The job with what the image says filled in. Doing it again changes nothing: the image is named by
/// its digest then, and has no more to say on the arguments.
pub(crate) fn applied(job: &Job, root: Option<&OwnRoot>) -> Result<Job> {
    let mut job = job.clone();
    let Some(image) = root.and_then(|root| root.image.as_ref()) else { return Ok(job) };
    job.args = arguments(&job, &image.config);
    if job.args.first().is_none_or(String::is_empty) {
        let problem = "names no program, and neither does the job; name one in args";
        return Err(Error::invalid("root.image", format!("{:?}", image.digest), problem));
    }
    if let Some(workdir) = &image.config.workdir
        && job.cwd == Path::new(Job::CWD)
    {
        // In the form that does not depend on links; the store has made it if it was missing.
        job.cwd = Path::new("/").join(workdir).components().collect();
    }
    job.root = Root::Image { image: image.digest.clone(), entrypoint: Some(Vec::new()) };
    Ok(job)
}

/// As Docker has it: whoever replaces the entrypoint replaces the command, too.
fn arguments(job: &Job, config: &ImageConfig) -> Vec<String> {
    let (entrypoint, command) = match &job.root {
        Root::Image { entrypoint: Some(own), .. } => (own, &Vec::new()),
        _ => (&config.entrypoint, &config.cmd),
    };
    let arguments = if job.args.is_empty() { command } else { &job.args };
    entrypoint.iter().chain(arguments).cloned().collect()
}

/// Shows every directory, file and link of the root at its place, read-only, but those that the
/// sandbox makes itself.
///
/// They are shown one by one on a root that is made for the job, so that everything else can be made
/// there, too: mount points, `/workspace`.
pub(crate) fn entries(own: &OwnRoot, root: &mut Vec<Entry>) -> Result<()> {
    let unusable = |error: std::io::Error| {
        let problem = format!("cannot be read: {error}");
        Error::invalid("root", own.dir.display(), problem)
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(&own.dir).map_err(unusable)? {
        names.push(entry.map_err(unusable)?.file_name());
        if names.len() > MOST_NAMES {
            let problem = format!("has more than {MOST_NAMES} names at its top");
            return Err(Error::invalid("root", own.dir.display(), problem));
        }
    }
    names.sort();
    for name in names.iter().filter(|name| !MADE.iter().any(|made| *made == name.as_os_str())) {
        show(&own.dir.join(name), &Path::new("/").join(name), root).map_err(unusable)?;
    }
    Ok(())
}

fn show(source: &Path, target: &Path, root: &mut Vec<Entry>) -> std::io::Result<()> {
    let kind = fs::symlink_metadata(source)?.file_type();
    if kind.is_symlink() {
        root.push(Entry::Link { path: target.into(), target: fs::read_link(source)? });
    } else if kind.is_dir() {
        root.push(Entry::Dir { path: target.into(), mode: 0o755 });
        root.push(bind(source, target, true));
    } else if kind.is_file() {
        root.push(Entry::File { path: target.into(), data: Vec::new() });
        root.push(bind(source, target, false));
    }
    Ok(())
}

/// Covers what is in `/etc`, for it cannot be changed; makes it all where there is no `/etc`. The
/// covers are made in `/dev`, so it comes before.
pub(crate) fn etc(own: &OwnRoot, job: &Job, root: &mut Vec<Entry>) {
    let etc = own.dir.join("etc");
    let exists = fs::symlink_metadata(&etc).is_ok();
    if !exists {
        dir(root, "/etc", 0o755);
    }
    for (path, text) in files(own, job) {
        let name = path.trim_start_matches("/etc/");
        if !exists {
            root.push(Entry::File { path: path.into(), data: text.into_bytes() });
        } else if etc.is_dir() && is_file(&etc) && is_file(&etc.join(name)) {
            root.push(Entry::Cover { path: path.into(), data: text.into_bytes() });
        }
    }
}

/// Whether it is what it is named, and not behind a link.
fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_symlink())
}

/// The files of `/etc` that are about the sandbox: the root's own accounts stay, and the program's
/// joins them if it is not there. How names are looked up is the root's affair.
fn files(own: &OwnRoot, job: &Job) -> Vec<(&'static str, String)> {
    let (uid, gid) = own.user().unwrap_or((1000, 1000));
    let mut files = made_files(job);
    files.retain(|(path, _)| *path != "/etc/nsswitch.conf");
    for (path, text) in &mut files {
        let missing = match *path {
            "/etc/passwd" => {
                let passwd = read_small(&own.dir, Path::new("etc/passwd"));
                let known = account(&passwd, |_, listed| listed == uid).is_some();
                let line = format!("sandbox:x:{uid}:{gid}:sandbox:/tmp:/bin/sh\n");
                (passwd, known, line)
            }
            "/etc/group" => {
                let group = read_small(&own.dir, Path::new("etc/group"));
                let id = gid.to_string();
                let known = group.lines().any(|line| line.split(':').nth(2) == Some(&id));
                (group, known, format!("sandbox:x:{gid}:\n"))
            }
            _ => continue,
        };
        let (before, known, line) = missing;
        let newline = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
        *text = if known { before } else { format!("{before}{newline}{line}") };
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entrypoint: &[&str], cmd: &[&str]) -> ImageConfig {
        let list = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        ImageConfig { entrypoint: list(entrypoint), cmd: list(cmd), ..ImageConfig::default() }
    }

    fn run(own: Option<&[&str]>, args: &[&str], config: &ImageConfig) -> String {
        let mut job = Job::new(args.iter().copied());
        let entrypoint = own.map(|own| own.iter().map(|text| (*text).to_owned()).collect());
        job.root = Root::Image { image: "x".into(), entrypoint };
        arguments(&job, config).join(" ")
    }

    #[test]
    fn arguments_are_put_together_as_docker_does() {
        let image = config(&["entry", "-e"], &["cmd"]);
        assert_eq!(run(None, &[], &image), "entry -e cmd");
        assert_eq!(run(None, &["a", "b"], &image), "entry -e a b");
        assert_eq!(run(Some(&["sh"]), &[], &image), "sh");
        assert_eq!(run(Some(&["sh"]), &["-c", "x"], &image), "sh -c x");
        assert_eq!(run(Some(&[]), &["true"], &image), "true");
        assert_eq!(run(None, &[], &config(&[], &["cmd"])), "cmd");
        assert_eq!(run(None, &["true"], &config(&[], &["cmd"])), "true");
    }

    #[test]
    fn the_program_s_account_joins_those_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh").unwrap();
        fs::write(dir.path().join("etc/group"), "users:x:1000:\n").unwrap();
        let own = OwnRoot { dir: dir.path().into(), image: None };
        let mut root = Vec::new();
        etc(&own, &Job::new(["true"]), &mut root);
        let cover = |wanted: &str| {
            root.iter().find_map(|entry| match entry {
                Entry::Cover { path, data } if path == Path::new(wanted) => {
                    Some(String::from_utf8(data.clone()).unwrap())
                }
                _ => None,
            })
        };
        assert_eq!(
            cover("/etc/passwd").unwrap(),
            "root:x:0:0::/root:/bin/sh\nsandbox:x:1000:1000:sandbox:/tmp:/bin/sh\n"
        );
        assert_eq!(cover("/etc/group").unwrap(), "users:x:1000:\n");
        assert_eq!(cover("/etc/hosts"), None, "what is not there cannot be covered");
    }

    #[test]
    fn links_are_shown_as_links_and_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/root", dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("usr/bin", dir.path().join("bin")).unwrap();
        fs::create_dir(dir.path().join("proc")).unwrap();
        fs::write(dir.path().join("init"), "").unwrap();
        let own = OwnRoot { dir: dir.path().into(), image: None };
        let mut root = Vec::new();
        entries(&own, &mut root).unwrap();
        etc(&own, &Job::new(["true"]), &mut root);
        let kinds: Vec<_> = root
            .iter()
            .map(|entry| match entry {
                Entry::Link { path, target } => {
                    format!("{} -> {}", path.display(), target.display())
                }
                Entry::File { path, .. } => format!("{} file", path.display()),
                Entry::Bind { target, .. } => format!("{} bind", target.display()),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(kinds, ["/bin -> usr/bin", "/etc -> /root", "/init file", "/init bind"]);
    }
}
