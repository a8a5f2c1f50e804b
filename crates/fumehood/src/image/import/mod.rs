//! From an archive to an image in the store.

mod archive;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod manifest;
mod stream;
mod tar;
mod unpack;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::config::Document;
use super::store::{Record, can_name, full_name, read_small, unique};
use super::{Image, ImageConfig, Store, failed, refused, user};
use crate::{ByteSize, Error, Result};
use archive::Archive;
use manifest::Described;
use stream::{Capped, Plain, Summed};
use unpack::Unpacker;

/// How images are imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportOptions {
    /// The name of the image, instead of those in the archive. Only for an archive with one image.
    pub name: Option<String>,
    /// How much an archive may unpack to.
    pub limits: ImportLimits,
}

impl ImportOptions {
    fn judge(&self) -> Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        can_name(name).map_err(|problem| Error::invalid("name", format_args!("{name:?}"), problem))
    }
}

/// How much an archive may unpack to, all of its images together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportLimits {
    /// Files, directories, links and whiteouts in all layers.
    pub entries: u64,
    /// Bytes that are unpacked.
    pub size: ByteSize,
    /// How many times larger a layer may become than its compressed form.
    pub ratio: u64,
    /// What a layer may become however small it is.
    pub free_of_ratio: ByteSize,
}

impl Default for ImportLimits {
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            size: ByteSize(32 << 30),
            ratio: 200,
            free_of_ratio: ByteSize::mib(64),
        }
    }
}

/// An image that was imported.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Imported {
    /// The image.
    #[serde(flatten)]
    pub image: Image,
    /// Whether it was there already, so that only its names are new.
    pub was_there: bool,
}

/// Files that a sandbox puts something of its own in place of.
const COVERED: [&str; 5] =
    ["etc/group", "etc/hostname", "etc/hosts", "etc/passwd", "etc/resolv.conf"];

impl Store {
    /// Imports the images of an archive: what `docker save` writes, or an OCI layout in a tar; as it
    /// is, or through gzip or zstd; with layers as they are, or through gzip or zstd.
    ///
    /// - Every blob that the archive names by a digest is held to it, and so is every layer, by the
    ///   digest that the image's configuration has of it. The image is known by the digest of that
    ///   configuration.
    /// - Layers are laid on each other as the OCI image specification says, whiteouts and opaque
    ///   directories included.
    /// - Nothing leads out of the image: paths are resolved by the kernel below its root. `..` in a
    ///   path is refused. Devices and FIFOs are not made; set-id and sticky bits, owners, and
    ///   extended attributes are not kept.
    /// - Entries, bytes and the ratio of compression have limits.
    /// - An image is there when all of it is on disk. What a killed import left is never used, and
    ///   removed by the next.
    ///
    /// # Errors
    /// [`ErrorKind::Image`](crate::ErrorKind::Image), which says what in the archive is wrong, or
    /// what the file system said; [`ErrorKind::InvalidJob`](crate::ErrorKind::InvalidJob) if
    /// `options` have a name that is none.
    pub fn import(&self, archive: &Path, options: &ImportOptions) -> Result<Vec<Imported>> {
        options.judge()?;
        let file = File::open(archive).map_err(failed(archive.display(), "cannot be opened"))?;
        self.import_from(file, &archive.display().to_string(), options)
    }

    /// The same from an open file, which may be a pipe; `shown` stands for it in errors.
    ///
    /// # Errors
    /// Those of [`Store::import`].
    pub fn import_from(
        &self,
        file: File,
        shown: &str,
        options: &ImportOptions,
    ) -> Result<Vec<Imported>> {
        options.judge()?;
        let wrong = |error: io::Error| refused(shown, error.to_string());
        let mut left = options.limits.size.0;
        let spool = Staging::new(self)?;
        let spooled = spool.file("archive")?;
        let mut archive = Archive::open(file, spooled, &mut left).map_err(wrong)?;
        let mut images = manifest::describe(&mut archive).map_err(wrong)?;
        if let Some(name) = &options.name {
            let [only] = images.as_mut_slice() else {
                let problem = format!("holds {} images, and one name is not enough", images.len());
                return Err(refused(shown, problem));
            };
            only.names = vec![name.clone()];
        }
        for name in images.iter().flat_map(|image| &image.names) {
            can_name(name).map_err(|problem| {
                refused(shown, format!("has the name {name:?}, which {problem}"))
            })?;
        }
        let mut import = Import { store: self, archive, shown, limits: options.limits, left };
        images.iter().map(|image| import.image(image)).collect()
    }
}

struct Import<'a> {
    store: &'a Store,
    archive: Archive,
    shown: &'a str,
    limits: ImportLimits,
    /// Bytes that may still be unpacked.
    left: u64,
}

impl Import<'_> {
    fn wrong(&self) -> impl Fn(io::Error) -> Error {
        let shown = self.shown.to_owned();
        move |error| refused(&shown, error.to_string())
    }

    fn image(&mut self, described: &Described) -> Result<Imported> {
        let bytes = self.archive.document(&described.config).map_err(self.wrong())?;
        let digest = stream::digest(&bytes);
        if described.digest.as_ref().is_some_and(|said| *said != digest) {
            let problem =
                format!("has a configuration with other bytes than {} says", described.config);
            return Err(refused(self.shown, problem));
        }
        let document: Document = manifest::read("a configuration", &bytes).map_err(self.wrong())?;
        self.is_for_us(&document)?;
        let digits = digest.trim_start_matches("sha256:");
        let was_there = self.store.tree(digits).exists();
        if !was_there {
            self.unpack(described, &document, &digest)?;
        }
        for name in &described.names {
            self.store.name(&full_name(name), digits)?;
        }
        Ok(Imported { image: self.store.find(&digest)?, was_there })
    }

    fn is_for_us(&self, document: &Document) -> Result<()> {
        let ours = manifest::architecture();
        let other = |said: &str, ours: &str| !said.is_empty() && said != ours;
        if other(&document.os, "linux") || other(&document.architecture, ours) {
            let (os, architecture) = (&document.os, &document.architecture);
            let problem = format!("is for {os}/{architecture}, and this machine is linux/{ours}");
            return Err(refused(self.shown, problem));
        }
        Ok(())
    }

    fn unpack(&mut self, described: &Described, document: &Document, digest: &str) -> Result<()> {
        let ids = &document.rootfs.diff_ids;
        if ids.len() != described.layers.len() {
            let (some, other) = (described.layers.len(), ids.len());
            let problem = format!("has {some} layers, but digests of {other}");
            return Err(refused(self.shown, problem));
        }
        let staging = Staging::new(self.store)?;
        let root = staging.directory("root")?;
        let mut unpacker = Unpacker::new(&root, self.limits.entries).map_err(self.wrong())?;
        for (layer, id) in described.layers.iter().zip(ids) {
            self.layer(layer, id, &mut unpacker)?;
        }
        let config = self.config(document, &root)?;
        furnish(&mut unpacker, &config).map_err(self.wrong())?;
        let Unpacker { size, entries, .. } = unpacker;
        staging.record(&Record { digest: digest.to_owned(), config, size, entries })?;
        staging.publish(digest.trim_start_matches("sha256:"))
    }

    fn config(&self, document: &Document, root: &Path) -> Result<ImageConfig> {
        let refused_here = |problem: String| refused(self.shown, problem);
        let Some(section) = &document.config else { return Ok(ImageConfig::default()) };
        let mut config = ImageConfig::of(section).map_err(refused_here)?;
        let passwd = read_small(root, Path::new("etc/passwd"));
        let group = read_small(root, Path::new("etc/group"));
        let name = section.user.as_deref().unwrap_or_default();
        config.user = user::user(name, &passwd, &group).map_err(refused_here)?;
        Ok(config)
    }

    fn layer(&mut self, layer: &manifest::Layer, id: &str, to: &mut Unpacker) -> Result<()> {
        to.next_layer();
        let size = self.archive.size(&layer.blob).map_err(self.wrong())?;
        let most =
            size.saturating_mul(self.limits.ratio).saturating_add(self.limits.free_of_ratio.0);
        let mut allowed = most.min(self.left);
        let before = allowed;
        let read = read_layer(&mut self.archive, &layer.blob, &mut allowed, to);
        let (blob, plain) =
            read.map_err(|error| refused(self.shown, format!("layer {}: {error}", layer.blob)))?;
        self.left -= before - allowed;
        let said = layer.digest.as_deref().unwrap_or(&blob);
        if blob != said {
            let problem = format!("layer {} has other bytes than its digest says", layer.blob);
            return Err(refused(self.shown, problem));
        }
        if plain != id {
            let problem = format!("layer {} unpacks to other bytes than {id}", layer.blob);
            return Err(refused(self.shown, problem));
        }
        Ok(())
    }
}

/// Unpacks a layer, and returns the digests of its bytes before and after.
fn read_layer(
    archive: &mut Archive,
    blob: &str,
    allowed: &mut u64,
    to: &mut Unpacker,
) -> io::Result<(String, String)> {
    let mut plain = Plain::of(Summed::new(archive.blob(blob)?))?;
    let mut summed = Summed::new(Capped::new(&mut plain, allowed));
    tar::each(&mut summed, |entry, data| {
        to.entry(entry, data).map_err(|error| {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            io::Error::new(error.kind(), format!("{path:?}: {error}"))
        })
    })?;
    // What comes after the end of the tar counts as well.
    let plain_digest = summed.finish()?;
    let mut rest = plain.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    Ok((rest.into_inner().finish()?, plain_digest))
}

/// What a sandbox needs in a root that nothing can be made in any more.
fn furnish(unpacker: &mut Unpacker, config: &ImageConfig) -> io::Result<()> {
    let at = |what: &'static str, path: &str| {
        let path = format!("{path:?}");
        move |error: io::Error| io::Error::new(error.kind(), format!("{what}{path}: {error}"))
    };
    for path in COVERED {
        unpacker.ensure_file(Path::new(path)).map_err(at("", path))?;
    }
    if let Some(workdir) = &config.workdir {
        let made = unpacker.ensure_directory(Path::new(workdir));
        made.map_err(at("its working directory ", workdir))?;
    }
    Ok(())
}

/// A directory that becomes an image, or goes away.
#[derive(Debug)]
struct Staging<'a> {
    store: &'a Store,
    path: PathBuf,
    /// Held as long as this lives: whoever can take it knows that we do not.
    lock: File,
}

impl<'a> Staging<'a> {
    fn new(store: &'a Store) -> Result<Self> {
        let all = store.make("staging")?;
        clean(&all);
        // Between the making and the lock another import may take it for abandoned.
        for _ in 0..8 {
            let path = all.join(unique("import"));
            let shown = path.display().to_string();
            fs::create_dir(&path).map_err(failed(&shown, "cannot be made"))?;
            if let Some(lock) = lock(&path).map_err(failed(&shown, "cannot be locked"))? {
                return Ok(Self { store, path, lock });
            }
        }
        Err(refused(all.display(), "is being cleaned by somebody else all the time"))
    }

    fn file(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        let opened = File::options().read(true).write(true).create_new(true).open(&path);
        opened.map_err(failed(path.display(), "cannot be made"))
    }

    fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(failed(path.display(), "cannot be made"))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).map_err(failed(path.display(), "cannot be made"))?;
        Ok(path)
    }

    fn record(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| failed("record", "cannot be written")(io::Error::from(error)))?;
        fs::write(self.path.join("image.json"), text)
            .map_err(failed(self.path.display(), "cannot be written"))
    }

    /// Gives the tree its name. All of it is on disk first, so that not even a power failure leaves
    /// half of it under that name.
    fn publish(&self, digest: &str) -> Result<()> {
        let problem = failed(digest, "cannot be put into the store");
        rustix::fs::syncfs(&self.lock).map_err(|error| problem(error.into()))?;
        let trees = self.store.make("trees")?;
        match fs::rename(&self.path, trees.join(digest)) {
            // Somebody else was faster with the same image.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other.map_err(problem),
        }
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        // Not there any more if it was published.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Locks a directory; none if somebody else has it, or has removed it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = match rustix::fs::open(path, flags, rustix::fs::Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(None),
        // A directory that is removed has no link any more.
        Ok(()) => Ok((rustix::fs::fstat(&lock)?.st_nlink > 0).then(|| lock.into())),
        Err(error) => Err(error.into()),
    }
}

/// Removes what killed imports and removals left. What cannot be removed is in nobody's way.
fn clean(staging: &Path) {
    for entry in fs::read_dir(staging).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("removed-") {
            let _ = fs::remove_dir_all(entry.path());
        } else if name.starts_with("import-")
            && let Ok(Some(_lock)) = lock(&entry.path())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
