//! Compresses what the binary carries: the page for browsers, all of which take gzip, and the schemas; and
//! leaves out what no binary of ours reads.

use std::error::Error;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> Result<(), Box<dyn Error>> {
    compress(Path::new("schema"))?;
    if env::var_os("CARGO_FEATURE_SERVE").is_some() {
        compress(Path::new("page/built"))?;
    }
    leave_out_the_unwinder_s_index();
    Ok(())
}

/// With the release profile a panic aborts, and nobody looks up how to unwind: a sixtieth of the binary.
fn leave_out_the_unwinder_s_index() {
    if env::var_os("PROFILE").is_some_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
}

fn compress(dir: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", dir.display());
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).ok_or("names are UTF-8")?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&fs::read(&path)?)?;
        fs::write(Path::new(&out).join(format!("{name}.gz")), gzip.finish()?)?;
    }
    Ok(())
}
