//! Where images are kept: below the user's cache directory, by digest.
//!
//! ```text
//! trees/DIGEST/root/        the flattened file system
//! trees/DIGEST/image.json   what is known of it
//! names/NAME                a file that holds the digest
//! staging/                  imports that are not done
//! ```
//!
//! A tree appears under its digest by one `rename(2)` when all of it is on disk; nothing looks at
//! `staging`. An import holds a lock on its directory there, so that the next one can tell what a
//! killed one left behind, and removes it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::{ImageConfig, failed, refused};
use crate::Result;

/// A directory that holds images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store(PathBuf);

/// An image in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Image {
    /// Names that lead to it, such as `busybox:latest`; sorted.
    pub names: Vec<String>,
    /// `sha256:` and the digest of its configuration, which names all of its layers.
    pub digest: String,
    /// How it is meant to be run.
    pub config: ImageConfig,
    /// Size of its files in bytes.
    pub size: u64,
    /// Number of its files, directories and links.
    pub entries: u64,
    /// The root of its file system on the host.
    pub root: PathBuf,
}

/// What is kept about an image.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) digest: String,
    pub(super) config: ImageConfig,
    pub(super) size: u64,
    pub(super) entries: u64,
}

/// How much of a digest is enough to name an image.
const SHORTEST_DIGEST: usize = 6;

const PREFIX: &str = "sha256:";

impl Store {
    /// The store of this user: `fumehood/images` below `XDG_CACHE_HOME`, or else below
    /// `HOME/.cache`. It need not exist yet.
    ///
    /// # Errors
    /// [`ErrorKind::Image`](crate::ErrorKind::Image) if neither variable is an absolute path.
    pub fn of_user() -> Result<Self> {
        let directory = |name| std::env::var_os(name).map(PathBuf::from);
        let absolute = |path: &PathBuf| path.is_absolute();
        let cache = directory("XDG_CACHE_HOME").filter(absolute);
        let home = || directory("HOME").filter(absolute).map(|home| home.join(".cache"));
        let cache = cache.or_else(home).ok_or_else(|| {
            refused("store", "has no place: set XDG_CACHE_HOME or HOME to an absolute path")
        })?;
        Ok(Self(cache.join("fumehood/images")))
    }

    /// A store in this directory.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The images, sorted by their names.
    ///
    /// # Errors
    /// [`ErrorKind::Image`](crate::ErrorKind::Image) if the store cannot be read.
    pub fn list(&self) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for digest in self.read_dir("trees")? {
            // Removed between the two, it is no image any more.
            if let Some(image) = self.read(&digest)? {
                images.push(image);
            }
        }
        images.sort_by(|a, b| (&a.names, &a.digest).cmp(&(&b.names, &b.digest)));
        Ok(images)
    }

    /// The image of that name. Without a tag `:latest` is meant; `docker.io/library/` and `localhost/`
    /// in front can be left out, and an unambiguous beginning of a digest will do as well.
    ///
    /// # Errors
    /// [`ErrorKind::Image`](crate::ErrorKind::Image) if there is none, or the store cannot be read.
    pub fn find(&self, name: &str) -> Result<Image> {
        let digest = match self.known_as(name)? {
            Some(known) => self.digest_of(&known)?,
            None => self.by_digest(name)?,
        };
        let found = digest.map_or(Ok(None), |digest| self.read(&digest))?;
        found.ok_or_else(|| {
            let problem = "is not in the store; see: fumehood image list; fumehood image import";
            refused(name, problem)
        })
    }

    /// Removes a name, and with its last name the image, or the image of a digest with all of its
    /// names. Whoever runs in it keeps what is open, and no more. Returns what is gone.
    ///
    /// # Errors
    /// Those of [`Store::find`], and what the file system says.
    pub fn remove(&self, name: &str) -> Result<Image> {
        let mut image = self.find(name)?;
        if let Some(named) = self.known_as(name)? {
            self.remove_name(&named)?;
            image.names.retain(|other| *other != named);
            if !image.names.is_empty() {
                return self.find(&image.digest);
            }
        }
        for name in &image.names {
            self.remove_name(name)?;
        }
        self.remove_tree(&image)?;
        Ok(image)
    }

    /// Takes it out of sight in one go, before anything of it is removed.
    fn remove_tree(&self, image: &Image) -> Result<()> {
        let problem = failed(&image.digest, "cannot be removed");
        let digest = image.digest.trim_start_matches(PREFIX);
        let out_of_sight = self.make("staging")?.join(unique("removed"));
        fs::rename(self.tree(digest), &out_of_sight).map_err(&problem)?;
        fs::remove_dir_all(&out_of_sight).map_err(&problem)
    }

    fn remove_name(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.name_file(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(name, "cannot be removed")(error))
            }
            _ => Ok(()),
        }
    }

    /// Where the tree of a digest is, or would be.
    pub(super) fn tree(&self, digest: &str) -> PathBuf {
        self.0.join("trees").join(digest)
    }

    fn name_file(&self, name: &str) -> PathBuf {
        self.0.join("names").join(encode(name))
    }

    /// Makes a directory of the store, closed to others: an image may hold what nobody else is meant
    /// to see.
    pub(super) fn make(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(failed(path.display(), "cannot be made"))?;
        Ok(path)
    }

    /// Has a name lead to a digest, in one go.
    #[cfg(feature = "image")]
    pub(super) fn name(&self, name: &str, digest: &str) -> Result<()> {
        let fresh = self.make("staging")?.join(unique("name"));
        self.make("names")?;
        let named = fs::write(&fresh, digest).and_then(|()| {
            fs::rename(&fresh, self.name_file(name)).inspect_err(|_| {
                let _ = fs::remove_file(&fresh);
            })
        });
        named.map_err(failed(name, "cannot be named"))
    }

    fn read(&self, digest: &str) -> Result<Option<Image>> {
        let tree = self.tree(digest);
        let text = match fs::read_to_string(tree.join("image.json")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(digest, "cannot be read")(error)),
        };
        let Record { digest, config, size, entries } = serde_json::from_str(&text)
            .map_err(|error| refused(digest, format!("cannot be read: {error}")))?;
        let names = self.names_of(digest.trim_start_matches(PREFIX))?;
        Ok(Some(Image { names, digest, config, size, entries, root: tree.join("root") }))
    }

    fn names_of(&self, digest: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for file in self.read_dir("names")? {
            let name = decode(&file);
            if self.digest_of(&name)?.as_deref() == Some(digest) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The digest behind a name, without its prefix.
    fn digest_of(&self, name: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.name_file(name)) {
            Ok(digest) => Ok(Some(digest.trim().trim_start_matches(PREFIX).to_owned())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(failed(name, "cannot be read")(error)),
        }
    }

    /// The name that an image is kept under, if there is one: podman's own images are in `localhost/`.
    fn known_as(&self, name: &str) -> Result<Option<String>> {
        let name = full_name(name);
        for known in [format!("localhost/{name}"), name].into_iter().rev() {
            if self.digest_of(&known)?.is_some() {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    fn by_digest(&self, name: &str) -> Result<Option<String>> {
        let start = name.trim_start_matches(PREFIX);
        if start.len() < SHORTEST_DIGEST || !start.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut found = self.read_dir("trees")?;
        found.retain(|digest| digest.starts_with(start));
        if found.len() > 1 {
            return Err(refused(name, format!("is how {} digests begin", found.len())));
        }
        Ok(found.pop())
    }

    fn read_dir(&self, name: &str) -> Result<Vec<String>> {
        let path = self.0.join(name);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(path.display(), "cannot be read")(error)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.collect())
    }
}

/// A name in `staging` that nobody else takes.
pub(super) fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A name that is too long for a file is the name of no image either.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename)
}

/// The one form of a name: as for Docker, without a tag it is `latest`, and the registry that is
/// meant where none is named is not named.
pub(super) fn full_name(name: &str) -> String {
    let short = name.strip_prefix("docker.io/");
    let name = short.map_or(name, |name| name.strip_prefix("library/").unwrap_or(name));
    let last = name.rsplit('/').next().unwrap_or_default();
    if last.contains(':') || last.contains('@') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

/// Whether an image can be kept under a name, and whoever reads it in a list can give it again: the
/// characters are those of Docker and of the OCI image specification.
#[cfg(feature = "image")]
pub(super) fn can_name(name: &str) -> std::result::Result<(), &'static str> {
    const LONGEST: usize = 255;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("must be made of letters, digits and . _ - / : @ +, such as alpine:3.20");
    }
    if encode(&full_name(name)).len() > LONGEST {
        return Err("is too long");
    }
    Ok(())
}

/// A name as that of a file: whatever is not a letter, a digit, `.`, `-` or `_` is `%XX`, and so is a
/// dot in front.
fn encode(name: &str) -> String {
    let plain = |index: usize, byte: u8| {
        byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && index > 0)
    };
    let encoded = name.bytes().enumerate().map(|(index, byte)| {
        if plain(index, byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    encoded.collect()
}

fn decode(file: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = file.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The first 256 KiB of a file below a root, or nothing if it is no file.
pub(crate) fn read_small(root: &Path, path: &Path) -> String {
    use std::io::Read;
    let Ok(tree) = crate::workspace::beneath::Tree::open(root) else { return String::new() };
    let Ok(file) = tree.file(path).map(fs::File::from) else { return String::new() };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return String::new();
    }
    let mut bytes = Vec::new();
    // What cannot be read is as good as not there: these files only give names to numbers.
    let _ = file.take(256 << 10).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_files_and_back() {
        for name in ["busybox:latest", "host:5000/a/b@sha256:1", "..", ".", "ä %41", "a_b-c.d"] {
            let file = encode(name);
            assert!(!file.contains('/') && !file.starts_with('.'), "{file}");
            assert_eq!(decode(&file), name);
        }
    }

    #[test]
    fn a_name_without_a_tag_means_the_latest() {
        assert_eq!(full_name("busybox"), "busybox:latest");
        assert_eq!(full_name("host:5000/busybox"), "host:5000/busybox:latest");
        assert_eq!(full_name("busybox:1.36"), "busybox:1.36");
    }

    #[test]
    fn the_registry_of_docker_goes_without_saying() {
        assert_eq!(full_name("docker.io/library/busybox:1.36"), "busybox:1.36");
        assert_eq!(full_name("docker.io/user/app"), "user/app:latest");
        assert_eq!(full_name("library/busybox"), "library/busybox:latest");
    }

    #[test]
    fn an_empty_store_has_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("not/there"));
        assert_eq!(store.list().unwrap(), []);
        let long = "x".repeat(300);
        for name in ["busybox", "sha256:123456", "../..", long.as_str()] {
            let said = store.find(name).unwrap_err().to_string();
            assert!(said.contains("is not in the store"), "{said}");
        }
    }
}
