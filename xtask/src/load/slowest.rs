//! What the slowest answers had for company: which programs other clients ran at the same time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// One request, from when it was sent to when it was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) name: &'static str,
    pub(super) client: usize,
    pub(super) began: Instant,
    pub(super) took: Duration,
}

impl Span {
    /// Whether another client's request was under way during this one.
    fn is_beside(&self, other: &Self) -> bool {
        let end = |span: &Self| span.began + span.took;
        self.client != other.client && self.began < end(other) && other.began < end(self)
    }
}

/// One in so many is among the slowest.
const SLOWEST: usize = 50;

/// Of the answers of one kind, and of the slowest of them, how many had which other kind beside them.
#[derive(Debug)]
pub(super) struct Company {
    all: usize,
    slowest: usize,
    beside: BTreeMap<&'static str, [usize; 2]>,
}

impl Company {
    pub(super) fn of(name: &str, spans: &[Span]) -> Self {
        let mut own: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        own.sort_unstable_by_key(|span| std::cmp::Reverse(span.took));
        let mut others: Vec<_> = spans.iter().collect();
        others.sort_unstable_by_key(|span| span.began);
        let longest = spans.iter().map(|span| span.took).max().unwrap_or_default();
        let slowest = own.len() / SLOWEST;
        let mut beside = BTreeMap::<_, [usize; 2]>::new();
        for (rank, span) in own.iter().enumerate() {
            let mut names: Vec<_> = near(&others, span, longest)
                .filter(|other| span.is_beside(other))
                .map(|other| other.name)
                .collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let counts = beside.entry(name).or_default();
                counts[0] += usize::from(rank < slowest);
                counts[1] += 1;
            }
        }
        Self { all: own.len(), slowest, beside }
    }
}

/// Those that began neither after a span's end nor too long before it to be under way still.
fn near<'a>(
    sorted: &'a [&'a Span],
    span: &'a Span,
    longest: Duration,
) -> impl Iterator<Item = &'a Span> {
    let from = sorted.partition_point(|other| other.began + longest < span.began);
    let until = span.began + span.took;
    sorted.iter().skip(from).take_while(move |other| other.began < until).copied()
}

impl fmt::Display for Company {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "         beside the slowest {} (all {}):", self.slowest, self.all)?;
        for (name, [slowest, all]) in &self.beside {
            write!(f, " {name} {slowest} ({all})")?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn company_is_what_others_had_under_way() {
        let start = Instant::now();
        let at = |client, name, ms, took| Span {
            name,
            client,
            began: start + Duration::from_millis(ms),
            took: Duration::from_millis(took),
        };
        let mut spans: Vec<_> = (0..49).map(|run| at(0, "hello", 10 * run, 5)).collect();
        spans.push(at(0, "hello", 500, 30));
        spans.extend([at(1, "bomb", 505, 100), at(0, "own", 490, 50), at(1, "early", 0, 500)]);
        spans.push(at(1, "late", 530, 1));
        let company = Company::of("hello", &spans);
        assert_eq!((company.all, company.slowest), (50, 1));
        let expected = [("bomb", [1, 1]), ("early", [0, 49])];
        assert_eq!(company.beside, BTreeMap::from(expected));
    }
}
