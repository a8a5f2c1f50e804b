//! Images that are made here: archives as `docker save` writes them, and a store of their own.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Fumehood, Skip, TempDir, host_tool, skip};

/// A store of images that is gone with the test.
#[derive(Debug)]
pub(crate) struct Images {
    dir: TempDir,
}

impl Images {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::open_to_all() }
    }

    /// A file of the test's own, beside the store.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.join(name)
    }

    /// Has the binary know the store.
    pub(crate) fn known_to(&self, fumehood: Fumehood) -> Fumehood {
        fumehood.env("XDG_CACHE_HOME", &self.dir.path().display().to_string())
    }

    /// Runs `fumehood` with these arguments and this store.
    pub(crate) fn fumehood(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        command.output().expect("the binary can be run")
    }

    /// The same, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(Fumehood::binary());
        command.args(args).env("XDG_CACHE_HOME", self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Imports an image of one layer, under this name.
    pub(crate) fn import(&self, name: &str, layer: &[u8], config: &Value) {
        let path = self.path("archive.tar");
        std::fs::write(&path, archive(layer, config)).expect("the directory is ours");
        let output =
            self.fumehood(&["image", "import", "--name", name, &path.display().to_string()]);
        assert!(output.status.success(), "{output:?}");
    }

    /// `fumehood run --image NAME FLAGS -- PROGRAM` with this store.
    pub(crate) fn run(&self, name: &str, flags: &[&str], program: &[&str]) -> super::Ran {
        let flags = [&["--image", name], flags].concat();
        self.known_to(Fumehood::new(&flags, program)).run()
    }
}

/// The archive of an image with one layer.
pub(crate) fn archive(layer: &[u8], config: &Value) -> Vec<u8> {
    let config = json!({
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digits(layer))] },
    });
    let config = config.to_string();
    let name = format!("{}.json", digits(config.as_bytes()));
    let manifest = json!([{ "Config": name, "Layers": ["layer.tar"] }]).to_string();
    let mut tar = tar::Builder::new(Vec::new());
    let manifest = ("manifest.json", manifest.as_bytes());
    for (name, bytes) in [(name.as_str(), config.as_bytes()), ("layer.tar", layer), manifest] {
        add(&mut tar, name, 0o644, bytes);
    }
    tar.into_inner().expect("memory can be written to")
}

fn digits(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("a string can be written to");
        digits
    })
}

/// Adds a file to a tar.
pub(crate) fn add(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes).expect("memory can be written to");
}

/// A root with Busybox and these files beside it, as a tar.
pub(crate) fn busybox(files: &[(&str, &str)]) -> Result<Vec<u8>, Skip> {
    let path = host_tool("busybox")?;
    let program = std::fs::read(&path).expect("everybody can read it");
    if names_an_interpreter(&program) {
        return skip(format!("{path} is not linked statically"));
    }
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "bin/busybox", 0o755, &program);
    for name in ["sh", "cat", "ls", "id", "env", "touch", "pwd", "echo", "mount", "find", "true"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{name}"), "busybox").expect("it is a link");
    }
    for (path, text) in files {
        add(&mut tar, path, 0o644, text.as_bytes());
    }
    Ok(tar.into_inner().expect("memory can be written to"))
}

/// Whether an ELF program of 64 bits has a program header of type `PT_INTERP` (elf(5)).
fn names_an_interpreter(program: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        let bytes = program.get(at..at + size).unwrap_or_default();
        bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let (table, entry, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(table + index * entry, 4) == 3)
}

/// Unpacks a tar with the host's `tar`, as the caller.
pub(crate) fn unpack(tar: &[u8], to: &Path) -> Result<(), Skip> {
    host_tool("tar")?;
    let archive = to.with_extension("tar");
    std::fs::write(&archive, tar).expect("the directory is ours");
    let status = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(to).status();
    assert!(status.expect("tar can be run").success());
    Ok(())
}
