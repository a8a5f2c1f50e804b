//! What process 1 writes down in the end: a line of words in ASCII, a space between any two.

/// Longest token that is taken.
pub(super) const LONGEST_TOKEN: usize = 64;
const LONGEST: usize = 256;

/// A record that is being written.
pub(super) struct Record {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Record {
    /// One that begins with the word that proves who wrote.
    pub(super) fn new(token: &[u8]) -> Self {
        let mut record = Self { bytes: [0; LONGEST], len: 0 };
        token.iter().for_each(|byte| record.push(*byte));
        record
    }

    /// One word more.
    pub(super) fn number(&mut self, number: u64) {
        self.push(b' ');
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

    /// The end of the line, behind which nothing counts.
    pub(super) fn end(&mut self) {
        self.push(b'\n');
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

    #[test]
    fn a_record_is_words() {
        let mut record = Record::new(b"secret");
        [0, 7, 10, 9999, u64::MAX].into_iter().for_each(|number| record.number(number));
        record.end();
        let text = std::str::from_utf8(record.bytes()).unwrap();
        assert_eq!(text, format!("secret 0 7 10 9999 {}\n", u64::MAX));
    }

    #[test]
    fn seven_numbers_of_any_size_fit() {
        let mut record = Record::new(&[b'a'; LONGEST_TOKEN]);
        (0..7).for_each(|_| record.number(u64::MAX));
        record.end();
        assert!(record.bytes().ends_with(b"615\n"), "{:?}", record.bytes());
    }
}
