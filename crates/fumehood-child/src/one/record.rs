//! What process 1 writes down in the end: a line of words in ASCII, a space between any two.

use super::tag::tag;

/// Longest token that is taken.
pub(super) const LONGEST_TOKEN: usize = 64;
const LONGEST: usize = 256;

/// A record that is being written.
pub(super) struct Record {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Record {
    /// One without words.
    pub(super) const fn new() -> Self {
        Self { bytes: [0; LONGEST], len: 0 }
    }

    /// One word more.
    pub(super) fn number(&mut self, number: u64) {
        if self.len > 0 {
            self.push(b' ');
        }
        // The last digit comes first, and as many as there are.
        let (mut digits, mut rest) = ([0; 20], number);
        let mut used = 0;
        for place in digits.iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
            used += 1;
            if rest == 0 {
                break;
            }
        }
        digits.iter().skip(digits.len() - used).for_each(|digit| self.push(*digit));
    }

    /// The last word, which proves who wrote the others, and the end of the line, behind which nothing counts.
    pub(super) fn end(&mut self, token: &[u8]) -> Option<()> {
        let tag = tag(token, self.bytes())?;
        self.number(tag);
        self.push(b'\n');
        Some(())
    }

    /// What is lost for lack of space is missed by the reader, who counts words.
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    /// All of it.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    const TOKEN: &[u8] = b"00112233445566778899aabbccddeeff";

    #[test]
    fn a_record_is_words_and_their_tag() {
        let mut record = Record::new();
        [0, 7, 10, 9999, u64::MAX].into_iter().for_each(|number| record.number(number));
        record.end(TOKEN).unwrap();
        let text = std::str::from_utf8(record.bytes()).unwrap();
        let words = format!("0 7 10 9999 {}", u64::MAX);
        assert_eq!(text, format!("{words} {}\n", tag(TOKEN, words.as_bytes()).unwrap()));
    }

    #[test]
    fn seven_numbers_of_any_size_fit() {
        let mut record = Record::new();
        (0..7).for_each(|_| record.number(u64::MAX));
        record.end(TOKEN).unwrap();
        assert!(record.bytes().ends_with(b"\n"), "{:?}", record.bytes());
    }
}
