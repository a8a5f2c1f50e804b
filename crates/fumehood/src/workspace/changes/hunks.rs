//! Where two texts differ, line by line, in the unified format of `diff -u`.

use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

use similar::algorithms::{Capture, Compact, IdentifyDistinct, Replace, myers};
use similar::{DiffOp, DiffTag, group_diff_ops};

/// Lines around a change.
const CONTEXT: usize = 3;
/// How long the lines of one file may be compared; what comes of it then is right, but longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes the hunks that make one text the other, below the names of both. Nothing if they are the
/// same.
pub(super) fn write(
    out: &mut dyn Write,
    [old, new]: [&str; 2],
    [before, after]: [&[u8]; 2],
) -> io::Result<()> {
    let [before, after] = [lines(before), lines(after)];
    let hunks = group_diff_ops(compare(&before, &after), CONTEXT);
    if !hunks.is_empty() {
        writeln!(out, "--- {old}\n+++ {new}")?;
    }
    hunks.iter().try_for_each(|hunk| write_hunk(out, hunk, &before, &after))
}

/// With their ends, which the last may lack.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|&byte| byte == b'\n').collect()
}

fn compare(before: &[&[u8]], after: &[&[u8]]) -> Vec<DiffOp> {
    // Numbers are compared faster than lines.
    let lines = IdentifyDistinct::<u32>::new(before, 0..before.len(), after, 0..after.len());
    let (old, new) = (lines.old_lookup(), lines.new_lookup());
    let mut found = Compact::new(Replace::new(Capture::new()), old, new);
    let deadline = Some(Instant::now() + PATIENCE);
    match myers::diff_deadline(&mut found, old, lines.old_range(), new, lines.new_range(), deadline)
    {
        Ok(()) => found.into_inner().into_inner().into_ops(),
        Err(never) => match never {},
    }
}

fn write_hunk(
    out: &mut dyn Write,
    hunk: &[DiffOp],
    before: &[&[u8]],
    after: &[&[u8]],
) -> io::Result<()> {
    let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { return Ok(()) };
    let old = first.old_range().start..last.old_range().end;
    let new = first.new_range().start..last.new_range().end;
    writeln!(out, "@@ -{} +{} @@", Place(old), Place(new))?;
    for op in hunk {
        let (tag, old, new) = op.as_tag_tuple();
        let (old, new) = (before.get(old).unwrap_or(&[]), after.get(new).unwrap_or(&[]));
        match tag {
            DiffTag::Equal => write_lines(out, ' ', old)?,
            _ => {
                write_lines(out, '-', old)?;
                write_lines(out, '+', new)?;
            }
        }
    }
    Ok(())
}

fn write_lines(out: &mut dyn Write, mark: char, lines: &[&[u8]]) -> io::Result<()> {
    lines.iter().try_for_each(|line| {
        write!(out, "{mark}")?;
        out.write_all(line)?;
        if line.ends_with(b"\n") { Ok(()) } else { writeln!(out, "\n\\ No newline at end of file") }
    })
}

/// First line, counted from 1, and how many unless it is one. None begin after the line before.
struct Place(Range<usize>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            0 => write!(f, "{},0", self.0.start),
            1 => write!(f, "{}", self.0.start + 1),
            len => write!(f, "{},{len}", self.0.start + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    fn unified(before: &str, after: &str) -> String {
        let mut out = Vec::new();
        super::write(&mut out, ["a", "b"], [before.as_bytes(), after.as_bytes()]).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_same_text_has_no_hunks() {
        assert_eq!(unified("1\n2\n", "1\n2\n"), "");
        assert_eq!(unified("", ""), "");
    }

    #[test]
    fn a_changed_line_has_its_neighbours_around() {
        let before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let expected = "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n";
        assert_eq!(unified(before, &before.replace('5', "five")), expected);
    }

    #[test]
    fn new_and_deleted_files_begin_at_no_line() {
        assert_eq!(unified("", "1\n"), "--- a\n+++ b\n@@ -0,0 +1 @@\n+1\n");
        assert_eq!(unified("1\n2\n", ""), "--- a\n+++ b\n@@ -1,2 +0,0 @@\n-1\n-2\n");
    }

    #[test]
    fn a_missing_end_of_line_is_told() {
        let expected = "--- a\n+++ b\n@@ -1 +1 @@\n-1\n+1\n\\ No newline at end of file\n";
        assert_eq!(unified("1\n", "1"), expected);
    }

    #[test]
    fn only_a_line_feed_ends_a_line() {
        assert_eq!(unified("1\r2\n", "1\r2\r\n"), "--- a\n+++ b\n@@ -1 +1 @@\n-1\r2\n+1\r2\r\n");
    }
}
