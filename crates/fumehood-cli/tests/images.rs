//! What an import leaves in the store, whoever imports.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The programs that root starts are nobody, and must be able to use what was imported. Nobody else gets to
/// the store.
#[test]
fn an_image_can_be_used_whatever_the_umask_of_its_importer_was() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive.tar");
    fs::write(&archive, archive_of("made/without/a/directory", b"text")).unwrap();
    let output = Command::new("sh")
        .args(["-c", "umask 077; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_fumehood")])
        .args(["image", "import", "--json"])
        .arg(&archive)
        .env("XDG_CACHE_HOME", dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let imported: Value = serde_json::from_slice(&output.stdout).unwrap();
    let root = Path::new(imported[0]["root"].as_str().unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for (path, expected) in [
        ("", 0o755),
        ("made", 0o755),
        ("made/without/a", 0o755),
        ("made/without/a/directory", 0o644),
        ("etc", 0o755),
        ("etc/hosts", 0o644),
    ] {
        assert_eq!(mode(&root.join(path)), expected, "{path}");
    }
    assert_eq!(mode(root.parent().unwrap().parent().unwrap()), 0o700);
}

/// An archive of Docker's with one layer that holds one file.
fn archive_of(path: &str, bytes: &[u8]) -> Vec<u8> {
    let layer = tar(&[(path, bytes)]);
    let digits = |bytes: &[u8]| -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let ids = [format!("sha256:{}", digits(&layer))];
    let config = json!({ "rootfs": { "type": "layers", "diff_ids": ids } }).to_string();
    let name = format!("{}.json", digits(config.as_bytes()));
    let manifest = json!([{ "Config": name, "Layers": ["layer.tar"] }]).to_string();
    tar(&[
        (&name, config.as_bytes()),
        ("layer.tar", &layer),
        ("manifest.json", manifest.as_bytes()),
    ])
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}
