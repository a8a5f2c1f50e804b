//! Compiles a C project out of an archive, runs its tests, and takes the results out: one job.
//!
//! `cargo run --example compile -- project.tar.gz`
#![expect(clippy::print_stdout, reason = "an example prints")]

use fumehood::{ByteSize, Input, Job};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    fumehood::init();
    let archive = std::env::args_os().nth(1).ok_or("name an archive with a Makefile")?;
    let job = Job::new(["make", "test"])
        .input(Input::tar(std::fs::canonicalize(archive)?))
        .collect("build/report.xml")
        .collect("**/*.png")
        .limits(|limits| limits.memory = Some(ByteSize::mib(512).into()));
    let report = fumehood::blocking::run(&job)?;
    println!("{:?}", report.outcome);
    print!("{}", String::from_utf8_lossy(&report.stdout.data));
    for file in &report.artifacts {
        println!("{}: {} bytes", file.path.display(), file.size);
    }
    for path in &report.skipped {
        println!("{} is missing: {}", path.path.display(), path.detail);
    }
    Ok(())
}
