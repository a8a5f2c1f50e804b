//! The measurement itself, as one user.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::arguments::Arguments;
use super::floor::ByHand;
use super::harness::{Completed, Harness};
use super::launchers::{self, FLOOR, HAND_WARM, WARM};
use super::launchers::{Launcher, LeftOut, chores, last_line};
use super::numbers::Numbers;
use super::rates::{self, Rates};
use super::scene::{Scene, Who};

/// Rounds that are run before anything is counted.
const WARM_UP: usize = 10;
/// Rounds after which cells are parked anew: the harness keeps 32.
const FILL_EVERY: usize = 30;
/// What takes a multiple of this many microseconds is run in every so many'th round only.
const SLOW: u64 = 20_000;
/// What one run leaves to the kernel, which takes namespaces apart later, shall not be charged to
/// the next one.
const SETTLE: Duration = Duration::from_millis(5);
/// Runs that even the slowest gets, if there are as many rounds.
const FEWEST: usize = 20;

/// What one user measured.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) who: Who,
    pub(super) rows: Vec<Row>,
    pub(super) rates: Vec<Rates>,
    pub(super) left_out: Vec<LeftOut>,
    /// What has tables of its own, each as text.
    pub(super) also: Vec<String>,
}

/// What was measured of one launcher.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) shown: String,
    pub(super) differs: &'static str,
    pub(super) numbers: Numbers,
}

impl Section {
    pub(super) fn has(&self, name: &str) -> bool {
        self.median(name).is_some()
    }

    pub(super) fn median(&self, name: &str) -> Option<u64> {
        let row = self.rows.iter().find(|row| row.name == name)?;
        Some(row.numbers.percentile(50))
    }

    /// The highest throughput at any concurrency.
    pub(super) fn best_rate(&self, name: &str) -> Option<u64> {
        let rates = self.rates.iter().find(|rates| rates.name == name)?;
        rates.completed.iter().map(|completed| completed.per_second()).max()
    }
}

/// Everybody who starts anything.
#[derive(Debug)]
pub(super) struct Starters {
    harness: Harness,
    by_hand: Option<ByHand>,
}

impl Starters {
    /// What is done by hand is left out where it cannot be built, or would not be the same.
    fn of(scene: &Scene, who: Who, left_out: &mut Vec<LeftOut>) -> Result<Self, String> {
        let mut harness = Harness::of(scene, who)?;
        let by_hand = ByHand::start(scene, who, &mut harness);
        let by_hand = by_hand.map_err(|reason| {
            println!("nothing by hand: {reason}");
            left_out.push(("by hand", reason.replace(&scene.dir(), "DIR")));
        });
        Ok(Self { harness, by_hand: by_hand.ok() })
    }

    fn run(&mut self, launcher: &Launcher, number: usize) -> Result<(u64, bool), String> {
        let request = launcher.request(number);
        match (launcher.maker(), &mut self.by_hand) {
            (Some(maker), Some(by_hand)) => by_hand.run(maker, &request),
            (Some(_), None) => Err(format!("nobody to do {request} by hand")),
            (None, _) => self.harness.run(&request),
        }
    }

    /// Whatever the request says, over and over.
    pub(super) fn throughput(&mut self, request: &str, by_hand: bool) -> Result<Completed, String> {
        match &mut self.by_hand {
            Some(maker) if by_hand => maker.throughput(request),
            _ => self.harness.throughput(request),
        }
    }

    /// Parks cells for those who take part.
    fn fill(&mut self) -> Result<(), String> {
        self.harness.ask("fill")?;
        self.by_hand.as_mut().map_or(Ok(()), |by_hand| by_hand.fill().map(drop))
    }
}

/// Something that takes part.
struct Entrant {
    launcher: Launcher,
    numbers: Numbers,
    /// It is run in every so many'th round.
    stride: usize,
}

/// Measures everything that works for this user.
pub(super) fn section(scene: &Scene, who: Who, arguments: &Arguments) -> Result<Section, String> {
    let dir = scene.dir();
    let mut left_out = Vec::new();
    let mut starters = Starters::of(scene, who, &mut left_out)?;
    let mut entrants = Vec::new();
    let by_hand = starters.by_hand.is_some();
    for launcher in launchers::launchers(&dir, who, &arguments.against, by_hand, &mut left_out) {
        match trial(scene, who, &mut starters, &launcher) {
            Ok(micros) => entrants.push(Entrant::new(launcher, micros, arguments.runs)),
            Err(reason) => {
                // Half a preparation may be there to undo, or none: that is no news.
                let _ = clean_up(scene, who, &launcher);
                left_out.push((launcher.name, reason.replace(&dir, "DIR")));
            }
        }
    }
    let measured = interleaved(&mut starters, &mut entrants, arguments.runs);
    let quick = entrants.iter().filter(|entrant| entrant.is_quick());
    let quick = quick.map(|entrant| &entrant.launcher);
    let rates = measured.and_then(|()| rates::measure(&mut starters, quick, arguments.runs));
    let cleaned = entrants.iter().map(|entrant| clean_up(scene, who, &entrant.launcher));
    cleaned.filter_map(Result::err).for_each(|reason| println!("not cleaned up: {reason}"));
    let rates = rates?;
    let rows = entrants.into_iter().map(Entrant::row).collect();
    Ok(Section { who, rows, rates, left_out, also: Vec::new() })
}

impl Entrant {
    fn new(launcher: Launcher, micros: u64, runs: usize) -> Self {
        let stride = stride(micros, runs);
        Self { launcher, numbers: Numbers::default(), stride }
    }

    /// What takes long by itself would only make everybody wait.
    fn is_quick(&self) -> bool {
        self.numbers.percentile(50) < SLOW
    }

    fn row(self) -> Row {
        let Launcher { name, shown, differs, .. } = self.launcher;
        Row { name, shown, differs, numbers: self.numbers }
    }
}

fn stride(micros: u64, runs: usize) -> usize {
    let wanted = usize::try_from(micros / SLOW).unwrap_or(usize::MAX);
    wanted.clamp(1, (runs / FEWEST).max(1))
}

/// Prepares a launcher and tries it once: its microseconds, or why it does not take part.
fn trial(
    scene: &Scene,
    who: Who,
    starters: &mut Starters,
    launcher: &Launcher,
) -> Result<u64, String> {
    if [WARM, HAND_WARM].contains(&launcher.name) {
        starters.fill()?;
    }
    if let Some(peer) = launcher.peer {
        chores(scene, who, peer, peer.prepare)?;
    }
    let argv = launcher.argv(0);
    if argv.is_empty() {
        return starters.run(launcher, 0).map(|(micros, _)| micros);
    }
    let start = Instant::now();
    let output = scene.command(who, &argv).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, last_line(&output.stderr)));
    }
    Ok(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX))
}

fn clean_up(scene: &Scene, who: Who, launcher: &Launcher) -> Result<(), String> {
    launcher.peer.map_or(Ok(()), |peer| chores(scene, who, peer, peer.cleanup))
}

/// One run of each in turn, so that whatever else the machine does hits all alike. Before each comes
/// a pause, and then a bare process that is not counted, since a processor that wakes is slow.
fn interleaved(
    starters: &mut Starters,
    entrants: &mut [Entrant],
    runs: usize,
) -> Result<(), String> {
    let floor = entrants.iter().find(|entrant| entrant.launcher.name == FLOOR);
    let wake = floor.ok_or("not even a bare process could be started")?.launcher.request(0);
    for round in 0..WARM_UP + runs {
        if round % FILL_EVERY == 0 && entrants.iter().any(|entrant| entrant.launcher.name == WARM) {
            starters.fill()?;
        }
        for entrant in entrants.iter_mut().filter(|entrant| round % entrant.stride == 0) {
            sleep(SETTLE);
            starters.harness.run(&wake)?;
            let (micros, good) = starters.run(&entrant.launcher, round + 1)?;
            if round >= WARM_UP {
                entrant.numbers.add(micros, good);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::stride;

    #[test]
    fn what_is_slow_runs_seldom_but_often_enough() {
        let strides = [100, 19_999, 40_000, 300_000, u64::MAX].map(|micros| stride(micros, 500));
        assert_eq!(strides, [1, 1, 2, 15, 25]);
        assert_eq!(stride(300_000, 10), 1);
    }
}
