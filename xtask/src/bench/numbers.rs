//! Medians and what they are multiples of.

use super::launchers::{BUBBLEWRAP, FLOOR, Launcher};

/// What was measured of one launcher, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    micros: Vec<u64>,
    bad: usize,
}

impl Numbers {
    pub(crate) fn add(&mut self, micros: u64, good: bool) {
        self.micros.push(micros);
        self.bad += usize::from(!good);
    }

    /// The value that `percent` of all do not exceed: the nearest rank.
    pub(crate) fn percentile(&self, percent: usize) -> u64 {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(0)
    }
}

/// Prints one line a launcher.
pub(crate) fn print(launchers: &[Launcher], numbers: &[Numbers]) {
    let median = |name| {
        let index = launchers.iter().position(|launcher| launcher.name == name)?;
        Some(numbers[index].percentile(50))
    };
    let (floor, bwrap) = (median(FLOOR), median(BUBBLEWRAP));
    println!(
        "\n{:<22} {:>8} {:>8} {:>8} {:>8} {:>8} {:>5}",
        "start to end, µs", "min", "median", "p95", "x floor", "x bwrap", "bad"
    );
    for (launcher, numbers) in launchers.iter().zip(numbers) {
        let median = numbers.percentile(50);
        println!(
            "{:<22} {:>8} {median:>8} {:>8} {:>8} {:>8} {:>5}",
            launcher.name,
            numbers.percentile(0),
            numbers.percentile(95),
            ratio(median, floor),
            ratio(median, bwrap),
            numbers.bad,
        );
    }
}

/// With two decimals, in whole numbers.
fn ratio(value: u64, unit: Option<u64>) -> String {
    match unit {
        None | Some(0) => "-".into(),
        Some(unit) => {
            let hundredths = (value * 100 + unit / 2) / unit;
            format!("{}.{:02}", hundredths / 100, hundredths % 100)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.percentile(50), 0);
        (1..=20).rev().for_each(|micros| numbers.add(micros, micros != 7));
        let all = [0, 50, 95, 100].map(|percent| numbers.percentile(percent));
        assert_eq!((all, numbers.bad), ([1, 10, 19, 20], 1));
    }

    #[test]
    fn ratios_are_rounded() {
        assert_eq!(ratio(600, Some(1000)), "0.60");
        assert_eq!(ratio(2, Some(3)), "0.67");
        assert_eq!(ratio(2, None), "-");
    }
}
