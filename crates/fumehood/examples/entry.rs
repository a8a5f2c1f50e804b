//! Runs code of its own confined, and says what it could do there.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::fs;
use std::net::TcpStream;

use fumehood::Job;

/// What must fail in there, and what must not.
fn probe() -> i32 {
    let network = TcpStream::connect("127.0.0.1:9").map_err(|error| error.kind());
    println!("network: {network:?}");
    println!("host's files: {:?}", fs::read_dir("/home").map(drop).map_err(|error| error.kind()));
    println!("workspace: {:?}", fs::write("/workspace/file", "written"));
    7
}

fn main() -> fumehood::Result<()> {
    fumehood::init_with(&[("probe", probe)]);
    let report = fumehood::blocking::run(&Job::entry("probe")?)?;
    print!("{}", String::from_utf8_lossy(&report.stdout.data));
    println!("{:?}", report.outcome);
    Ok(())
}
