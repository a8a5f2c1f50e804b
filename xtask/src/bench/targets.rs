//! What was aimed at, and what of it is ours: each figure beside the same confinement by hand.

use super::launchers::{COLD, FLOOR, FUMEHOOD, HAND_COLD, HAND_COMMAND, HAND_TEMPLATE, HAND_WARM};
use super::launchers::{TEMPLATE, WARM};
use super::measure::Section;
use super::numbers::ratio;
use super::peers::BUBBLEWRAP;
use super::rates::{HAND_POOL, POOL};
use super::table::Table;

/// A figure that was aimed at.
struct Target {
    ours: &'static str,
    by_hand: &'static str,
    /// What it should be.
    said: &'static str,
    bound: Bound,
    /// What is in ours and not in the other, and what for.
    why: &'static str,
}

/// What a median may be at most, in microseconds, or a throughput at least, in runs a second.
enum Bound {
    /// So many hundredths of another launcher's median, and so many microseconds.
    Time(&'static str, u64, u64),
    Rate(u64),
    /// So many times another launcher's throughput.
    Times(&'static str, u64),
}

const TARGETS: [Target; 6] = [
    Target {
        ours: WARM,
        by_hand: HAND_WARM,
        said: "bare process + 150 µs",
        bound: Bound::Time(FLOOR, 100, 150),
        why: "a runtime that is entered, a program and an input that a caller may change for every run \
              and that are judged and sent, a word when the program was started, streams and clocks \
              that are watched, what was used, and a report",
    },
    Target {
        ours: TEMPLATE,
        by_hand: HAND_TEMPLATE,
        said: "0.15 × bwrap",
        bound: Bound::Time(BUBBLEWRAP, 15, 0),
        why: "that of a warm run; besides a supervisor that is not the template, so that a caller's \
              memory is in no cell, and messages between the two; a network of several that is lent, \
              and looked at before the next has it",
    },
    Target {
        ours: COLD,
        by_hand: HAND_COLD,
        said: "0.25 × bwrap",
        bound: Bound::Time(BUBBLEWRAP, 25, 0),
        why: "that of a warm run; besides a plan, that is, what of the root is there on this host, and \
              what of the kernel and its control groups; steps that are written down, sent, timed one \
              by one and looked up with care where a link could stand",
    },
    Target {
        ours: FUMEHOOD,
        by_hand: HAND_COMMAND,
        said: "0.60 × bwrap",
        bound: Bound::Time(BUBBLEWRAP, 60, 0),
        why: "that of a run from the library; besides a larger binary that is loaded, with its runtime \
              and arguments, and streams that are passed on",
    },
    Target {
        ours: POOL,
        by_hand: HAND_POOL,
        said: "2000 runs a second",
        bound: Bound::Rate(2000),
        why: POOL_HAS,
    },
    Target {
        ours: POOL,
        by_hand: HAND_POOL,
        said: "6 × bwrap",
        bound: Bound::Times(BUBBLEWRAP, 6),
        why: POOL_HAS,
    },
];

const POOL_HAS: &str = "that of a run in a template, for both processors: the launchers by hand are the \
                        templates, and nobody is between them and whoever asks";

/// What of the figures is ours: below the tables of a user.
pub(super) fn table(section: &Section) -> String {
    let heading = [
        "",
        "aim",
        "that is",
        "ours",
        "by hand",
        "ours less by hand",
        "ours / by hand",
        "aim / by hand",
    ];
    let mut table = Table::new(&heading, 2);
    for target in &TARGETS {
        let figure = |name| target.figure(section, name);
        let aim = target.aim(section);
        let (Some(ours), Some(by_hand)) = (figure(target.ours), figure(target.by_hand)) else {
            continue;
        };
        let apart = i128::from(ours) - i128::from(by_hand);
        let unit = Some(by_hand);
        let numbers = [aim.map_or("-".into(), |aim| aim.to_string()), ours.to_string()];
        let compared = [by_hand.to_string(), apart.to_string(), ratio(ours, unit)];
        let possible = aim.map_or("-".into(), |aim| ratio(aim, unit));
        let names = [target.ours.to_owned(), target.said.to_owned()];
        table.row(names.into_iter().chain(numbers).chain(compared).chain([possible]));
    }
    table.to_string()
}

impl Target {
    /// A median in microseconds, or the best throughput.
    fn figure(&self, section: &Section, name: &str) -> Option<u64> {
        match self.bound {
            Bound::Time(..) => section.median(name),
            Bound::Rate(_) | Bound::Times(..) => section.best_rate(name),
        }
    }

    fn aim(&self, section: &Section) -> Option<u64> {
        match self.bound {
            Bound::Time(of, hundredths, more) => {
                Some(section.median(of)? * hundredths / 100 + more)
            }
            Bound::Rate(rate) => Some(rate),
            Bound::Times(of, times) => Some(section.best_rate(of)? * times),
        }
    }

    fn is_missed(&self, section: &Section) -> bool {
        let figures = self.figure(section, self.ours).zip(self.aim(section));
        figures.is_some_and(|(ours, aim)| match self.bound {
            Bound::Time(..) => ours > aim,
            Bound::Rate(_) | Bound::Times(..) => ours < aim,
        })
    }

    /// `as root 900, by hand 700`, where it is missed.
    fn missed(&self, section: &Section) -> Option<String> {
        let (ours, aim) = self.figure(section, self.ours).zip(self.aim(section))?;
        let by_hand = self.figure(section, self.by_hand);
        let by_hand = by_hand.map_or("not measured".to_owned(), |by_hand| by_hand.to_string());
        let who = section.who.name();
        self.is_missed(section).then(|| format!("as {who} {aim}, is {ours}, by hand {by_hand}"))
    }
}

/// A line for each aim that was missed: by whom, by how much, and what ours does more.
pub(super) fn missed(sections: &[Section]) -> String {
    let line = |target: &Target| {
        let figures: Vec<_> =
            sections.iter().filter_map(|section| target.missed(section)).collect();
        let Target { ours, said, why, .. } = target;
        let line = format!("- **{ours}**, {said}: {}. Ours has {why}.\n", figures.join("; "));
        (!figures.is_empty()).then_some(line)
    };
    let lines: String = TARGETS.iter().filter_map(line).collect();
    if lines.is_empty() { "- none.\n".to_owned() } else { lines }
}

#[cfg(test)]
mod tests {
    use super::super::harness::Completed;
    use super::super::measure::Row;
    use super::super::numbers::Numbers;
    use super::super::rates::Rates;
    use super::super::scene::Who;
    use super::*;

    fn section(rows: &[(&'static str, u64)], rate: u64) -> Section {
        let row = |&(name, micros): &(&'static str, u64)| {
            let mut numbers = Numbers::default();
            numbers.add(micros, true);
            Row { name, shown: String::new(), differs: "", numbers }
        };
        let rates = |name, runs| {
            let completed = |runs| Completed { runs, failed: 0, micros: 1_000_000 };
            Rates { name, completed: vec![completed(runs / 2), completed(runs)] }
        };
        Section {
            who: Who::Root,
            rows: rows.iter().map(row).collect(),
            rates: vec![rates(POOL, rate), rates(HAND_POOL, 1600), rates(BUBBLEWRAP, 300)],
            left_out: Vec::new(),
            also: Vec::new(),
        }
    }

    const ROWS: [(&str, u64); 6] = [
        (FLOOR, 300),
        (WARM, 500),
        (HAND_WARM, 400),
        (BUBBLEWRAP, 6000),
        (FUMEHOOD, 3600),
        (HAND_COMMAND, 3000),
    ];

    #[test]
    fn each_figure_is_beside_that_by_hand() {
        let text = table(&section(&ROWS, 900));
        let cells = |name: &str| -> String {
            let line = text.lines().find(|line| line.contains(name)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert!(cells(WARM).ends_with("| 450 | 500 | 400 | 100 | 1.25 | 1.13 |"), "{text}");
        assert!(cells(POOL).ends_with("| 2000 | 900 | 1600 | -700 | 0.56 | 1.25 |"), "{text}");
        assert!(!text.contains(COLD), "what was not measured is left out: {text}");
    }

    #[test]
    fn what_is_missed_is_told_with_its_reason_and_what_is_met_is_not() {
        let text = missed(&[section(&ROWS, 2000), section(&ROWS, 1999)]);
        assert!(text.contains("as root 450, is 500, by hand 400; as root 450"), "{text}");
        assert!(text.contains("as root 2000, is 1999, by hand 1600. Ours has"), "{text}");
        assert!(!text.contains(FUMEHOOD), "{text}");
        assert!(!text.contains("6 × bwrap"), "{text}");
        let text = missed(&[section(&[], 2000), section(&[], 1799)]);
        assert!(text.contains("6 × bwrap: as root 1800, is 1799, by hand 1600."), "{text}");
        assert_eq!(missed(&[section(&[], 2000)]), "- none.\n");
    }
}
