//! How many runs a second, with so many in flight.

use std::thread::sleep;
use std::time::Duration;

use super::harness::Completed;
use super::launchers::{COLD, HAND_COLD, HAND_TEMPLATE, Launcher};
use super::measure::Starters;

/// How many are in flight.
pub(super) const CONCURRENCY: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Throughput from a pool, and by hand, where each launcher has a template of its own.
pub(super) const POOL: &str = "library, pool";
pub(super) const HAND_POOL: &str = HAND_TEMPLATE;

/// What so many runs at once leave to the kernel shall not be charged to those that come next.
const SETTLE: Duration = Duration::from_millis(300);

/// The throughput of one kind of run, at each of [`CONCURRENCY`].
#[derive(Debug)]
pub(super) struct Rates {
    pub(super) name: &'static str,
    pub(super) completed: Vec<Completed>,
}

/// What is run over and over.
#[derive(Debug, PartialEq, Eq)]
struct Contender {
    name: &'static str,
    /// The end of the request, with the words divided by tabs.
    kind: String,
    /// Whether whoever does the same by hand is asked instead of the harness.
    by_hand: bool,
}

/// One after the other at each concurrency.
pub(super) fn measure<'a>(
    starters: &mut Starters,
    launchers: impl Iterator<Item = &'a Launcher>,
    runs: usize,
) -> Result<Vec<Rates>, String> {
    let millis = (runs * 4).clamp(200, 2000);
    let contenders: Vec<_> = contenders(launchers).collect();
    let empty = |contender: &Contender| Rates { name: contender.name, completed: Vec::new() };
    let mut rates: Vec<_> = contenders.iter().map(empty).collect();
    for concurrency in CONCURRENCY {
        for (contender, rates) in contenders.iter().zip(&mut rates) {
            let request = format!("throughput\t{concurrency}\t{millis}\t{}", contender.kind);
            sleep(SETTLE);
            rates.completed.push(starters.throughput(&request, contender.by_hand)?);
        }
    }
    Ok(rates)
}

/// Those that can run many at once.
fn contenders<'a>(
    launchers: impl Iterator<Item = &'a Launcher>,
) -> impl Iterator<Item = Contender> {
    let pool = Contender { name: POOL, kind: "pool".into(), by_hand: false };
    launchers.filter_map(contender).chain([pool])
}

fn contender(launcher: &Launcher) -> Option<Contender> {
    let name = launcher.name;
    let (kind, by_hand) = match name {
        COLD => ("cold".to_owned(), false),
        HAND_COLD => ("cold".to_owned(), true),
        HAND_TEMPLATE => ("template".to_owned(), true),
        _ => (format!("spawn\t{}", launcher.same_argv()?.join("\t")), false),
    };
    Some(Contender { name, kind, by_hand })
}

#[cfg(test)]
mod tests {
    use super::super::launchers::{self, FLOOR, FUMEHOOD};
    use super::super::peers::PEERS;
    use super::super::scene::Who;
    use super::*;

    #[test]
    fn whoever_can_be_started_twice_at_once_takes_part() {
        let peers: Vec<_> = PEERS.iter().filter(|peer| peer.name != "bwrap").collect();
        let all = launchers::launchers("/d", Who::Root, &peers, true, &mut Vec::new());
        let all: Vec<_> = contenders(all.iter()).collect();
        let kind = |name: &str| all.iter().find(|one| one.name == name).map(|one| &one.kind[..]);
        assert_eq!(kind(FLOOR), Some("spawn\t/d/payload/true"));
        assert_eq!(kind(POOL), Some("pool"));
        assert_eq!(kind(HAND_POOL), Some("template"));
        assert!(kind(FUMEHOOD).unwrap().starts_with("spawn\t/d/fumehood\trun\t"));
        assert!(!all.iter().any(|one| ["crun", "runc", "isolate"].contains(&one.name)), "{all:?}");
    }
}
