//! What the service promises under load, and whether what was seen keeps it.

use std::fmt;

use super::stats::Times;

/// All promises that were tried, as a table.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Vec<Row>);

#[derive(Debug)]
struct Row {
    promise: &'static str,
    seen: String,
    /// None for what is no promise.
    kept: Option<bool>,
}

impl Verdicts {
    pub(super) fn add(&mut self, promise: &'static str, seen: impl Into<String>, kept: bool) {
        self.0.push(Row { promise, seen: seen.into(), kept: Some(kept) });
    }

    /// What a promise is to be held against.
    pub(super) fn note(&mut self, what: &'static str, seen: impl Into<String>) {
        self.0.push(Row { promise: what, seen: seen.into(), kept: None });
    }

    /// A promise that nothing of a kind happens, and the count of what did.
    pub(super) fn none(&mut self, promise: &'static str, faults: usize, of: &str) {
        self.add(promise, format!("{faults} {of}"), faults == 0);
    }

    /// A promise that a share of something is at least, or at most, so many hundredths. What could
    /// not be compared keeps no promise.
    pub(super) fn ratio(
        &mut self,
        promise: &'static str,
        [this, that]: [f64; 2],
        keeps: impl Fn(f64) -> bool,
        unit: &str,
    ) {
        let ratio = this / that;
        let seen = format!("{ratio:.2} ({this:.2} of {that:.2} {unit})");
        self.add(promise, seen, ratio.is_finite() && keeps(ratio));
    }

    /// A promise that of a hundred answers the slowest takes at most three times as long as usual.
    pub(super) fn tail(&mut self, promise: &'static str, times: Option<&Times>) {
        let ms = |permille| times.and_then(|times| times.quantile(permille));
        let ms = |permille| ms(permille).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        self.ratio(promise, [ms(990), ms(500)], |ratio| ratio <= 3.0, "ms");
    }

    pub(super) fn are_kept(&self) -> bool {
        self.0.iter().all(|row| row.kept != Some(false))
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|row| row.promise.len()).max().unwrap_or(0);
        for Row { promise, seen, kept } in &self.0 {
            let word = match kept {
                Some(true) => "kept  ",
                Some(false) => "BROKEN",
                None => "noted ",
            };
            writeln!(f, "{word} {promise:width$}  {seen}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_promise_is_enough() {
        let mut verdicts = Verdicts::default();
        verdicts.ratio("at most three", [6.0, 2.0], |ratio| ratio <= 3.0, "ms");
        assert!(verdicts.are_kept());
        verdicts.note("six", "of 2");
        assert!(verdicts.are_kept());
        verdicts.none("nothing", 1, "of 5");
        assert!(!verdicts.are_kept());
        let table = verdicts.to_string();
        assert!(table.contains("kept   at most three  3.00 (6.00 of 2.00 ms)"), "{table}");
        assert!(table.contains("noted  six            of 2"), "{table}");
        assert!(table.contains("BROKEN nothing        1 of 5"), "{table}");
    }

    #[test]
    fn what_was_not_seen_keeps_nothing() {
        let mut verdicts = Verdicts::default();
        verdicts.ratio("some", [0.0, 0.0], |_| true, "");
        assert!(!verdicts.are_kept());
    }
}
