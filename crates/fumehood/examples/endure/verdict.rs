//! Whether what was held, and how long runs took, is the same at the end as at the beginning.
//!
//! The first third of the parts is compared with the last, by the middle one of their values, so that
//! neither one part in which the machine did something else nor the last one alone decides.

use std::fmt::Write;

use super::Part;
use super::held::{ROLES, Sum};

/// What an allocator keeps varies by a few pages for each thread.
const KIB: u64 = 1024;
/// A network that nobody is in takes eight, groups that are kept several; their number depends on how
/// runs met each other, and an hour has a million.
const DESCRIPTORS: u64 = 128;
/// How much longer, measured in bare processes, a run may take: its median, and one of a hundred.
const SLOWER: f64 = 1.25;
const TAIL: f64 = 2.0;

/// What is wrong, a line each; none where all is flat.
pub(super) fn judge(parts: &[Part]) -> Vec<String> {
    let third = (parts.len() / 3).max(1);
    let (first, last) =
        (&parts[..third.min(parts.len())], &parts[parts.len().saturating_sub(third)..]);
    let mut wrong = Vec::new();
    for (role, name) in ROLES.iter().enumerate() {
        let mut grown = |what: &str, most: fn(u64) -> u64, of: fn(&Sum) -> u64| {
            let value = |parts: &[Part]| middle(parts.iter().map(|part| of(&part.held.0[role])));
            let (from, to) = (value(first), value(last));
            if to > most(from) {
                wrong
                    .push(format!("{what} of {name}: {from}, then {to}, more than {}", most(from)));
            }
        };
        grown("KiB", |from| from + from / 10 + KIB, |sum| sum.kib);
        grown("descriptors", |from| from + DESCRIPTORS, |sum| sum.descriptors);
        grown("processes", |from| from + from / 10 + 2, |sum| sum.processes);
    }
    for (what, most, of) in [
        ("a run in bare processes", SLOWER, Part::ratio as fn(&Part) -> f64),
        ("one of a hundred in bare ones of a hundred", TAIL, Part::tail_ratio),
    ] {
        let (from, to) = (middle_of(first, of), middle_of(last, of));
        if to > from * most {
            wrong.push(format!("{what}: {from:.2}, then {to:.2}, more than {most} times"));
        }
    }
    let failed: u64 = parts.iter().map(|part| part.failed).sum();
    if failed > 0 || parts.iter().any(|part| part.runs == 0) {
        wrong.push(format!("{failed} runs failed, or there were none for a while"));
    }
    wrong
}

fn middle(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn middle_of(parts: &[Part], of: fn(&Part) -> f64) -> f64 {
    let mut values: Vec<_> = parts.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// What each role held at the beginning, in the middle and at the end, and the rules.
pub(super) fn table(parts: &[Part]) -> String {
    let at = [0, parts.len() / 2, parts.len().saturating_sub(1)];
    let mut text = format!("{:24} {:>9} {:>9} {:>9}\n", "", "beginning", "middle", "end");
    for (role, name) in ROLES.iter().enumerate() {
        let mut line = |what: &str, of: fn(&Sum) -> u64| {
            let values = at.map(|at| parts.get(at).map_or(0, |part| of(&part.held.0[role])));
            let [first, middle, last] = values;
            let what = format!("{name}, {what}");
            let _ = writeln!(text, "{what:24} {first:>9} {middle:>9} {last:>9}");
        };
        line("processes", |sum| sum.processes);
        line("KiB", |sum| sum.kib);
        line("descriptors", |sum| sum.descriptors);
    }
    let _ = write!(
        text,
        "\nflat: of the middle values of the first and the last third, the last is at most a tenth and \
         {KIB} KiB larger, {DESCRIPTORS} descriptors, a tenth and 2 processes; a run takes at most \
         {SLOWER} times as many bare processes of its time, one of a hundred {TAIL} times; none failed\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Times;
    use super::super::held::Held;
    use super::*;

    /// Twelve parts, changed from the ninth on.
    fn parts(change: fn(&mut Part)) -> Vec<Part> {
        let sum = Sum { processes: 3, kib: 9000, descriptors: 100 };
        let times = |micros| {
            let (median, p99) = (Duration::from_micros(micros), Duration::from_micros(4 * micros));
            Times { median, p99 }
        };
        let (run, bare, held) = (times(600), times(300), Held([sum; 4]));
        let mut parts = vec![Part { runs: 1000, failed: 0, held, run, bare }; 12];
        parts[8..].iter_mut().for_each(change);
        parts
    }

    #[test]
    fn what_is_the_same_is_flat_and_so_is_a_slow_machine() {
        assert!(judge(&parts(|_| ())).is_empty());
        let slower = |part: &mut Part| {
            for times in [&mut part.run, &mut part.bare] {
                *times = Times { median: times.median * 3, p99: times.p99 * 3 };
            }
        };
        assert!(judge(&parts(slower)).is_empty());
    }

    #[test]
    fn everything_that_grows_is_named() {
        let cases: [(fn(&mut Part), &str); 6] = [
            (|part| part.held.0[0].kib = 11_000, "KiB of owner"),
            (|part| part.held.0[1].descriptors = 229, "descriptors of zygote"),
            (|part| part.held.0[3].processes = 6, "processes of parked"),
            (|part| part.run.median *= 2, "a run in bare processes"),
            (|part| part.run.p99 *= 3, "one of a hundred"),
            (|part| part.failed = 1, "4 runs failed"),
        ];
        for (change, name) in cases {
            let wrong = judge(&parts(change));
            assert!(wrong.len() == 1 && wrong[0].starts_with(name), "{name}: {wrong:?}");
        }
    }
}
