//! Bytes on their way: counted, summed, decompressed, and stopped when there are too many.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::{Digest as _, Sha256};

/// A reader that knows the digest of what it has read.
pub(super) struct Summed<R> {
    inner: R,
    sum: Sha256,
}

impl<R: Read> Summed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, sum: Sha256::new() }
    }

    /// Reads to the end, and returns the digest of everything: `sha256:` and 64 digits.
    pub(super) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(name_of(&self.sum.finalize()))
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sum.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// The name of some bytes by their digest.
pub(super) fn digest(bytes: &[u8]) -> String {
    name_of(&Sha256::digest(bytes))
}

fn name_of(sum: &[u8]) -> String {
    let digits: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// What is in a compressed stream, told by how it begins.
pub(super) enum Plain<R: Read> {
    Stored(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(Box<Zstd<BufReader<R>>>),
}

impl<R: Read> Plain<R> {
    pub(super) fn of(inner: R) -> io::Result<Self> {
        use io::BufRead;
        let mut inner = BufReader::with_capacity(64 << 10, inner);
        let start = inner.fill_buf()?;
        Ok(if start.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip(Box::new(MultiGzDecoder::new(inner)))
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd(Box::new(Zstd::new(inner)))
        } else {
            Self::Stored(inner)
        })
    }

    /// The compressed stream, to be read to its end.
    pub(super) fn into_inner(self) -> BufReader<R> {
        match self {
            Self::Stored(inner) => inner,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.inner,
        }
    }
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stored(inner) => inner.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Zstandard frames one after another; the decoder only knows one.
pub(super) struct Zstd<R> {
    inner: R,
    decoder: FrameDecoder,
    within: bool,
}

/// How much is unpacked at a time.
const CHUNK: usize = 128 << 10;

impl<R: io::BufRead> Zstd<R> {
    fn new(inner: R) -> Self {
        Self { inner, decoder: FrameDecoder::new(), within: false }
    }

    /// Begins a frame, or skips one that is only a comment; false at the end of the stream.
    fn begin(&mut self) -> io::Result<bool> {
        if self.inner.fill_buf()?.is_empty() {
            return Ok(false);
        }
        match self.decoder.init(&mut self.inner) {
            Ok(()) => self.within = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                io::copy(&mut self.inner.by_ref().take(length.into()), &mut io::sink())?;
            }
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
        Ok(true)
    }

    fn within(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
            let chunk = BlockDecodingStrategy::UptoBytes(CHUNK);
            let decoded = self.decoder.decode_blocks(&mut self.inner, chunk);
            decoded.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        self.decoder.read(buffer)
    }
}

impl<R: io::BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.within {
                match self.within(buffer)? {
                    0 => self.within = false,
                    read => return Ok(read),
                }
            } else if !self.begin()? {
                return Ok(0);
            }
        }
    }
}

/// A reader that stops when a stream becomes larger than it may.
pub(super) struct Capped<'a, R> {
    inner: R,
    /// What is left for all streams together.
    left: &'a mut u64,
}

impl<'a, R> Capped<'a, R> {
    pub(super) fn new(inner: R, left: &'a mut u64) -> Self {
        Self { inner, left }
    }
}

impl<R: Read> Read for Capped<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        *self.left = left.ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, TooMuch))?;
        Ok(read)
    }
}

/// The cause when a stream is larger than it may be.
#[derive(Debug, thiserror::Error)]
#[error("unpacks to more bytes than the limits of size or ratio allow")]
pub(super) struct TooMuch;
