//! What a launch costs: bare processes, Fumehood and its peers, one after the other in one run.

mod arguments;
mod chart;
mod floor;
mod harness;
mod launchers;
mod machine;
mod measure;
mod numbers;
mod oci;
mod page;
mod parked;
mod peers;
mod programs;
mod rates;
mod scene;
mod steps;
mod table;
mod targets;

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
        let mut section = section(&scene, who, &arguments)?;
        section.also = also(&scene, who, &arguments);
        print!("{}", section.text());
        steps::print(&scene, who, arguments.runs.min(200));
        sections.push(section);
    }
    if arguments.write {
        write(&page::markdown(&sections, &arguments, &scene, facts), &sections)?;
    }
    Ok(sections.iter().all(|section| section.has(FUMEHOOD)))
}

/// What has tables of its own. A machine that is too small for one of them says why.
fn also(scene: &Scene, who: Who, arguments: &Arguments) -> Vec<String> {
    let runs = arguments.runs.min(200);
    let measured = [
        programs::compare(scene, who, runs),
        parked::memory(scene, who, arguments.parked),
        parked::sizes(scene, who, runs),
    ];
    let told = |measured: Result<String, String>| {
        measured.unwrap_or_else(|reason| format!("Not measured: {reason}\n"))
    };
    measured.map(told).into()
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
