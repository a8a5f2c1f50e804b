//! What a parked cell takes, and whether the size of its caller matters.

use std::thread::sleep;
use std::time::Duration;

use super::harness::Harness;
use super::numbers::Numbers;
use super::scene::{Scene, Who};
use super::table::Table;

/// Memory of callers that are compared, in MiB.
const SIZES: [usize; 2] = [10, 1024];
/// The harness keeps so many cells parked; two are left, so that none is built between two runs.
const AT_ONCE: usize = 30;
const SETTLE: Duration = Duration::from_millis(5);

/// Parks so many cells, and says what one of them takes.
pub(super) fn memory(scene: &Scene, who: Who, cells: usize) -> Result<String, String> {
    let mut harness = Harness::of(scene, who)?;
    let answer = harness.ask(&format!("park\t{cells}"))?;
    let cost = Cost::parse(&answer).ok_or_else(|| format!("park: {answer}"))?;
    Ok(cost.table(cells).to_string())
}

/// What the harness says of parked cells.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    micros: u64,
    kernel_kib: u64,
    user_kib: u64,
    descriptors: u64,
    run_micros: u64,
}

impl Cost {
    fn parse(answer: &str) -> Option<Self> {
        let mut numbers = answer.split(' ').map(|word| word.parse().ok());
        let mut number = || numbers.next().flatten();
        let cost = Self {
            micros: number()?,
            kernel_kib: number()?,
            user_kib: number()?,
            descriptors: number()?,
            run_micros: number()?,
        };
        numbers.next().is_none().then_some(cost)
    }

    fn table(&self, cells: usize) -> Table {
        let count = u64::try_from(cells.max(1)).unwrap_or(u64::MAX);
        let Self { micros, kernel_kib, user_kib, descriptors, run_micros } = self;
        let heading = [
            "cells parked at once",
            "KiB of each",
            "of the kernel",
            "of its init",
            "descriptors",
            "µs to build",
            "µs of a run among them",
        ];
        let mut table = Table::new(&heading, 1);
        let each = [kernel_kib + user_kib, *kernel_kib, *user_kib, *descriptors, *micros];
        let each = each.map(|all| (all / count).to_string());
        table.row([cells.to_string()].into_iter().chain(each).chain([run_micros.to_string()]));
        table
    }
}

/// Runs from a small caller and from a large one in turn, and says what they take.
pub(super) fn sizes(scene: &Scene, who: Who, runs: usize) -> Result<String, String> {
    let mut callers = Vec::new();
    for size in SIZES {
        let mut harness = Harness::of(scene, who)?;
        harness.ask(&format!("grow\t{size}"))?;
        callers.push((size, harness, [Numbers::default(), Numbers::default()]));
    }
    for round in 0..runs {
        for (_, harness, [warm, cold]) in &mut callers {
            if round % AT_ONCE == 0 {
                harness.ask("fill")?;
            }
            for (request, numbers) in [("warm", warm), ("cold", cold)] {
                sleep(SETTLE);
                let (micros, good) = harness.run(request)?;
                numbers.add(micros, good);
            }
        }
    }
    let mut table = Table::new(&["caller's memory", "warm, µs", "cold, µs"], 1);
    for (size, _, [warm, cold]) in &callers {
        let medians = [warm, cold].map(|numbers| numbers.percentile(50).to_string());
        table.row([format!("{size} MiB")].into_iter().chain(medians));
    }
    Ok(table.to_string())
}

#[cfg(test)]
mod tests {
    use super::Cost;

    #[test]
    fn costs_are_told_per_cell() {
        let cost = Cost::parse("2000 600 100 16 90").unwrap();
        let table = cost.table(2).to_string();
        let cells: Vec<_> = table.lines().nth(2).unwrap().split_whitespace().collect();
        let expected = "| 2 | 350 | 300 | 50 | 8 | 1000 | 90 |";
        assert_eq!(cells.join(" "), expected);
        assert_eq!([Cost::parse("1 2 3 4"), Cost::parse("1 2 3 4 5 6")], [None, None]);
    }
}
