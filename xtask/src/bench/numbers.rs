//! Medians and what they are multiples of.

/// What was measured of one launcher, in microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    micros: Vec<u64>,
    /// Runs that failed; their time is among the others.
    pub(super) bad: usize,
}

impl Numbers {
    pub(super) fn add(&mut self, micros: u64, good: bool) {
        self.micros.push(micros);
        self.bad += usize::from(!good);
    }

    pub(super) fn count(&self) -> usize {
        self.micros.len()
    }

    /// The value that `percent` of all do not exceed: the nearest rank.
    pub(super) fn percentile(&self, percent: usize) -> u64 {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(0)
    }
}

/// With two decimals, in whole numbers.
pub(super) fn ratio(value: u64, unit: Option<u64>) -> String {
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
        assert_eq!((all, numbers.bad, numbers.count()), ([1, 10, 19, 20], 1, 20));
    }

    #[test]
    fn ratios_are_rounded() {
        assert_eq!(ratio(600, Some(1000)), "0.60");
        assert_eq!(ratio(2, Some(3)), "0.67");
        assert_eq!(ratio(2, None), "-");
        assert_eq!(ratio(2, Some(0)), "-");
    }
}
