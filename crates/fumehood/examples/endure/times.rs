//! How long many things took, in as much memory for a million as for one: what is measured here is
//! whether memory grows, and a list of times would.

use std::time::Duration;

/// How long something took: the median, and what one of a hundred exceeds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

/// Whatever took longer counts as so many microseconds.
const LONGEST: usize = 1 << 16;

/// How often something took so many microseconds.
#[derive(Debug)]
pub(super) struct Counts {
    of: Box<[u32]>,
    all: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { of: vec![0; LONGEST + 1].into(), all: 0 }
    }
}

impl Counts {
    pub(super) fn add(&mut self, took: Duration) {
        let micros = usize::try_from(took.as_micros()).unwrap_or(LONGEST).min(LONGEST);
        self.of[micros] += 1;
        self.all += 1;
    }

    pub(super) fn all(&self) -> u64 {
        self.all
    }

    pub(super) fn times(&self) -> Times {
        Times { median: self.exceeds(50), p99: self.exceeds(99) }
    }

    /// The shortest that is exceeded or equalled by all but so many of a hundred.
    fn exceeds(&self, percent: u64) -> Duration {
        let mut left = self.all * percent / 100;
        for (micros, count) in (0..).zip(&self.of) {
            match left.checked_sub(u64::from(*count)) {
                Some(rest) if self.all > 0 => left = rest,
                _ => return Duration::from_micros(micros),
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(times: impl IntoIterator<Item = u64>) -> (u128, u128) {
        let mut counts = Counts::default();
        times.into_iter().for_each(|micros| counts.add(Duration::from_micros(micros)));
        let times = counts.times();
        (times.median.as_micros(), times.p99.as_micros())
    }

    #[test]
    fn times_are_those_of_a_sorted_list() {
        assert_eq!(micros([]), (0, 0));
        assert_eq!(micros([7]), (7, 7));
        assert_eq!(micros((0..1000).rev()), (500, 990));
        assert_eq!(micros([3, 3, 9, 1]), (3, 9));
    }

    #[test]
    fn what_took_very_long_counts_as_the_longest() {
        let longest = LONGEST as u128;
        assert_eq!(micros([1, u64::MAX]), (longest, longest));
    }
}
