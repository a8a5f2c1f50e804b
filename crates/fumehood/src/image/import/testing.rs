//! Images that are put together here, honest and otherwise.

use std::io::Write;

use serde_json::json;

use super::{manifest, stream};

/// A tar that is put together entry by entry, with whatever a stranger would write.
#[derive(Default)]
pub(super) struct Tar(Vec<u8>);

impl Tar {
    pub(super) fn entry(
        mut self,
        kind: u8,
        path: &str,
        link: &str,
        mode: u32,
        data: &[u8],
    ) -> Self {
        let mut header = ::tar::Header::new_ustar();
        let bytes = header.as_mut_bytes();
        bytes[..path.len()].copy_from_slice(path.as_bytes());
        bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        header.set_mtime(1_000_000_000);
        header.set_entry_type(::tar::EntryType::new(kind));
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn file(self, path: &str, text: &str) -> Self {
        self.entry(b'0', path, "", 0o644, text.as_bytes())
    }

    pub(super) fn dir(self, path: &str) -> Self {
        self.entry(b'5', path, "", 0o755, b"")
    }

    pub(super) fn link(self, path: &str, to: &str) -> Self {
        self.entry(b'2', path, to, 0o777, b"")
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    // Two frames with a comment between them, as tools that compress in parallel write them.
    let (one, two) = bytes.split_at(bytes.len() / 2);
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let mut all = ruzstd::encoding::compress_to_vec(one, level);
    all.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    all.extend(ruzstd::encoding::compress_to_vec(two, level));
    all
}

pub(super) struct Made {
    pub(super) config: Vec<u8>,
    pub(super) layers: Vec<Vec<u8>>,
}

/// An image with these layers; `section` is how it is to be run.
pub(super) fn image(layers: &[Vec<u8>], section: &serde_json::Value) -> Made {
    let ids: Vec<_> = layers.iter().map(|layer| stream::digest(layer)).collect();
    let config = json!({
        "architecture": manifest::architecture(), "os": "linux", "config": section,
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    Made { config: serde_json::to_vec(&config).unwrap(), layers: layers.to_vec() }
}

pub(super) fn digits(bytes: &[u8]) -> String {
    stream::digest(bytes).trim_start_matches("sha256:").to_owned()
}

impl Made {
    /// What `docker save` wrote before version 25.
    pub(super) fn docker(&self, tag: &str) -> Vec<u8> {
        let config = format!("{}.json", digits(&self.config));
        let names: Vec<_> = (0..self.layers.len()).map(|n| format!("{n}/layer.tar")).collect();
        let manifest = json!([{ "Config": config, "RepoTags": [tag], "Layers": names }]);
        let mut tar = Tar::default().entry(b'0', &config, "", 0o644, &self.config);
        for (name, layer) in names.iter().zip(&self.layers) {
            tar = tar.entry(b'0', name, "", 0o644, layer);
        }
        tar.file("manifest.json", &manifest.to_string()).end()
    }

    /// The same when two layers have the same content: the second is a link to the first, and every
    /// layer has a directory of its own with what versions before 1.10 read.
    pub(super) fn docker_with_links(&self, tag: &str) -> Vec<u8> {
        let config = format!("{}.json", digits(&self.config));
        let names: Vec<_> = (0..self.layers.len()).map(|n| format!("{n:064x}/layer.tar")).collect();
        let mut tar = Tar::default();
        for (number, layer) in self.layers.iter().enumerate() {
            let dir = format!("{number:064x}");
            tar = tar.dir(&format!("{dir}/")).file(&format!("{dir}/VERSION"), "1.0");
            tar = tar.file(&format!("{dir}/json"), "{}");
            let first = self.layers.iter().position(|other| other == layer).unwrap();
            tar = if first == number {
                tar.entry(b'0', &names[number], "", 0o644, layer)
            } else {
                tar.link(&names[number], &format!("../{}", names[first]))
            };
        }
        let manifest = json!([{ "Config": config, "RepoTags": [tag], "Layers": names }]);
        tar.entry(b'0', &config, "", 0o644, &self.config)
            .file("manifest.json", &manifest.to_string())
            .file("repositories", "{}")
            .end()
    }

    /// What `docker save` writes from version 25 on: an OCI layout and the old manifest beside each
    /// other. Without a tag the image's own digest stands for its name.
    pub(super) fn docker_and_oci(&self, tag: Option<&str>) -> Vec<u8> {
        let blob = |bytes: &[u8]| format!("blobs/sha256/{}", digits(bytes));
        let descriptor = |bytes: &[u8], kind: &str| json!({ "mediaType": kind, "digest": stream::digest(bytes), "size": bytes.len() });
        let kind = "application/vnd.oci.image.layer.v1.tar";
        let layers: Vec<_> = self.layers.iter().map(|layer| descriptor(layer, kind)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(&self.config, "application/vnd.oci.image.config.v1+json"),
            "layers": layers,
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut ours = descriptor(&manifest, "application/vnd.oci.image.manifest.v1+json");
        ours["annotations"] = match tag {
            Some(tag) => json!({
                "io.containerd.image.name": format!("docker.io/library/{tag}"),
                "org.opencontainers.image.ref.name": tag.rsplit(':').next(),
            }),
            None => json!({ "io.containerd.image.name": stream::digest(&self.config) }),
        };
        let index = json!({ "schemaVersion": 2, "manifests": [ours] });
        let names: Vec<_> = self.layers.iter().map(|layer| blob(layer)).collect();
        let saved = json!([{
            "Config": blob(&self.config), "RepoTags": tag.map(|tag| [tag]), "Layers": names,
            "LayerSources": { stream::digest(&self.layers[0]): layers[0] },
        }]);
        let mut tar = Tar::default().dir("blobs/").dir("blobs/sha256/");
        let all: std::collections::BTreeSet<_> =
            self.layers.iter().chain([&manifest, &self.config]).collect();
        for bytes in all {
            tar = tar.entry(b'0', &blob(bytes), "", 0o644, bytes);
        }
        tar.file("index.json", &index.to_string())
            .file("manifest.json", &saved.to_string())
            .file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("repositories", "{}")
            .end()
    }

    /// An OCI layout whose layers are compressed.
    pub(super) fn oci(&self, tag: &str, compress: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let layers: Vec<_> = self.layers.iter().map(|layer| compress(layer)).collect();
        let descriptor = |bytes: &[u8], kind: &str| json!({ "mediaType": kind, "digest": stream::digest(bytes), "size": bytes.len() });
        let kind = "application/vnd.oci.image.layer.v1.tar";
        let manifest = json!({
            "schemaVersion": 2,
            "config": descriptor(&self.config, "application/vnd.oci.image.config.v1+json"),
            "layers": layers.iter().map(|layer| descriptor(layer, kind)).collect::<Vec<_>>(),
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut ours = descriptor(&manifest, "application/vnd.oci.image.manifest.v1+json");
        ours["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        let mut foreign = ours.clone();
        foreign["platform"] = json!({ "os": "linux", "architecture": "s390x" });
        let index = json!({ "schemaVersion": 2, "manifests": [foreign, ours] });
        let mut tar = Tar::default()
            .file("oci-layout", r#"{"imageLayoutVersion": "1.0.0"}"#)
            .file("index.json", &index.to_string());
        for blob in layers.iter().chain([&manifest, &self.config]) {
            tar = tar.entry(b'0', &format!("blobs/sha256/{}", digits(blob)), "", 0o644, blob);
        }
        tar.end()
    }
}
