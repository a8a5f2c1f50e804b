//! What proves who wrote a record.

#![expect(deprecated, reason = "keys of one's own are what the hasher that replaced it lacks")]

use core::hash::{Hasher, SipHasher};

/// The number that belongs to a text by a key of 32 hexadecimal digits, SipHash-2-4: nobody without the key
/// finds one for another text. None if it is no such key.
#[must_use]
pub fn tag(key: &[u8], text: &[u8]) -> Option<u64> {
    let (first, second) = key.split_at_checked(16)?;
    let mut hasher = SipHasher::new_with_keys(half(first)?, half(second)?);
    hasher.write(text);
    Some(hasher.finish())
}

fn half(digits: &[u8]) -> Option<u64> {
    let digit = |&digit: &u8| char::from(digit).to_digit(16).map(u64::from);
    let number = |number: u64, next: &u8| Some(number << 4 | digit(next)?);
    (digits.len() == 16).then(|| digits.iter().try_fold(0, number))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"07060504030201000f0e0d0c0b0a0908";

    /// The example of the algorithm's authors (appendix A of "SipHash: a fast short-input PRF").
    #[test]
    fn the_tag_is_that_of_the_algorithm() {
        let text: std::vec::Vec<u8> = (0..15).collect();
        assert_eq!(tag(KEY, &text), Some(0xa129_ca61_49be_45e5));
        assert_ne!(tag(KEY, &text[1..]), tag(KEY, &text));
    }

    #[test]
    fn what_is_no_key_proves_nothing() {
        for key in [
            &b""[..],
            &KEY[1..],
            b"07060504030201000f0e0d0c0b0a090 ",
            b"+7060504030201000f0e0d0c0b0a0908",
        ] {
            assert_eq!(tag(key, b""), None, "{key:?}");
        }
        assert_eq!(tag(&[KEY, b"0"].concat(), b""), None);
    }
}
