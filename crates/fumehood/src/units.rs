//! Sizes and times as people write them: with a unit, always.
//!
//! A number without a unit is refused, because whoever reads it has to guess: Docker reads
//! `--memory 100` as bytes, others as mebibytes. What cannot be held exactly is refused too.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A number of bytes, written with a binary unit: `512KiB`, `256MiB`, `256M`, `1G`, `100B`.
///
/// `K`, `M`, `G` and `T` are binary, as Docker reads them, and case does not matter. `KB`, `MB`,
/// `GB` and `TB` are refused: half of all programs count them in thousands. Fractions must come
/// to whole bytes.
///
/// ```
/// use fumehood::ByteSize;
/// let size: ByteSize = "1.5GiB".parse()?;
/// assert_eq!(size, ByteSize(1536 * 1024 * 1024));
/// assert_eq!(size.to_string(), "1.5GiB");
/// assert_eq!("100".parse::<ByteSize>().unwrap_err().to_string(),
///     r#""100" has no unit; write 100MiB or 100B"#);
/// # Ok::<(), fumehood::ParseUnitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Why a size, a time or a number could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} {problem}")]
pub struct ParseUnitError {
    value: String,
    problem: String,
}

impl ParseUnitError {
    pub(crate) fn new(value: &str, problem: impl Into<String>) -> Self {
        Self { value: value.to_owned(), problem: problem.into() }
    }

    /// What is wrong with the value and what would be right, the value left out.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl ByteSize {
    /// That many kibibytes (1024 bytes).
    #[must_use]
    pub const fn kib(count: u32) -> Self {
        Self((count as u64) << 10)
    }

    /// That many mebibytes (1024 KiB).
    #[must_use]
    pub const fn mib(count: u32) -> Self {
        Self((count as u64) << 20)
    }

    /// That many gibibytes (1024 MiB).
    #[must_use]
    pub const fn gib(count: u32) -> Self {
        Self((count as u64) << 30)
    }
}

impl FromStr for ByteSize {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let amount = BYTES.parse(text)?;
        u64::try_from(amount).map(Self).map_err(|_| ParseUnitError::new(text, BYTES.too_large))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&BYTES.shortest(u128::from(self.0)))
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a time such as `250us`, `250ms`, `1.5s`, `2m` or `1h`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(fumehood::parse_duration("1.5s")?, Duration::from_millis(1500));
/// assert_eq!(fumehood::parse_duration("10").unwrap_err().to_string(),
///     r#""10" has no unit; write 10s or 10ms"#);
/// # Ok::<(), fumehood::ParseUnitError>(())
/// ```
///
/// # Errors
///
/// No unit, an unknown one, a negative time, more digits than nanoseconds can hold, or a time
/// that does not fit into a [`Duration`].
pub fn parse_duration(text: &str) -> Result<Duration, ParseUnitError> {
    let nanos = TIME.parse(text)?;
    // A remainder of a second is always below 10^9.
    let rest = u32::try_from(nanos % 1_000_000_000).unwrap_or_default();
    u64::try_from(nanos / 1_000_000_000)
        .map(|seconds| Duration::new(seconds, rest))
        .map_err(|_| ParseUnitError::new(text, TIME.too_large))
}

/// A time in its shortest exact form, which [`parse_duration`] reads back: `250ms`, `1.5s`, `2m`.
#[must_use]
pub fn format_duration(time: Duration) -> String {
    TIME.shortest(time.as_nanos())
}

/// A kind of amount and its units.
struct Scale {
    /// Names and sizes, smallest first; the first is the one in which amounts are counted.
    units: &'static [(&'static str, u128)],
    /// Whether upper and lower case are the same: `M` is no minute.
    any_case: bool,
    /// Other spellings.
    aliases: &'static [(&'static str, &'static str)],
    /// Units that mean different amounts to different people, and what to write instead.
    ambiguous: &'static [(&'static str, &'static str)],
    /// The two units that a number without one most likely meant.
    likely: [&'static str; 2],
    /// An example of a right value.
    example: &'static str,
    /// What to say when the amount must be a whole number of the smallest unit.
    inexact: &'static str,
    too_large: &'static str,
}

const BYTES: Scale = Scale {
    units: &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)],
    any_case: true,
    aliases: &[("k", "KiB"), ("m", "MiB"), ("g", "GiB"), ("t", "TiB")],
    ambiguous: &[("kb", "KiB"), ("mb", "MiB"), ("gb", "GiB"), ("tb", "TiB")],
    likely: ["MiB", "B"],
    example: "256MiB",
    inexact: "is not a whole number of bytes; write it in a smaller unit",
    too_large: "is too large; at most 18446744073709551615B can be counted",
};

const TIME: Scale = Scale {
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ],
    any_case: false,
    // Two code points that look the same: the micro sign and the Greek letter.
    aliases: &[("\u{b5}s", "us"), ("\u{3bc}s", "us")],
    ambiguous: &[],
    likely: ["s", "ms"],
    example: "10s",
    inexact: "is not a whole number of nanoseconds; write it in a smaller unit",
    too_large: "is too large; at most 18446744073709551615s can be counted",
};

impl Scale {
    /// The amount that `text` names, in the smallest unit.
    fn parse(&self, text: &str) -> Result<u128, ParseUnitError> {
        let refuse = |problem: String| ParseUnitError::new(text, problem);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let decimal = Decimal::parse(number)
            .map_err(|fault| refuse(fault.explain(text, self.example, self.too_large)))?;
        if unit.is_empty() {
            return Err(refuse(self.no_unit(number, &decimal)));
        }
        let factor = self.factor(number, unit).map_err(refuse)?;
        decimal.times(factor).map_err(|fault| match fault {
            Fault::Inexact => refuse(self.inexact.to_owned()),
            _ => refuse(self.too_large.to_owned()),
        })
    }

    fn factor(&self, number: &str, unit: &str) -> Result<u128, String> {
        let same = |name: &str| name == unit || (self.any_case && name.eq_ignore_ascii_case(unit));
        let find = |table: &[(&str, &'static str)]| {
            table.iter().find(|(name, _)| same(name)).map(|(_, meant)| *meant)
        };
        if let Some(meant) = find(self.ambiguous) {
            return Err(format!(
                "has the unit {unit}, which counts thousands to some and 1024s to others; \
                 write {number}{meant}"
            ));
        }
        let alias = find(self.aliases);
        let known = self.units.iter().find(|(name, _)| alias.map_or(same(name), |it| it == *name));
        known.map(|(_, factor)| *factor).ok_or_else(|| {
            let names: Vec<_> = self.units.iter().map(|(name, _)| *name).collect();
            format!("has the unknown unit {unit:?}; known are {}", names.join(", "))
        })
    }

    fn no_unit(&self, number: &str, decimal: &Decimal) -> String {
        let [first, second] = self.likely;
        if decimal.digits == 0 {
            return format!("has no unit; write for example {}, or unlimited", self.example);
        }
        format!("has no unit; write {number}{first} or {number}{second}")
    }

    /// The shortest text that stands for exactly `amount`; of two that are equally short, the one
    /// without a fraction. Nothing has a unit that people write.
    fn shortest(&self, amount: u128) -> String {
        let likely = self.likely.iter().min_by_key(|name| name.len());
        self.units
            .iter()
            .filter(|(_, factor)| amount >= *factor)
            .filter_map(|(name, factor)| Some(format!("{}{name}", thousandths(amount, *factor)?)))
            .min_by_key(String::len)
            .unwrap_or_else(|| format!("{amount}{}", likely.unwrap_or(&"")))
    }
}

/// `amount / factor` with at most three decimals, if that is exact.
fn thousandths(amount: u128, factor: u128) -> Option<String> {
    let (whole, rest) = (amount / factor, amount % factor);
    let scaled = rest * 1000;
    if scaled % factor != 0 {
        return None;
    }
    let fraction = format!(".{:03}", scaled / factor);
    Some(format!("{whole}{}", fraction.trim_end_matches('0').trim_end_matches('.')))
}

/// A decimal number held exactly: `digits / 10^decimals`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    digits: u128,
    decimals: u32,
}

/// Why a decimal number could not be read or scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NotANumber,
    TooLarge,
    Inexact,
}

impl Fault {
    /// What is wrong with `text`, of which `example` would be a right form.
    pub(crate) fn explain(self, text: &str, example: &str, too_large: &str) -> String {
        match self {
            Self::TooLarge => too_large.to_owned(),
            _ if text.is_empty() => format!("is empty; write for example {example}"),
            _ if text.starts_with('-') => {
                format!("is negative; write a number from 0 up, for example {example}")
            }
            _ => format!("does not start with a plain number; write for example {example}"),
        }
    }
}

impl Decimal {
    /// Reads digits, with at most one point between them.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(fraction) {
            return Err(Fault::NotANumber);
        }
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("{whole}{fraction}").parse().map_err(|_| Fault::TooLarge)?;
        let decimals = u32::try_from(fraction.len()).map_err(|_| Fault::TooLarge)?;
        Ok(Self { digits, decimals })
    }

    /// The number times `factor`, if that is whole.
    pub(crate) fn times(&self, factor: u128) -> Result<u128, Fault> {
        let scaled = self.digits.checked_mul(factor).ok_or(Fault::TooLarge)?;
        let divisor = 10_u128.checked_pow(self.decimals).ok_or(Fault::Inexact)?;
        if scaled % divisor == 0 { Ok(scaled / divisor) } else { Err(Fault::Inexact) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem<T: fmt::Debug>(result: Result<T, ParseUnitError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("100B", 100),
            ("0B", 0),
            ("512KiB", 512 << 10),
            ("512k", 512 << 10),
            ("256MiB", 256 << 20),
            ("256M", 256 << 20),
            ("256m", 256 << 20),
            ("1G", 1 << 30),
            ("1GiB", 1 << 30),
            ("1gib", 1 << 30),
            ("1.5GiB", 3 << 29),
            ("1.50GiB", 3 << 29),
            ("2TiB", 2 << 40),
            ("18446744073709551615B", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn every_wrong_size_has_its_own_message() {
        for (text, message) in [
            ("100", r#""100" has no unit; write 100MiB or 100B"#),
            ("0", r#""0" has no unit; write for example 256MiB, or unlimited"#),
            ("", r#""" is empty; write for example 256MiB"#),
            ("-1MiB", r#""-1MiB" is negative; write a number from 0 up, for example 256MiB"#),
            ("MiB", r#""MiB" does not start with a plain number; write for example 256MiB"#),
            ("1.MiB", r#""1.MiB" does not start with a plain number; write for example 256MiB"#),
            ("1.2.3B", r#""1.2.3B" does not start with a plain number; write for example 256MiB"#),
            (" 1B", r#"" 1B" does not start with a plain number; write for example 256MiB"#),
            ("1 MiB", r#""1 MiB" has the unknown unit " MiB"; known are B, KiB, MiB, GiB, TiB"#),
            ("1e3B", r#""1e3B" has the unknown unit "e3B"; known are B, KiB, MiB, GiB, TiB"#),
            ("7Zi", r#""7Zi" has the unknown unit "Zi"; known are B, KiB, MiB, GiB, TiB"#),
            ("0.3KiB", r#""0.3KiB" is not a whole number of bytes; write it in a smaller unit"#),
            (
                "5MB",
                "\"5MB\" has the unit MB, which counts thousands to some and 1024s to others; \
                 write 5MiB",
            ),
        ] {
            assert_eq!(problem(text.parse::<ByteSize>()), message);
        }
    }

    #[test]
    fn a_size_that_does_not_fit_is_refused() {
        let long = format!("{}B", "9".repeat(50));
        for text in ["16777216TiB", "18446744073709551616B", &long] {
            assert!(problem(text.parse::<ByteSize>()).contains("is too large"), "{text}");
        }
        let precise = format!("1.{}1KiB", "0".repeat(60));
        assert!(precise.parse::<ByteSize>().is_err());
    }

    #[test]
    fn sizes_are_shown_in_the_shortest_exact_form() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (1000, "1000B"),
            (1024, "1KiB"),
            (512 << 10, "512KiB"),
            (256 << 20, "256MiB"),
            (1536 << 20, "1.5GiB"),
            ((256 << 20) + 1, "268435457B"),
            (u64::MAX, "18446744073709551615B"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn sizes_and_times_are_read_back() {
        for shift in 0..64 {
            for near in [0, 1, 3, 1000] {
                let value = (1_u64 << shift).wrapping_add(near).wrapping_mul(near.max(1));
                let size = ByteSize(value);
                assert_eq!(size.to_string().parse(), Ok(size));
                for time in [Duration::from_nanos(value), Duration::from_millis(value)] {
                    assert_eq!(parse_duration(&format_duration(time)), Ok(time));
                }
            }
        }
        assert_eq!(parse_duration(&format_duration(Duration::MAX)), Ok(Duration::MAX));
    }

    #[test]
    fn times_are_read() {
        for (text, time) in [
            ("7ns", Duration::from_nanos(7)),
            ("250us", Duration::from_micros(250)),
            ("250\u{b5}s", Duration::from_micros(250)),
            ("250ms", Duration::from_millis(250)),
            ("1.5s", Duration::from_millis(1500)),
            ("2m", Duration::from_secs(120)),
            ("0.5h", Duration::from_secs(1800)),
            ("1h", Duration::from_secs(3600)),
        ] {
            assert_eq!(parse_duration(text), Ok(time), "{text}");
        }
    }

    #[test]
    fn every_wrong_time_has_its_own_message() {
        for (text, message) in [
            ("10", r#""10" has no unit; write 10s or 10ms"#),
            ("0", r#""0" has no unit; write for example 10s, or unlimited"#),
            ("", r#""" is empty; write for example 10s"#),
            ("-1s", r#""-1s" is negative; write a number from 0 up, for example 10s"#),
            ("1d", r#""1d" has the unknown unit "d"; known are ns, us, ms, s, m, h"#),
            ("1M", r#""1M" has the unknown unit "M"; known are ns, us, ms, s, m, h"#),
            ("1m30s", r#""1m30s" has the unknown unit "m30s"; known are ns, us, ms, s, m, h"#),
            (
                "0.5ns",
                r#""0.5ns" is not a whole number of nanoseconds; write it in a smaller unit"#,
            ),
            (
                "99999999999999999999s",
                r#""99999999999999999999s" is too large; at most 18446744073709551615s can be counted"#,
            ),
        ] {
            assert_eq!(problem(parse_duration(text)), message);
        }
    }

    #[test]
    fn times_are_shown_in_the_shortest_exact_form() {
        for (time, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_millis(250), "250ms"),
            (Duration::from_millis(1500), "1.5s"),
            (Duration::from_secs(10), "10s"),
            (Duration::from_secs(90), "90s"),
            (Duration::from_secs(120), "2m"),
            (Duration::from_secs(3600), "1h"),
        ] {
            assert_eq!(format_duration(time), text);
        }
    }
}
