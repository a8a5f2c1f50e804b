//! What a launch costs: bare processes, Fumehood and its peers, one after the other in one run.

mod arguments;
mod chart;
mod harness;
mod launchers;
mod machine;
mod measure;
mod numbers;
mod oci;
mod page;
mod parked;
mod peers;
mod scene;
mod steps;
mod table;

use crate::build::{binary_alone, launch_bench, root};
use crate::user::is_root;
use crate::{Outcome, components};
use arguments::Arguments;
pub(crate) use harness::Harness;
use launchers::FUMEHOOD;
use measure::{Section, section};
use scene::{Scene, Who};

/// Measures as root, if we are, and as an unprivileged user.
pub(crate) fn bench(args: &[String]) -> Outcome {
    let arguments = Arguments::parse(args)?;
    // Looked at first, since the load is to be that of others.
    let facts = machine::facts();
    components::install();
    let binary = binary_alone(&["--release"])?;
    let size = std::fs::metadata(&binary).map_err(|error| error.to_string())?.len();
    println!("release binary: {}.{:02} MB", size / 1_000_000, size % 1_000_000 / 10_000);
    let scene = Scene::set(&binary, &launch_bench()?)?;
    let users = if is_root() { &[Who::Root, Who::Unprivileged][..] } else { &[Who::Unprivileged] };
    let mut sections = Vec::new();
    for &who in users {
        println!("\n== as {}", who.name());
        let section = section(&scene, who, &arguments)?;
        print!("{}", section.text());
        steps::print(&scene, who, arguments.runs.min(200));
        also(parked::memory(&scene, who, arguments.parked));
        also(parked::sizes(&scene, who, arguments.runs.min(200)));
        sections.push(section);
    }
    if arguments.write {
        write(&page::markdown(&sections, &arguments, &scene, facts), &sections)?;
    }
    Ok(sections.iter().all(|section| section.has(FUMEHOOD)))
}

/// What is no part of the page: a machine that is too small for it has told why.
fn also(measured: Result<(), String>) {
    if let Err(reason) = measured {
        println!("not measured: {reason}");
    }
}

fn write(page: &str, sections: &[Section]) -> Result<(), String> {
    let chart = chart::svg(&page::panels(sections));
    for (name, text) in [("benchmarks.md", page), ("benchmarks.svg", &chart)] {
        let path = root().join("docs").join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("written: {}", path.display());
    }
    Ok(())
}
