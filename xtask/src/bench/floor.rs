//! The same confinement by hand, with the least calls: what of a figure is the kernel's.
//!
//! `floor.c` is compiled for the plan of the benchmark's own job, for each user. Before it takes part,
//! a program that looks around has to see the same in each of its modes as in a cell of ours.

mod plan;
mod view;

use std::process::{Command, Stdio};

use super::harness::{Completed, Harness};
use super::launchers::last_line;
use super::scene::{Scene, Who};
use plan::Told;

/// How programs are called in a cell, and what they are told to print of it.
const PROGRAM: &str = "/payload/true";
const LOOK: &str = "cat /proc/self/mountinfo; echo; cat /proc/self/status; echo; \
    cat /proc/self/limits; echo; cd /proc/self/ns; readlink cgroup ipc mnt net pid user uts; echo; \
    stat -c '%A %u:%g %s %t:%T %N' / /* /dev/* /dev/.[a-z]* /etc/*; pwd; env | sort; \
    cat /proc/self/cgroup /proc/sys/kernel/hostname /proc/sys/user/max_inotify_*";

/// Static, as the payload is: with a loader the command would be measured by hand, and its loader.
const FLAGS: [&str; 6] = ["-O2", "-static", "-s", "-std=gnu11", "-Wall", "-Werror"];

/// Who builds cells by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// Each from nothing.
    Cold,
    /// From a process that has the root.
    Template,
}

/// Two processes that answer like the harness.
#[derive(Debug)]
pub(super) struct ByHand {
    cold: Harness,
    template: Harness,
}

impl ByHand {
    /// Compiles and checks the program, and starts it for this user.
    pub(super) fn start(scene: &Scene, who: Who, harness: &mut Harness) -> Result<Self, String> {
        compile(scene, who, harness)?;
        check(scene, who)?;
        let server = |maker: &str| {
            Harness::start(scene.command(who, &[binary(scene, who), "serve".into(), maker.into()]))
        };
        Ok(Self { cold: server("cold")?, template: server("template")? })
    }

    pub(super) fn run(&mut self, maker: Maker, request: &str) -> Result<(u64, bool), String> {
        match maker {
            Maker::Cold => self.cold.run(request),
            Maker::Template => self.template.run(request),
        }
    }

    /// Parks cells.
    pub(super) fn fill(&mut self) -> Result<String, String> {
        self.template.ask("fill")
    }

    /// By so many launchers, each with a template of its own where it is one's.
    pub(super) fn throughput(&mut self, request: &str) -> Result<Completed, String> {
        self.cold.throughput(request)
    }
}

/// Where the program of a user is.
fn binary(scene: &Scene, who: Who) -> String {
    format!("{}/{}", scene.dir(), name(who))
}

/// Its name.
pub(super) const fn name(who: Who) -> &'static str {
    match who {
        Who::Root => "floor-root",
        Who::Unprivileged => "floor-user",
    }
}

fn compile(scene: &Scene, who: Who, harness: &mut Harness) -> Result<(), String> {
    let plan = output(fumehood(scene, who, &["explain", "--json"], &[PROGRAM]))?;
    let limits = output(fumehood(scene, who, &["run"], &["cat", "/proc/self/limits"]))?;
    let filter = harness.ask("filter")?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let told = Told {
        plan: &plan,
        limits: &limits,
        filter: &filter,
        groups: &groups,
        program: PROGRAM,
        privileged: who == Who::Root,
    };
    let dir = format!("{}/{}.d", scene.dir(), name(who));
    let (header, source) = (format!("{dir}/plan.h"), format!("{dir}/floor.c"));
    let header_text = told.header()?;
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&header, header_text))
        .and_then(|()| std::fs::write(&source, include_str!("floor.c")))
        .map_err(|error| format!("{dir}: {error}"))?;
    let compile = |compiler: &str| {
        let mut command = Command::new(compiler);
        command.args(FLAGS).arg("-o").arg(binary(scene, who)).arg(&source);
        output(command).map_err(|error| format!("{compiler}: {error}"))
    };
    compile("musl-gcc").or_else(|_| compile("cc")).map(drop)
}

/// Refuses to take part where a program sees another cell than ours.
fn check(scene: &Scene, who: Who) -> Result<(), String> {
    let look = ["/bin/sh", "-c", LOOK];
    let ours = output(fumehood(scene, who, &["run"], &look))?;
    for mode in ["cold", "template", "warm"] {
        let mut argv = vec![binary(scene, who), "run".into(), mode.into()];
        argv.extend(look.map(str::to_owned));
        let by_hand = output(scene.command(who, &argv))?;
        view::compare(&ours, &by_hand).map_err(|difference| format!("{mode}: {difference}"))?;
    }
    Ok(())
}

fn fumehood(scene: &Scene, who: Who, command: &[&str], program: &[&str]) -> Command {
    let volume = format!("{}/payload:/payload:ro", scene.dir());
    let mut argv = vec![format!("{}/fumehood", scene.dir())];
    argv.extend(command.iter().map(|&word| word.to_owned()));
    argv.extend(["--volume".to_owned(), volume, "--".to_owned()]);
    argv.extend(program.iter().map(|&word| word.to_owned()));
    scene.command(who, &argv)
}

fn output(mut command: Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{}: {}", output.status, last_line(&output.stderr)))
    }
}
