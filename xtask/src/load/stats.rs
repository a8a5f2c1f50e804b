//! Times of answers, summed up.

use std::fmt;
use std::time::Duration;

/// How long answers took.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub(super) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this share of the answers did not exceed (nearest rank); none without answers.
    pub(super) fn quantile(&self, permille: usize) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * permille).div_ceil(1000).max(1);
        sorted.get(rank - 1).copied()
    }

    /// How many times as long as usual the slowest of a hundred takes.
    pub(super) fn tail(&self) -> Option<f64> {
        Some(self.quantile(990)?.as_secs_f64() / self.quantile(500)?.as_secs_f64())
    }

    /// The same in words.
    pub(super) fn ratio(&self) -> String {
        let ms =
            |permille| self.quantile(permille).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        let ratio = self.tail().unwrap_or(f64::NAN);
        format!("{ratio:.2} ({:.2} of {:.2} ms)", ms(990), ms(500))
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |permille| {
            self.quantile(permille).map_or_else(
                || "-".to_owned(),
                |time| format!("{:.2}", time.as_secs_f64() * 1000.0),
            )
        };
        write!(f, "{:>9} {:>9} {:>9}", ms(500), ms(990), ms(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_seen() {
        let mut times = Times::default();
        assert_eq!(times.quantile(500), None);
        for ms in (1..=100).rev() {
            times.add(Duration::from_millis(ms));
        }
        let ms = |permille| times.quantile(permille).unwrap().as_millis();
        assert_eq!((ms(0), ms(500), ms(990), ms(1000)), (1, 50, 99, 100));
        assert_eq!(times.tail(), Some(0.099 / 0.050));
    }
}
