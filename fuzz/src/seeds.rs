//! Writes the archives of the tests to a directory, for the fuzzer to start from.

#[path = "../../crates/fumehood/tests/corpus/mod.rs"]
mod corpus;

fn main() -> std::io::Result<()> {
    let dir = std::env::args_os().nth(1).unwrap_or_else(|| "corpus/tar_intake".into());
    std::fs::create_dir_all(&dir)?;
    for case in corpus::cases() {
        // Large ones only slow the fuzzer down.
        if case.bytes.len() < 64 << 10 {
            let name = case.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            std::fs::write(std::path::Path::new(&dir).join(name), case.bytes)?;
        }
    }
    Ok(())
}
