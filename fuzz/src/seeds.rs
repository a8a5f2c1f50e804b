//! Writes the archives of the tests to directories, for the fuzzers to start from.

#[path = "../../crates/fumehood/tests/corpus/mod.rs"]
mod corpus;

fn main() -> std::io::Result<()> {
    let dir = std::env::args_os().nth(1).unwrap_or_else(|| "corpus".into());
    let dirs = ["tar_intake", "image_layers"].map(|target| std::path::Path::new(&dir).join(target));
    dirs.iter().try_for_each(std::fs::create_dir_all)?;
    // Large ones only slow the fuzzers down.
    for case in corpus::cases().iter().filter(|case| case.bytes.len() < 64 << 10) {
        let name = case.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let [intake, layers] = dirs.each_ref().map(|dir| dir.join(&name));
        std::fs::write(intake, &case.bytes)?;
        // Twice: as the only layer, and once more on itself.
        let length = u16::try_from(case.bytes.len()).unwrap_or(0).to_le_bytes();
        std::fs::write(layers, [&length[..], &case.bytes, &case.bytes].concat())?;
    }
    Ok(())
}
