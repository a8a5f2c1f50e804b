//! Runs its arguments as a job and prints the report: `cargo run --example run -- python3 -V`.
#![expect(clippy::print_stdout, reason = "an example prints")]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    fumehood::init();
    let job = fumehood::Job::new(std::env::args().skip(1));
    let report = fumehood::blocking::run(&job)?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
