//! Compresses the page, which the binary carries for browsers. All of them take gzip.

use std::error::Error;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> Result<(), Box<dyn Error>> {
    let built = Path::new("page/built");
    println!("cargo::rerun-if-changed={}", built.display());
    if env::var_os("CARGO_FEATURE_SERVE").is_none() {
        return Ok(());
    }
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    for entry in fs::read_dir(built)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).ok_or("names are UTF-8")?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&fs::read(&path)?)?;
        fs::write(Path::new(&out).join(format!("{name}.gz")), gzip.finish()?)?;
    }
    Ok(())
}
