//! Which images an archive holds: the two forms of saying so.

use std::io;

use serde::Deserialize;

use super::archive::Archive;
use super::stream::digest;

/// An image as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) names: Vec<String>,
    /// Name of the blob that holds the configuration.
    pub(super) config: String,
    /// Digest of the configuration, if the archive says it.
    pub(super) digest: Option<String>,
    /// From the lowest on.
    pub(super) layers: Vec<Layer>,
}

/// A layer as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// Name of the blob.
    pub(super) blob: String,
    /// Digest of the blob, if the archive says it.
    pub(super) digest: Option<String>,
}

/// An entry of Docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An OCI index, or a manifest list of Docker.
#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An index of indexes is known; one of those is not.
const DEEPEST: usize = 3;

/// The images of an archive, for this machine.
pub(super) fn describe(archive: &mut Archive) -> io::Result<Vec<Described>> {
    let mut images = Vec::new();
    if archive.has("index.json") {
        let bytes = archive.document("index.json")?;
        index(archive, &bytes, &[], 0, &mut images)?;
    }
    if archive.has("manifest.json") {
        let saved: Vec<Saved> = read("manifest.json", &archive.document("manifest.json")?)?;
        saved.into_iter().for_each(|saved| merge(saved, &mut images));
    }
    if images.is_empty() {
        return Err(wrong(format!(
            "holds no image for linux/{}; it must be what docker save writes, or an OCI layout",
            architecture()
        )));
    }
    Ok(images)
}

/// Newer versions of Docker write both forms of the same images: the tags are in this one.
fn merge(saved: Saved, images: &mut Vec<Described>) {
    let names = saved.repo_tags.unwrap_or_default();
    match images.iter_mut().find(|image| image.config == saved.config) {
        Some(image) => {
            image.names.retain(|name| name.contains(':') && !names.contains(name));
            image.names.extend(names);
        }
        None => images.push(Described {
            names,
            digest: digest_in(&saved.config),
            config: saved.config,
            layers: saved
                .layers
                .into_iter()
                .map(|blob| Layer {
                    digest: blob.starts_with("blobs/").then(|| digest_in(&blob)).flatten(),
                    blob,
                })
                .collect(),
        }),
    }
}

/// The digest that a blob's own name is: `DIGEST.json`, `blobs/sha256/DIGEST`.
fn digest_in(name: &str) -> Option<String> {
    let last = name.rsplit('/').next().unwrap_or_default();
    let digits = last.trim_end_matches(".json");
    let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| format!("sha256:{digits}"))
}

fn index(
    archive: &mut Archive,
    bytes: &[u8],
    names: &[String],
    depth: usize,
    images: &mut Vec<Described>,
) -> io::Result<()> {
    if depth >= DEEPEST {
        return Err(wrong("has indexes in indexes in indexes"));
    }
    let index_: Index = read("an index", bytes)?;
    for one in index_.manifests.iter().filter(|one| one.is_for_us()) {
        let names = one.names().map_or_else(|| names.to_vec(), |name| vec![name]);
        let bytes = fetch(archive, one)?;
        if one.is_index() {
            index(archive, &bytes, &names, depth + 1, images)?;
        } else {
            images.push(manifest(&bytes, names)?);
        }
    }
    Ok(())
}

fn manifest(bytes: &[u8], names: Vec<String>) -> io::Result<Described> {
    let Manifest { config, layers } = read("a manifest", bytes)?;
    let layer = |one: Descriptor| Ok(Layer { blob: blob(&one.digest)?, digest: Some(one.digest) });
    let layers = layers.into_iter().map(layer).collect::<io::Result<_>>()?;
    Ok(Described { names, config: blob(&config.digest)?, digest: Some(config.digest), layers })
}

/// Reads a document that is named by its digest, and holds it to that.
fn fetch(archive: &mut Archive, one: &Descriptor) -> io::Result<Vec<u8>> {
    let bytes = archive.document(&blob(&one.digest)?)?;
    if bytes.len() as u64 != one.size || digest(&bytes) != one.digest {
        return Err(wrong(format!("has other bytes than {} says", one.digest)));
    }
    Ok(bytes)
}

impl Descriptor {
    /// What has no platform is for all, and what a builder says of its work for none.
    fn is_for_us(&self) -> bool {
        self.platform.as_ref().is_none_or(|platform| {
            platform.os == "linux" && platform.architecture == architecture()
        })
    }

    fn is_index(&self) -> bool {
        self.media_type.ends_with(".index.v1+json") || self.media_type.ends_with(".list.v2+json")
    }

    /// The full name if there is one, rather than the tag alone. An image without a name has its
    /// digest in that place.
    fn names(&self) -> Option<String> {
        let keys = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
        let name = keys.iter().find_map(|key| self.annotations.get(*key))?;
        (!name.starts_with("sha256:")).then(|| name.clone())
    }
}

/// Where an OCI layout has a blob. Only one kind of digest is known, and its digits make no path.
fn blob(digest: &str) -> io::Result<String> {
    let digits = digest
        .strip_prefix("sha256:")
        .filter(|digits| digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let digits = digits.ok_or_else(|| wrong(format!("has the digest {digest:?}, not sha256")))?;
    Ok(format!("blobs/sha256/{digits}"))
}

/// This machine's architecture, as images call it.
pub(super) const fn architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }
}

pub(super) fn read<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> io::Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| wrong(format!("has {what} that is wrong: {error}")))
}

fn wrong(problem: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the archive {problem}"))
}
