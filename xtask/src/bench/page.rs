//! What was measured, as text: on the terminal and as a page.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::arguments::Arguments;
use super::chart::{Bar, Panel};
use super::launchers::{FLOOR, HAND_WARM};
use super::machine::{Fact, version};
use super::measure::Section;
use super::numbers::ratio;
use super::peers::BUBBLEWRAP;
use super::rates::CONCURRENCY;
use super::scene::Scene;
use super::table::Table;
use super::targets;

const ABOUT: &str = "\
# Benchmarks

This page is written by one command, in one run:

```console
$ COMMAND
```

A *run* is a program that does nothing, from before it is asked for until its end is known. One
process starts everything, one after the other in turn, so that whatever else the machine does hits
all alike; slow ones take part in some of the rounds only. Between two there is a pause, so that
none pays for what the one before it left to the kernel. Times are microseconds. *× floor* is the
median over that of the bare process: the same program by `posix_spawn`, without any sandbox.

![Medians of all, on a logarithmic scale](benchmarks.svg)
";

const WARM_NOTE: &str = "\
The library's rows have no start-up of a command in them, and *warm* has the building of the cell
ahead of its clock; the throughput below has everything in it.
";

const BY_HAND: &str = "\
## What is ours

*By hand* is [a small C program](../xtask/src/bench/floor.c) that asks the kernel for the same, with
the least calls, measured in the same run: the namespaces, the mounts of the same plan, the same rules of
Landlock and limits, the very bytes of the filter, and as root the same control groups, made, joined and
removed. It has no supervisor, plans nothing, looks at nothing twice, and tells nobody what was used
or which guarantees held. Before it is measured, a program in each of its cells has to see the same
mounts, credentials, capabilities, limits, files and devices as in one of ours; else its rows are left out.
So *ours less by hand* is what a supervisor, a plan and a report cost, and where *aim / by hand* is below
1.00 the kernel alone takes longer on this machine than was aimed at (of runs a second, above 1.00). It
does less in three places: a template is its own launcher and lends its one network without a look at it,
small files of `/etc` have blanks for a content, and steps come in an order that saves calls. And it does all one after
the other, where ours has a network made on another processor while the root is built.

Missed, with the figures that were aimed at (µs, or runs a second):

";

impl Section {
    /// The tables of this user.
    pub(super) fn text(&self) -> String {
        let mut text = format!("\n{}\n{}", self.latency(), self.throughput());
        if self.has(HAND_WARM) {
            let _ = write!(text, "\n{}", targets::table(self));
        }
        if !self.left_out.is_empty() {
            text += "\nLeft out:\n\n";
        }
        for (name, reason) in &self.left_out {
            let _ = writeln!(text, "- {name}: {reason}");
        }
        for table in &self.also {
            let _ = write!(text, "\n{table}");
        }
        text
    }

    fn latency(&self) -> Table {
        let heading = ["", "runs", "min", "median", "p95", "× floor", "× bwrap", "failed"];
        let mut table = Table::new(&heading, 1);
        let (floor, bwrap) = (self.median(FLOOR), self.median(BUBBLEWRAP));
        for row in &self.rows {
            let [min, median, p95] = [0, 50, 95].map(|percent| row.numbers.percentile(percent));
            let numbers = [row.numbers.count().to_string(), min.to_string(), median.to_string()];
            let ratios = [p95.to_string(), ratio(median, floor), ratio(median, bwrap)];
            let failed = row.numbers.bad.to_string();
            table.row(
                [row.name.to_owned()].into_iter().chain(numbers).chain(ratios).chain([failed]),
            );
        }
        table
    }

    fn throughput(&self) -> Table {
        let columns = CONCURRENCY.map(|concurrency| format!("{concurrency} in flight"));
        let heading = ["runs a second"].into_iter().chain(columns.iter().map(String::as_str));
        let mut table = Table::new(&heading.collect::<Vec<_>>(), 1);
        for rates in &self.rates {
            let cells = rates.completed.iter().map(|completed| {
                let failed = completed.failed;
                let note = if failed == 0 { String::new() } else { format!(" ({failed} failed)") };
                completed.per_second().to_string() + &note
            });
            table.row([rates.name.to_owned()].into_iter().chain(cells));
        }
        table
    }
}

/// The page for the documentation.
pub(super) fn markdown(
    sections: &[Section],
    arguments: &Arguments,
    scene: &Scene,
    facts: Vec<Fact>,
) -> String {
    let mut page = ABOUT.replace("COMMAND", &arguments.command());
    for section in sections {
        let _ = write!(page, "\n## As {}\n{}", section.who.name(), section.text());
    }
    let _ = write!(page, "\n{WARM_NOTE}\n{}{}", BY_HAND, targets::missed(sections));
    let _ = write!(page, "\n## What was run\n\n{}", commands(sections));
    let _ = write!(page, "\nThe program: `{}`\n", scene.payload);
    let _ = write!(page, "\n## The machine\n\n{}", machine(facts, arguments));
    page
}

/// The command lines, each once.
fn commands(sections: &[Section]) -> String {
    let mut list = String::new();
    let mut seen = BTreeSet::new();
    for row in sections.iter().flat_map(|section| &section.rows) {
        if seen.insert(row.name) {
            let _ = writeln!(list, "- {} ({}): `{}`", row.name, row.differs, row.shown);
        }
    }
    list
}

fn machine(facts: Vec<Fact>, arguments: &Arguments) -> Table {
    let mut table = Table::new(&["", ""], 2);
    for (name, value) in facts {
        table.row([name.to_owned(), value]);
    }
    for peer in &arguments.against {
        let version = version(peer);
        if !version.is_empty() {
            table.row([peer.name.to_owned(), version]);
        }
    }
    table
}

/// The chart's panels: for every user the medians, and the throughput of the library.
pub(super) fn panels(sections: &[Section]) -> Vec<Panel> {
    sections.iter().flat_map(|section| [latencies(section), throughputs(section)]).collect()
}

fn latencies(section: &Section) -> Panel {
    let mut rows: Vec<_> = section.rows.iter().collect();
    rows.sort_by_key(|row| row.numbers.percentile(50));
    let floor = section.median(FLOOR);
    let bars = rows.into_iter().map(|row| {
        let median = row.numbers.percentile(50);
        let text = format!("{median} µs, {} ×", ratio(median, floor));
        let mark = Some(row.numbers.percentile(95));
        Bar { label: row.name.into(), value: median, mark, text, ours: is_ours(row.name) }
    });
    let title = format!("As {}: one run, median in µs (mark: p95)", section.who.name());
    Panel { title, bars: bars.collect() }
}

fn throughputs(section: &Section) -> Panel {
    let mut bars = Vec::new();
    for rates in &section.rates {
        for (concurrency, completed) in CONCURRENCY.iter().zip(&rates.completed) {
            let value = completed.per_second();
            let label = format!("{}, {concurrency}", rates.name);
            bars.push(Bar {
                label,
                value,
                mark: None,
                text: value.to_string(),
                ours: is_ours(rates.name),
            });
        }
    }
    Panel { title: format!("As {}: runs a second, so many in flight", section.who.name()), bars }
}

fn is_ours(name: &str) -> bool {
    name == super::FUMEHOOD || name.starts_with("library")
}

#[cfg(test)]
mod tests {
    use super::super::harness::Completed;
    use super::super::measure::Row;
    use super::super::numbers::Numbers;
    use super::super::rates::Rates;
    use super::super::scene::Who;
    use super::*;

    fn row(name: &'static str, micros: u64) -> Row {
        let mut numbers = Numbers::default();
        numbers.add(micros, true);
        Row { name, shown: format!("DIR/{name}"), differs: "", numbers }
    }

    fn section() -> Section {
        let completed = vec![Completed { runs: 50, failed: 1, micros: 1_000_000 }; 6];
        Section {
            who: Who::Root,
            rows: vec![row(FLOOR, 100), row(BUBBLEWRAP, 5000), row("library, warm", 250)],
            rates: vec![Rates { name: "library, pool", completed }],
            left_out: vec![("crun", "not installed".into())],
            also: vec!["of their own\n".into()],
        }
    }

    #[test]
    fn rows_are_set_against_floor_and_bubblewrap() {
        let text = section().text();
        let warm = text.lines().find(|line| line.contains("library, warm")).unwrap();
        assert!(warm.contains(" 2.50 ") && warm.contains(" 0.05 "), "{warm}");
        assert!(text.contains("49 (1 failed)"), "{text}");
        assert!(text.contains("- crun: not installed\n\nof their own\n"), "{text}");
    }

    #[test]
    fn each_command_is_listed_once() {
        let commands = commands(&[section(), section()]);
        assert_eq!(commands.matches("DIR/bwrap").count(), 1);
        assert_eq!(commands.lines().count(), 3);
    }

    #[test]
    fn the_fastest_comes_first_and_ours_stand_out() {
        let panel = latencies(&section());
        let labels: Vec<_> = panel.bars.iter().map(|bar| bar.label.as_str()).collect();
        assert_eq!(labels, [FLOOR, "library, warm", BUBBLEWRAP]);
        assert_eq!(panel.bars.iter().filter(|bar| bar.ours).count(), 1);
    }
}
