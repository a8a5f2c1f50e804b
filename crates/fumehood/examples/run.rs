//! Runs its arguments as a job and prints the report: `cargo run --example run -- python3 -V`.
//!
//! Before the program may stand `--waive GUARANTEE`, any number of times, `--direct` to clone from
//! this process itself, and `--support` to print what this host can hold instead.
#![expect(clippy::print_stdout, reason = "an example prints")]

use fumehood::{Guarantee, Job, Sandbox, blocking};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    fumehood::init();
    let mut sandbox = Sandbox::new();
    let mut waive = Vec::new();
    let mut args = std::env::args().skip(1).peekable();
    while let Some(option) = args.next_if(|argument| argument.starts_with("--")) {
        match option.as_str() {
            "--waive" => {
                let name = args.next().unwrap_or_default();
                waive.push(Guarantee::from_name(&name).ok_or("no such guarantee")?);
            }
            "--direct" => sandbox = Sandbox::direct(),
            "--support" => {
                let support = blocking::support_of(&sandbox)?;
                println!("{}", serde_json::to_string_pretty(&support)?);
                return Ok(());
            }
            _ => return Err(format!("no such option: {option}").into()),
        }
    }
    let mut job = Job::new(args);
    job.waive = waive.into_iter().collect();
    let report = blocking::run_in(&sandbox, &job)?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
