//! The header block of a tar entry (`tar(5)`, POSIX `pax`).

/// Length of a block.
pub(super) const BLOCK: usize = 512;

/// What a header block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) modified: i64,
    pub(super) kind: u8,
    pub(super) link: Vec<u8>,
}

/// Where a block holds what.
mod field {
    use std::ops::Range;

    pub(super) const NAME: Range<usize> = 0..100;
    pub(super) const MODE: Range<usize> = 100..108;
    pub(super) const SIZE: Range<usize> = 124..136;
    pub(super) const MTIME: Range<usize> = 136..148;
    pub(super) const CHECKSUM: Range<usize> = 148..156;
    pub(super) const KIND: usize = 156;
    pub(super) const LINK: Range<usize> = 157..257;
    pub(super) const MAGIC: Range<usize> = 257..265;
    pub(super) const PREFIX: Range<usize> = 345..500;
}

impl Header {
    /// Reads a block.
    ///
    /// # Errors
    /// What is wrong with it, for a sentence that starts with "the archive".
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, String> {
        if !checksum_fits(block) {
            return Err(
                "is no tar archive, or damaged: a header's checksum does not fit".to_owned()
            );
        }
        let number = |range, name| {
            number(&block[range]).ok_or_else(|| format!("has a header whose {name} is no number"))
        };
        let size = number(field::SIZE, "size")?;
        let mode = number(field::MODE, "mode")?;
        Ok(Self {
            name: full_name(block),
            mode: u32::try_from(mode & 0o7777).unwrap_or(0),
            size: u64::try_from(size)
                .map_err(|_| "has a header with a negative size".to_owned())?,
            modified: number(field::MTIME, "time")?,
            kind: block[field::KIND],
            link: text(&block[field::LINK]).to_vec(),
        })
    }
}

/// The name with its prefix. Only POSIX has one; GNU keeps other things there.
fn full_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&block[field::NAME]);
    let prefix = text(&block[field::PREFIX]);
    if block[field::MAGIC].starts_with(b"ustar\0") && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}

/// The sum of all bytes, those of the sum itself taken for spaces. Some old writers took bytes for
/// signed.
fn checksum_fits(block: &[u8; BLOCK]) -> bool {
    let Some(said) = number(&block[field::CHECKSUM]) else { return false };
    let bytes = block.iter().enumerate();
    let bytes = bytes.map(|(at, &byte)| if field::CHECKSUM.contains(&at) { b' ' } else { byte });
    let unsigned: i64 = bytes.clone().map(i64::from).sum();
    let signed: i64 = bytes.map(|byte| i64::from(byte.cast_signed())).sum();
    said == unsigned || said == signed
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or(&[])
}

/// Octal digits between spaces and NULs, or, marked by its first bit, a number to the base 256.
fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(0x80 | 0xff) => base_256(field),
        _ => octal(field),
    }
}

fn base_256(field: &[u8]) -> Option<i64> {
    let negative = field.first() == Some(&0xff);
    let fill = if negative { 0xff } else { 0 };
    let (high, low) = field.split_at_checked(field.len().checked_sub(8)?)?;
    if high.iter().skip(1).any(|&byte| byte != fill) {
        return None;
    }
    let number = i64::from_be_bytes(low.try_into().ok()?);
    // The sign bit must say the same as the mark.
    (number.is_negative() == negative).then_some(number)
}

fn octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = field.get(start..)?;
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(end)?;
    if !rest.iter().all(blank) {
        return None;
    }
    digits.iter().try_fold(0i64, |sum, byte| match byte {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_marked() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"77777777"), Some(0o77_777_777));
        for bad in [&b"000 644\0"[..], b"0x10\0\0\0\0", b"-1\0\0\0\0\0\0", b"8\0\0\0\0\0\0\0"] {
            assert_eq!(number(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Some(-1));
        assert_eq!(number(b"\x80\0\0\0\xff\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"\x80\x01\0\0\0\0\0\0\0\0\x01\0"), None);
    }
}
