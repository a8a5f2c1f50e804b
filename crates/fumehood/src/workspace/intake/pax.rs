//! Extended headers (POSIX `pax`): what a header block has no room for.

/// The records that change what is unpacked. All others are of no effect here: owners, access
/// times, attributes, comments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<i64>,
    pub(super) sparse: bool,
}

impl Pax {
    /// Reads records of the form `LENGTH KEY=VALUE\n`, the length that of the whole record.
    ///
    /// # Errors
    /// What is wrong, for a sentence that starts with "the archive".
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, String> {
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) =
                record(bytes).ok_or("has an extended header that cannot be read")?;
            pax.take(key, value)?;
            bytes = rest;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        // Of two records with one key readers take the first or the last.
        let twice = match key {
            b"path" => self.path.replace(value.to_vec()).is_some(),
            b"linkpath" => self.link.replace(value.to_vec()).is_some(),
            b"size" => {
                let size =
                    decimal(value).ok_or("has an extended header whose size is no number")?;
                self.size.replace(size).is_some()
            }
            b"mtime" => {
                self.modified = Some(seconds(value).ok_or("has a time that is no number")?);
                false
            }
            _ => {
                self.sparse |= key.starts_with(b"GNU.sparse.");
                false
            }
        };
        if twice {
            let key = key.escape_ascii();
            return Err(format!("has an extended header that says {key} twice"));
        }
        Ok(())
    }

    /// Whether it says anything that belongs to one entry only.
    pub(super) fn is_of_one_entry(&self) -> bool {
        self.path.is_some() || self.link.is_some() || self.size.is_some() || self.sparse
    }
}

/// Key and value of the first record, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let len = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let (record, rest) = bytes.split_at_checked(len)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], rest))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Whole seconds of a time that may have a fraction and a sign.
fn seconds(text: &[u8]) -> Option<i64> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let whole = text.split(|&byte| byte == b'.').next()?;
    let whole = i64::try_from(decimal(whole)?).ok()?;
    Some(if negative { -whole } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let pax = Pax::parse(b"12 path=a/b\n9 size=7\n21 mtime=1234.500000\n6 x=y\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!((pax.size, pax.modified, pax.sparse), (Some(7), Some(1234), false));
        // A value may hold line breaks and equals signs; the length decides.
        assert_eq!(Pax::parse(b"15 path=a=\nb=c\n").unwrap().path.unwrap(), b"a=\nb=c");
        assert!(Pax::parse(b"25 GNU.sparse.realsize=9\n").unwrap().sparse);
    }

    #[test]
    fn records_that_lie_are_refused() {
        for bad in [
            &b"11 path=a/b\n"[..],
            b"13 path=a/b\n",
            b"99999999999999999999 path=a\n",
            b"path=a\n",
            b"11 size=-7\n",
            b"9 size=7\n9 size=8\n",
            b"0 \n",
            b"5 abc",
        ] {
            assert!(Pax::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
