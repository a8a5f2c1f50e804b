//! What an archive is compressed by, and how much it may grow.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::fill;
use crate::job::files::InputLimits;

/// How much an archive may grow by before its ratio is looked at: small files compress well.
const FREE: u64 = 16 << 20;

/// Bytes of an archive besides its files: headers and padding for each entry, the end.
const PER_ENTRY: u64 = 4096;
const AROUND: u64 = 1 << 20;

const CHUNK: usize = 64 << 10;

/// Magic numbers of formats that are known but not read.
const FOREIGN: [(&[u8], &str); 5] = [
    (b"\xfd7zXZ\0", "is compressed by xz"),
    (b"BZh", "is compressed by bzip2"),
    (b"\x1f\x9d", "is compressed by compress"),
    (b"LZIP", "is compressed by lzip"),
    (b"PK\x03\x04", "is a zip archive"),
];

/// The plain archive behind a source, by its first bytes.
///
/// # Errors
/// An error of the source; `Unsupported` for a format that is known but not read.
pub(super) fn open<'a>(
    mut source: impl Read + 'a,
    limits: InputLimits,
) -> io::Result<Guard<Box<dyn Read + 'a>>> {
    let mut magic = [0; 6];
    let len = fill(&mut source, &mut magic)?;
    let magic = &magic[..len];
    if let Some((_, what)) = FOREIGN.iter().find(|(number, _)| magic.starts_with(number)) {
        let problem = format!("{what}, which is not read; use gzip, Zstandard or a plain tar");
        return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
    }
    let taken = Rc::new(Cell::new(0));
    let whole = Cursor::new(magic.to_vec()).chain(source);
    let source = Counted { inner: whole, taken: Rc::clone(&taken) };
    let source = BufReader::with_capacity(CHUNK, source);
    let plain: Box<dyn Read> = if magic.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(CHUNK, MultiGzDecoder::new(source)))
    } else if is_zstd(magic) {
        Box::new(BufReader::with_capacity(CHUNK, zstd(source)?))
    } else {
        Box::new(source)
    };
    let most = limits.entries.saturating_mul(PER_ENTRY).saturating_add(AROUND);
    let most = limits.size.0.saturating_add(most);
    Ok(Guard { inner: plain, taken, given: 0, ratio: limits.ratio.into(), most })
}

/// A frame, or one that is to be skipped (RFC 8878).
fn is_zstd(magic: &[u8]) -> bool {
    magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || (matches!(magic.first(), Some(0x50..=0x5f))
            && magic[1..].starts_with(&[0x2a, 0x4d, 0x18]))
}

#[cfg(feature = "zstd")]
fn zstd<'a>(source: impl BufRead + 'a) -> io::Result<impl Read + 'a> {
    Ok(Frames { source, decoder: frames::decoder(), inside: false })
}

#[cfg(not(feature = "zstd"))]
fn zstd<'a>(_: impl BufRead + 'a) -> io::Result<impl Read + 'a> {
    let problem = "is compressed by Zstandard, which this build does not read";
    Err::<io::Empty, _>(io::Error::new(io::ErrorKind::Unsupported, problem))
}

struct Counted<R> {
    inner: R,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.taken.set(self.taken.get() + len as u64);
        Ok(len)
    }
}

/// Holds an archive to its limits while it is read.
pub(super) struct Guard<R> {
    inner: R,
    taken: Rc<Cell<u64>>,
    given: u64,
    ratio: u64,
    most: u64,
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.given += len as u64;
        let taken = self.taken.get();
        // A stream of frames with nothing in them grows the other way.
        if self.given.max(taken) > self.most {
            let most = self.most;
            return Err(io::Error::other(format!(
                "the archive has more than {most} bytes, more than the limits of the inputs allow"
            )));
        }
        if self.given > FREE && self.given / self.ratio > taken {
            let ratio = self.ratio;
            return Err(io::Error::other(format!(
                "the archive grows by more than input_limits.ratio, {ratio}"
            )));
        }
        Ok(len)
    }
}

#[cfg(feature = "zstd")]
use frames::Frames;

#[cfg(feature = "zstd")]
mod frames {
    use super::*;
    use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

    /// How much of what was decoded is kept to refer back to. RFC 8878 asks of decoders that they
    /// take 8 MiB, which is what the levels up to 19 use.
    const WINDOW: u64 = 8 << 20;

    pub(super) fn decoder() -> FrameDecoder {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW);
        decoder
    }

    /// A sequence of frames, as parallel compressors write it.
    pub(super) struct Frames<R> {
        pub(super) source: R,
        pub(super) decoder: FrameDecoder,
        pub(super) inside: bool,
    }

    impl<R: BufRead> Frames<R> {
        /// Starts the next frame; false at the end of the source.
        fn next(&mut self) -> io::Result<bool> {
            while !self.source.fill_buf()?.is_empty() {
                match self.decoder.init(&mut self.source) {
                    Ok(()) => {
                        self.inside = true;
                        return Ok(true);
                    }
                    Err(FrameDecoderError::ReadFrameHeaderError(
                        ReadFrameHeaderError::SkipFrame { length, .. },
                    )) => skip(&mut self.source, length.into())?,
                    Err(error) => return Err(invalid(&error)),
                }
            }
            Ok(false)
        }

        fn end(&mut self) -> io::Result<()> {
            self.inside = false;
            let said = self.decoder.get_checksum_from_data();
            if said.is_some() && said != self.decoder.get_calculated_checksum() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a checksum does not fit"));
            }
            Ok(())
        }
    }

    fn skip(source: &mut impl Read, length: u64) -> io::Result<()> {
        let skipped = io::copy(&mut source.take(length), &mut io::sink())?;
        if skipped < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn invalid(error: &FrameDecoderError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("Zstandard: {error}"))
    }

    impl<R: BufRead> Read for Frames<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if buffer.is_empty() {
                return Ok(0);
            }
            loop {
                if !self.inside && !self.next()? {
                    return Ok(0);
                }
                while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                    let some = BlockDecodingStrategy::UptoBlocks(1);
                    let decoded = self.decoder.decode_blocks(&mut self.source, some);
                    decoded.map_err(|error| invalid(&error))?;
                }
                match self.decoder.read(buffer)? {
                    0 => self.end()?,
                    len => return Ok(len),
                }
            }
        }
    }
}
