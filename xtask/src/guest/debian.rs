//! Small Debians for guests, made once: the files of one, and the kernel of one.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::Archive;
use super::{Result, find_kernel, output, target_dir, update_lists};

/// What a guest that tests nothing need not carry.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

/// An archive of a Debian with these packages.
pub(super) fn image(name: &str, suite: &str, packages: &str) -> Result<PathBuf> {
    let image = target_dir()?.join(format!("guest/{name}.tar"));
    if !image.exists() {
        make(&["--variant=essential"], suite, packages, &LEFT_OUT, &image)?;
    }
    Ok(image)
}

/// The cloud kernel of a Debian that need not be this one.
pub(super) fn kernel(suite: &str) -> Result<PathBuf> {
    let dir = target_dir()?.join(format!("guest/{suite}"));
    if let Some(kernel) = find_kernel(&dir) {
        return Ok(kernel);
    }
    let archive = dir.with_extension("kernel.tar");
    let modules = ["/usr/lib/modules/*", "/lib/modules/*"];
    make(&["--variant=extract"], suite, "linux-image-cloud-amd64", &modules, &archive)?;
    std::fs::create_dir_all(dir.join("kernel"))?;
    let mut unpack = Command::new("tar");
    unpack.arg("xf").arg(&archive).arg("-C").arg(dir.join("kernel")).arg("./boot");
    output(&mut unpack)?;
    std::fs::remove_file(archive)?;
    find_kernel(&dir).ok_or_else(|| format!("the cloud kernel of {suite} was not found").into())
}

fn make(options: &[&str], suite: &str, packages: &str, without: &[&str], to: &Path) -> Result<()> {
    require_mmdebstrap()?;
    let part = to.with_extension("part.tar");
    let mut build = Command::new("mmdebstrap");
    build.args(options).arg(format!("--include={packages}"));
    build.args(without.iter().map(|path| format!("--dpkgopt=path-exclude={path}")));
    output(build.arg(suite).arg(&part))?;
    Ok(std::fs::rename(part, to)?)
}

fn require_mmdebstrap() -> Result<()> {
    if output(Command::new("mmdebstrap").arg("--version")).is_err() {
        update_lists()?;
        let install = ["install", "--yes", "--no-install-recommends", "mmdebstrap"];
        output(Command::new("apt-get").args(install))?;
    }
    Ok(())
}

/// The first file system of a guest: busybox, the first program, the Debian that this unpacks, the binary and
/// the files of the tests.
pub(super) fn pack(
    name: &str,
    init: &[u8],
    image: &Path,
    binary: &Path,
    tests: &[(&str, &str)],
) -> Result<PathBuf> {
    let initrd = target_dir()?.join(format!("guest/{name}.cpio"));
    let mut archive = Archive::new(BufWriter::new(File::create(&initrd)?));
    for dir in ["bin", "tests"] {
        archive.directory(dir)?;
    }
    archive.copy(Path::new("/bin/busybox"), "bin/busybox")?;
    archive.file("init", 0o755, init)?;
    archive.copy(image, "root.tar")?;
    archive.copy(binary, "tests/fumehood")?;
    for (path, text) in tests {
        archive.file(path, 0o644, text.as_bytes())?;
    }
    archive.finish()?;
    Ok(initrd)
}
