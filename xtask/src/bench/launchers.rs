//! Everything that is measured, each as the request that the harness is asked.

use super::floor::{self, Maker};
use super::peers::{Peer, unusable};
use super::scene::{Scene, Who};
use crate::components::find;

/// The name of ours as a command.
pub(super) const FUMEHOOD: &str = "fumehood run";
/// The name of the payload alone.
pub(super) const FLOOR: &str = "bare process";
/// The names of the library's others.
pub(super) const TEMPLATE: &str = "library, template";
pub(super) const COLD: &str = "library, cold";
/// The name of ours from a pool.
pub(super) const WARM: &str = "library, warm";

/// The names of the same confinement by hand, from a process that is there and as a command.
pub(super) const HAND_WARM: &str = "by hand, warm";
pub(super) const HAND_TEMPLATE: &str = "by hand, template";
pub(super) const HAND_COLD: &str = "by hand, cold";
pub(super) const HAND_COMMAND: &str = "by hand, a command";

const FUMEHOOD_RUN: &str = "{dir}/fumehood run --volume {dir}/payload:/payload:ro -- /payload/true";

/// A way to run the payload.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) name: &'static str,
    way: Way,
    /// What to show of how it is run.
    pub(super) shown: String,
    pub(super) differs: &'static str,
    pub(super) peer: Option<&'static Peer>,
}

#[derive(Debug)]
enum Way {
    /// A command line, with `{n}` where a number belongs.
    Spawn(String),
    /// A request to the library.
    Ask(&'static str),
    /// One to the program that does the same by hand.
    ByHand(Maker, &'static str),
}

impl Launcher {
    fn spawning(name: &'static str, run: &str, dir: &str, differs: &'static str) -> Self {
        let way = Way::Spawn(run.replace("{dir}", dir));
        let shown = run.replace("{dir}", "DIR").replace("{n}", "N");
        Self { name, way, shown, differs, peer: None }
    }

    fn asking(name: &'static str, request: &'static str, shown: &str) -> Self {
        let (way, shown) = (Way::Ask(request), shown.to_owned());
        Self { name, way, shown, differs: "", peer: None }
    }

    fn by_hand(name: &'static str, maker: Maker, request: &'static str, shown: &str) -> Self {
        let (way, shown) = (Way::ByHand(maker, request), shown.to_owned());
        Self { name, way, shown, differs: "", peer: None }
    }

    /// Whom to ask instead of the harness.
    pub(super) fn maker(&self) -> Option<Maker> {
        if let Way::ByHand(maker, _) = self.way { Some(maker) } else { None }
    }

    /// The line that has the harness run it.
    pub(super) fn request(&self, number: usize) -> String {
        match &self.way {
            Way::Ask(request) | Way::ByHand(_, request) => (*request).to_owned(),
            Way::Spawn(_) => format!("spawn\t{}", self.argv(number).join("\t")),
        }
    }

    /// The command, if it is one and may run several times at once: it has no number.
    pub(super) fn same_argv(&self) -> Option<Vec<String>> {
        let argv = self.argv(0);
        (!argv.is_empty() && argv == self.argv(1)).then_some(argv)
    }

    /// The command; empty if it is none.
    pub(super) fn argv(&self, number: usize) -> Vec<String> {
        let Way::Spawn(run) = &self.way else { return Vec::new() };
        words(&run.replace("{n}", &number.to_string()))
    }
}

pub(super) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// What does not take part, and why.
pub(super) type LeftOut = (&'static str, String);

/// Ours, and those of the peers that can be tried at all.
pub(super) fn launchers(
    dir: &str,
    who: Who,
    against: &[&'static Peer],
    by_hand: bool,
    left_out: &mut Vec<LeftOut>,
) -> Vec<Launcher> {
    let limited = "everything on: namespaces, filter, Landlock, limits, report";
    let mut all = vec![
        Launcher::spawning(FLOOR, "{dir}/payload/true", dir, "no sandbox"),
        Launcher::asking(WARM, "warm", "Pool::run(&job), a cell parked"),
        Launcher::asking(TEMPLATE, "template", "Pool::run(&job), no cell parked"),
        Launcher::asking(COLD, "cold", "Sandbox::run(&job)"),
        Launcher::spawning(FUMEHOOD, FUMEHOOD_RUN, dir, ""),
    ];
    all[1..].iter_mut().for_each(|ours| ours.differs = limited);
    if by_hand {
        all.extend(all_by_hand(dir, who));
    }
    for peer in against {
        match installed(peer, who) {
            Ok(run) => {
                let launcher = Launcher::spawning(peer.name, &run, dir, peer.differs);
                all.push(Launcher { shown: shown(peer), peer: Some(peer), ..launcher });
            }
            Err(reason) => left_out.push((peer.name, reason)),
        }
    }
    all
}

/// The same as ours in C, without supervisor and report.
fn all_by_hand(dir: &str, who: Who) -> [Launcher; 4] {
    let run = format!("{{dir}}/{} run cold /payload/true", floor::name(who));
    let mut all = [
        Launcher::by_hand(HAND_WARM, Maker::Template, "warm", "a byte to an init that waits"),
        Launcher::by_hand(
            HAND_TEMPLATE,
            Maker::Template,
            "template",
            "a cell cloned from a template",
        ),
        Launcher::by_hand(HAND_COLD, Maker::Cold, "cold", "a cell from nothing"),
        Launcher::spawning(HAND_COMMAND, &run, dir, ""),
    ];
    let differs = "as ours, with the least calls: no supervisor, no plan, no report; \
                   xtask/src/bench/floor.c";
    all.iter_mut().for_each(|launcher| launcher.differs = differs);
    all
}

fn shown(peer: &Peer) -> String {
    let steps = peer.prepare.iter().map(|step| format!("(once: {step}) "));
    let text = steps.collect::<String>() + peer.run;
    words(&text).join(" ").replace("{dir}", "DIR").replace("{n}", "N")
}

/// The command of a peer with the path of its program.
fn installed(peer: &Peer, who: Who) -> Result<String, String> {
    if let Some(reason) = unusable(peer.name, who) {
        return Err(reason.into());
    }
    let path = find(peer.program()).ok_or("not installed")?;
    Ok(peer.run.replacen(peer.program(), &path, 1))
}

/// Does once what a peer needs before or after, as whoever measures.
pub(super) fn chores(
    scene: &Scene,
    who: Who,
    peer: &Peer,
    commands: &[&str],
) -> Result<(), String> {
    let path = find(peer.program()).ok_or("not installed")?;
    for line in commands {
        let line = line.replace("{dir}", &scene.dir()).replacen(peer.program(), &path, 1);
        let output = scene.command(who, &words(&line)).output();
        let output = output.map_err(|error| format!("{line}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{line}: {}", last_line(&output.stderr)));
        }
    }
    Ok(())
}

/// What a program that failed said last, which is mostly why.
pub(super) fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    line.unwrap_or("no reason given").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::super::peers::PEERS;
    use super::*;

    #[test]
    fn requests_have_every_place_filled() {
        let run = "true {dir}/x  {n}";
        let launcher = Launcher::spawning("one", run, "/d", "");
        assert_eq!(launcher.request(7), "spawn\ttrue\t/d/x\t7");
        assert_eq!(launcher.shown, "true DIR/x  N");
        for peer in PEERS {
            let launcher = Launcher::spawning(peer.name, peer.run, "/d", peer.differs);
            assert!(!launcher.request(1).contains('{'), "{}", peer.name);
        }
    }

    #[test]
    fn what_cannot_take_part_is_left_out_with_a_reason() {
        let mut left_out = Vec::new();
        let all: Vec<_> = PEERS.iter().collect();
        let launchers = launchers("/d", Who::Unprivileged, &all, true, &mut left_out);
        assert_eq!(launchers.len() + left_out.len(), 5 + 4 + PEERS.len());
        assert!(left_out.iter().any(|(name, why)| *name == "go-judge" && why.contains("service")));
        assert!(left_out.iter().any(|(name, why)| *name == "podman" && why.contains("process")));
    }

    #[test]
    fn the_last_line_is_the_reason() {
        assert_eq!(last_line(b"usage\nno such thing\n\n"), "no such thing");
        assert_eq!(last_line(b""), "no reason given");
    }
}
