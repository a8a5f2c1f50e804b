//! A line of Go's `log` package, which is how the protocol says that a program could not be started.

use std::time::{SystemTime, UNIX_EPOCH};

/// What the playground's helper writes when the kernel does not execute what it was sent.
pub(super) fn not_started(reason: &str, now: SystemTime) -> Vec<u8> {
    let stamp = stamp(now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    format!("{stamp} cmd.Start(): fork/exec {}: {reason}\n", super::job::PROGRAM).into_bytes()
}

/// `2009/11/10 23:00:00`, in universal time, as in a container without a time zone.
fn stamp(unix: u64) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let (year, month, day) = date(unix / DAY);
    let second = unix % DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// The Gregorian date of a day since 1970-01-01.
fn date(mut days: u64) -> (u64, usize, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_go_writes_them() {
        for (unix, wanted) in [
            (0, "1970/01/01 00:00:00"),
            (951_782_400, "2000/02/29 00:00:00"),
            (1_257_894_000, "2009/11/10 23:00:00"),
            (1_735_689_599, "2024/12/31 23:59:59"),
            (1_735_689_600, "2025/01/01 00:00:00"),
            (4_107_542_399, "2100/02/28 23:59:59"),
            (4_107_542_400, "2100/03/01 00:00:00"),
        ] {
            assert_eq!(stamp(unix), wanted);
        }
    }

    #[test]
    fn the_line_names_the_program() {
        let line = not_started("exec format error", UNIX_EPOCH);
        let wanted = b"1970/01/01 00:00:00 cmd.Start(): fork/exec /tmpfs/play: exec format error\n";
        assert_eq!(line, wanted);
    }
}
