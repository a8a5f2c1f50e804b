//! The image of a container: found, pulled, pinned, and what it says of its program.

use std::path::Path;

use hyper::body::Bytes;

use super::Engine;
use super::api::{Image, ImageSection, Progress};
use super::failure::failed;
use super::http::{Failure, Pieces};
use crate::env::Environment;
use crate::plan::{self, Plan};
use crate::{Error, ErrorKind, Job, Result, Root, Tmpfs};

/// How an engine's image is named: `NAME[:TAG][@sha256:DIGEST]`, or the id of one, `sha256:DIGEST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// Without a digest: `busybox:1`; empty where there is nothing but an id.
    name: String,
    /// `sha256:…` of a manifest or an id.
    digest: Option<String>,
}

const LONGEST: usize = 512;

impl Reference {
    /// # Errors
    /// [`ErrorKind::InvalidJob`] for what is no reference.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refused = |problem: &str| Error::invalid("root.image", format!("{text:?}"), problem);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !first || text.len() > LONGEST || !text.bytes().all(is_plain) || text.contains("..") {
            return Err(refused("names no image of an engine; write NAME:TAG or NAME@sha256:…"));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None if text.starts_with("sha256:") => ("", Some(text)),
            None => (text, None),
        };
        if let Some(digest) = digest {
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(refused("has no digest of the form sha256: and 64 hexadecimal digits"));
            }
        }
        Ok(Self { name: name.to_owned(), digest: digest.map(str::to_owned) })
    }

    /// How it is asked for: by its digest alone where an id will do.
    fn asked(&self) -> String {
        match &self.digest {
            Some(digest) if self.name.is_empty() => digest.clone(),
            Some(digest) => format!("{}@{digest}", self.without_tag()),
            None => self.name.clone(),
        }
    }

    /// The name without a tag: what follows the last colon, unless that is a port.
    fn without_tag(&self) -> &str {
        match self.name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => name,
            _ => &self.name,
        }
    }

    /// What to pull: a name, and a tag or a digest.
    fn pulled(&self) -> (&str, &str) {
        let name = self.without_tag();
        let tag = self.name.get(name.len() + 1..).unwrap_or("latest");
        (name, self.digest.as_deref().unwrap_or(tag))
    }

    /// Whether an image is the one that is pinned. Every image is where nothing is.
    fn is(&self, image: &Image) -> bool {
        let Some(wanted) = &self.digest else { return true };
        let digests = image.repo_digests.iter().flatten();
        let mut digests = digests.filter_map(|digest| Some(digest.split_once('@')?.1));
        // Podman's ids come without the name of their hash.
        let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        wanted.strip_prefix("sha256:") == Some(id) || digests.any(|digest| digest == wanted)
    }
}

impl Engine {
    /// Looks for an image; none if the engine has none of that name.
    ///
    /// # Errors
    /// It is there and not the pinned one, or the engine cannot be asked.
    pub(super) async fn find_image(&self, reference: &Reference) -> Result<Option<Image>> {
        let found = match self.client.image(&reference.asked()).await {
            // An image that was never in a registry has no digest, but it has an id.
            Err(Failure::Refused { status: 404, .. }) if reference.digest.is_some() => {
                let id = reference.digest.as_deref().unwrap_or_default();
                self.client.image(id).await
            }
            found => found,
        };
        match found {
            Ok(image) if reference.is(&image) => Ok(Some(image)),
            Ok(image) => {
                let problem = format!("is not what its digest pins, but {}", image.id);
                Err(ErrorKind::Image { image: reference.asked(), problem }.into())
            }
            Err(failure) if failure.is_status(404) => Ok(None),
            Err(failure) => Err(failed(self.name, "look for the image", failure)),
        }
    }

    /// Pulls an image, and looks at what came.
    pub(super) async fn pull(&self, reference: &Reference) -> Result<Image> {
        let image = reference.asked();
        let refused = |problem: String| ErrorKind::Image { image: image.clone(), problem }.into();
        if reference.name.is_empty() {
            return Err(refused("is not there, and an id cannot be pulled".to_owned()));
        }
        let (name, tag) = reference.pulled();
        let pulled = match self.client.pull(name, tag).await {
            Ok(pieces) => follow(pieces, &image).await,
            Err(failure) => Err(failure),
        };
        match pulled {
            Ok(None) => {}
            Ok(Some(problem)) => {
                return Err(refused(format!("is not there and cannot be pulled: {problem}")));
            }
            Err(Failure::Refused { message, .. }) => {
                return Err(refused(format!("is not there and cannot be pulled: {message}")));
            }
            Err(failure) => return Err(failed(self.name, "pull the image", failure)),
        }
        let found = self.find_image(reference).await?;
        found.ok_or_else(|| refused("was pulled and is not there".to_owned()))
    }
}

/// Passes the progress on to whoever watches; why the pull failed, if it did.
async fn follow(mut pieces: Pieces, image: &str) -> Result<Option<String>, Failure> {
    let mut line = Vec::new();
    while let Some(piece) = pieces.next().await? {
        for part in lines(&mut line, &piece) {
            let Ok(progress) = serde_json::from_slice::<Progress>(&part) else { continue };
            if let Some(error) = progress.error {
                return Ok(Some(error));
            }
            super::progress::tell(image, &progress);
        }
    }
    Ok(None)
}

/// The lines that are whole with this piece.
fn lines(held: &mut Vec<u8>, piece: &Bytes) -> Vec<Vec<u8>> {
    const LONGEST: usize = 1 << 20;
    held.extend_from_slice(piece);
    let mut lines = Vec::new();
    while let Some(end) = held.iter().position(|&byte| byte == b'\n') {
        let rest = held.split_off(end + 1);
        lines.push(std::mem::replace(held, rest));
    }
    held.truncate(LONGEST);
    lines
}

/// Fills in what an image says, as for an image of our own store: its program unless the job has
/// another, its variables below the job's, its directory. Doing it again changes nothing.
pub(super) fn apply(plan: &mut Plan, image: &Image) -> Result<()> {
    let section = image.config.clone().unwrap_or_default();
    plan.job.args = arguments(&plan.job, &section);
    if plan.job.args.first().is_none_or(String::is_empty) {
        let problem = "names no program, and neither does the job; name one in args";
        return Err(Error::invalid("root.image", format!("{:?}", image.id), problem));
    }
    let workdir = section.working_dir.clone().filter(|dir| !dir.is_empty());
    if let Some(dir) = workdir
        && plan.job.cwd == Path::new(Job::CWD)
    {
        plan.job.cwd = Path::new("/").join(dir).components().collect();
    }
    let variables = section.env.iter().flatten().filter_map(|text| text.split_once('='));
    let variables: Vec<_> =
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let caller = |name: &str| std::env::var_os(name);
    plan.env = Environment::resolve_over(&variables, &plan.job.env, plan.job.tty, caller)?;
    plan.candidates = plan::candidates(&plan.job, &plan.env);
    volumes(&mut plan.job, &section);
    let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
    let image = format!("sha256:{id}");
    plan.job.root = Root::Image { image, entrypoint: Some(Vec::new()) };
    Ok(())
}

fn arguments(job: &Job, section: &ImageSection) -> Vec<String> {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (entrypoint, command) = match &job.root {
        Root::Image { entrypoint: Some(own), .. } => (own.clone(), Vec::new()),
        _ => (list(&section.entrypoint), list(&section.cmd)),
    };
    let arguments = if job.args.is_empty() { command } else { job.args.clone() };
    entrypoint.into_iter().chain(arguments).collect()
}

/// What an image declares as volumes are directories in memory, like those that a job asks for: limited and
/// looked at as they are.
fn volumes(job: &mut Job, section: &ImageSection) {
    for path in section.volumes.iter().flatten().map(|(path, _)| Path::new(path)) {
        let is_known = ["/workspace", "/tmp"].map(Path::new).contains(&path)
            || job.tmpfs.iter().any(|tmpfs| tmpfs.target == path)
            || job.mounts.iter().any(|mount| mount.target == path);
        if !is_known {
            job.tmpfs.push(Tmpfs { target: path.into(), size: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn references_are_taken_apart() {
        for (text, asked, pulled) in [
            ("busybox", "busybox", ("busybox", "latest")),
            ("busybox:1", "busybox:1", ("busybox", "1")),
            ("host:5000/a/b", "host:5000/a/b", ("host:5000/a/b", "latest")),
            ("host:5000/a:2", "host:5000/a:2", ("host:5000/a", "2")),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.asked(), asked);
            assert_eq!(reference.pulled(), pulled);
        }
        let pinned = Reference::parse(&format!("busybox:1@{DIGEST}")).unwrap();
        assert_eq!(pinned.asked(), format!("busybox@{DIGEST}"));
        assert_eq!(pinned.pulled(), ("busybox", DIGEST));
        assert_eq!(Reference::parse(DIGEST).unwrap().asked(), DIGEST);
    }

    #[test]
    fn volumes_of_an_image_are_directories_in_memory_once() {
        let declared = ["/data", "/tmp", "/mine"].map(|path| (path.to_owned(), Value::Null));
        let section = ImageSection { volumes: Some(declared.into()), ..ImageSection::default() };
        let mut job = Job::new(["true"]).tmpfs("/mine");
        for _ in 0..2 {
            volumes(&mut job, &section);
        }
        let targets: Vec<_> = job.tmpfs.iter().map(|tmpfs| tmpfs.target.clone()).collect();
        assert_eq!(targets, ["/mine", "/data"].map(std::path::PathBuf::from));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in ["", "a b", "-x", "../info", "a/../../info", "a@sha256:12", "a?b=c", "a@md5:0"]
        {
            let said = Reference::parse(text).unwrap_err().to_string();
            assert!(said.starts_with("invalid job: root.image"), "{text}: {said}");
        }
    }

    #[test]
    fn a_pin_fits_a_digest_or_an_id_and_nothing_else() {
        let pinned = Reference::parse(&format!("busybox@{DIGEST}")).unwrap();
        let mut image = Image { id: "sha256:ff".into(), ..Image::default() };
        assert!(!pinned.is(&image));
        assert!(Reference::parse("busybox").unwrap().is(&image));
        image.repo_digests = Some(vec![format!("other@{DIGEST}")]);
        assert!(pinned.is(&image));
        let by_id = Image { id: DIGEST.into(), ..Image::default() };
        assert!(pinned.is(&by_id));
    }
}
