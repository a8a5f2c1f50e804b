//! The streams of a container, as an engine carries both outputs over one connection.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::MemfdFlags;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::order::SEAL;
use crate::stream::{Descriptor, Over};

const STDERR: u8 = 2;
/// What the engine itself has to say of a stream that failed.
const FAILED: u8 = 3;

/// No frame of an engine is longer than what it read at once: 32 KiB.
const LONGEST: usize = 16 << 20;

/// Frames of both outputs: a byte that says which, three of nothing, the length, the bytes.
#[derive(Debug)]
pub(super) struct Frames<R>(pub(super) R);

impl<R: AsyncRead + Unpin> Frames<R> {
    /// The next piece, and whether it is of standard error; none at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<(bool, Vec<u8>)>> {
        let mut head = [0; 8];
        let read = match self.0.read(&mut head).await {
            // So ends a connection on which the engine left some of our input unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            read => read?,
        };
        if read == 0 {
            return Ok(None);
        }
        let (_, rest) = head.split_at_mut(read);
        self.0.read_exact(rest).await?;
        let [stream, _, _, _, length @ ..] = head;
        let len = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
        if len > LONGEST {
            return Err(io::Error::other("a frame of the engine is too long"));
        }
        let mut piece = vec![0; len];
        self.0.read_exact(&mut piece).await?;
        if stream == FAILED {
            let said = format!("the engine says: {}", String::from_utf8_lossy(&piece).trim());
            return Err(io::Error::other(said));
        }
        Ok(Some((stream == STDERR, piece)))
    }
}

/// Finds the seal in a stream that comes in pieces.
#[derive(Debug)]
pub(super) struct Scanner {
    seal: [u8; SEAL],
    held: Vec<u8>,
}

impl Scanner {
    pub(super) const fn new(seal: [u8; SEAL]) -> Self {
        Self { seal, held: Vec::new() }
    }

    /// What is the program's of everything so far; and, if the seal is there, what follows it. What
    /// may be the beginning of the seal is held back.
    pub(super) fn push(&mut self, piece: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
        self.held.extend_from_slice(piece);
        let whole = self.held.windows(SEAL).position(|window| window == self.seal);
        if let Some(at) = whole {
            let rest = self.held.split_off(at + SEAL);
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), Some(rest));
        }
        let longest = self.held.len().min(SEAL - 1);
        let begun = (1..=longest).rev().find(|&len| self.held.ends_with(&self.seal[..len]));
        let held = self.held.split_off(self.held.len() - begun.unwrap_or(0));
        (std::mem::replace(&mut self.held, held), None)
    }

    /// What was held back when the stream has ended.
    fn rest(self) -> Vec<u8> {
        self.held
    }
}

/// A new seal. It begins with a byte that no text has, so that what people read is not held back.
pub(super) fn seal() -> io::Result<[u8; SEAL]> {
    let mut seal = random()?;
    seal[0] = 0xff;
    Ok(seal)
}

/// Random bytes, for a key.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if got < N {
        return Err(io::Error::other("the kernel gave too few random bytes"));
    }
    Ok(bytes)
}

/// Where outputs go.
#[derive(Debug)]
pub(super) struct Outputs {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// How the last words begin, and how many bytes they have at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    pub(super) seal: [u8; SEAL],
    pub(super) most: u64,
}

/// Carries both outputs to the supervisor, until the connection ends; gives what came behind the
/// seal. An output that nobody takes any more is dropped, for what matters comes last. When more comes
/// than the init has to say, it is not the init that says it.
pub(super) async fn outputs(
    mut frames: Frames<impl AsyncRead + Unpin>,
    to: Outputs,
    words: Words,
    sealed: Arc<AtomicBool>,
) -> io::Result<Option<File>> {
    let mut to = [Some(near(to.stdout)?), Some(near(to.stderr)?)];
    let mut scanner = Scanner::new(words.seal);
    let mut behind: Option<File> = None;
    let mut left = words.most;
    let broken = loop {
        let (is_stderr, piece) = match frames.next().await {
            Ok(Some(next)) => next,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        if is_stderr {
            write(&mut to[1], &piece).await;
        } else if let Some(behind) = &mut behind {
            let len = piece.len() as u64;
            if len > left {
                break None;
            }
            left -= len;
            behind.write_all(&piece)?;
        } else {
            let (output, rest) = scanner.push(&piece);
            write(&mut to[0], &output).await;
            if let Some(rest) = rest {
                sealed.store(true, Ordering::Relaxed);
                let mut spool = spool()?;
                spool.write_all(&rest)?;
                behind = Some(spool);
            }
        }
    };
    write(&mut to[0], &scanner.rest()).await;
    let broke = |error: io::Error| format!("the connection to the engine broke: {error}");
    broken.map_or(Ok(behind), |error| Err(io::Error::other(broke(error))))
}

/// Room for what comes behind the seal: memory, because a disk may be full.
fn spool() -> io::Result<File> {
    Ok(rustix::fs::memfd_create("fumehood-collected", MemfdFlags::CLOEXEC)?.into())
}

async fn write(to: &mut Option<Descriptor>, piece: &[u8]) {
    if let Some(end) = to
        && end.write(piece).await.is_err()
    {
        *to = None;
    }
}

/// One of our own pipes, as its far end has it.
pub(super) fn near(fd: OwnedFd) -> io::Result<Descriptor> {
    // An empty input is no pipe but /dev/null, which has no such mode and never blocks.
    let _ = rustix::io::ioctl_fionbio(&fd, true);
    Descriptor::new(fd)
}

/// Carries the program's standard input to it, and its end.
pub(super) async fn input(from: OwnedFd, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let from = near(from)?;
    let mut read = Vec::with_capacity(64 << 10);
    // Into the room that is left, so what was written makes way.
    while from.read(&mut read, &Over::default()).await? > 0 {
        to.write_all(&read).await?;
        read.clear();
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(pieces: &[&[u8]]) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut seal = [7; SEAL];
        seal[0] = 0xff;
        let mut scanner = Scanner::new(seal);
        let (mut output, mut behind) = (Vec::new(), None);
        for piece in pieces {
            match &mut behind {
                None => {
                    let (more, rest) = scanner.push(piece);
                    output.extend(more);
                    behind = rest;
                }
                Some(behind) => Vec::extend(behind, piece.iter()),
            }
        }
        output.extend(scanner.rest());
        (output, behind)
    }

    #[test]
    fn the_seal_is_found_wherever_it_is_cut() {
        let mut seal = [7; SEAL];
        seal[0] = 0xff;
        let whole = [b"out\xff\x07put\xff".as_slice(), &seal, b"behind"].concat();
        for cut in 0..whole.len() {
            let (one, other) = whole.split_at(cut);
            let (output, behind) = scan(&[one, other]);
            assert_eq!(output, b"out\xff\x07put\xff", "{cut}");
            assert_eq!(behind.unwrap(), b"behind", "{cut}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(scan(&bytes).1.unwrap(), b"behind");
    }

    #[test]
    fn without_a_seal_everything_is_output() {
        let (output, behind) = scan(&[b"a\xff", b"\x07\x07", b"b\xff\x07"]);
        assert_eq!((output.as_slice(), behind), (b"a\xff\x07\x07b\xff\x07".as_slice(), None));
    }

    /// A program in another container can have this end of the pipe, and never stop.
    #[tokio::test]
    async fn no_more_is_kept_than_an_init_says() {
        let frame = |bytes: &[u8]| {
            let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            [&[1, 0, 0, 0], len.as_slice(), bytes].concat()
        };
        let more = frame(&[b'x'; 1000]).repeat(100);
        let bytes = [frame(&[7; SEAL]), frame(b"said"), more].concat();
        let ((_out, stdout), (_err, stderr)) =
            (rustix::pipe::pipe().unwrap(), rustix::pipe::pipe().unwrap());
        let words = Words { seal: [7; SEAL], most: 2500 };
        let to = Outputs { stdout, stderr };
        let behind = outputs(Frames(bytes.as_slice()), to, words, Arc::default()).await.unwrap();
        assert_eq!(behind.unwrap().metadata().unwrap().len(), 2004);
    }

    #[tokio::test]
    async fn an_output_that_is_cut_off_is_an_error() {
        let whole = [&[1, 0, 0, 0, 0, 0, 0, 32][..], &[7; SEAL], &[2, 0, 0, 0, 0, 0, 0, 2], b"ab"];
        let whole = whole.concat();
        for (len, is_whole) in
            [(whole.len(), true), (40, true), (whole.len() - 1, false), (44, false)]
        {
            let ((_out, stdout), (_err, stderr)) =
                (rustix::pipe::pipe().unwrap(), rustix::pipe::pipe().unwrap());
            let words = Words { seal: [7; SEAL], most: 100 };
            let frames = Frames(&whole[..len]);
            let ended = outputs(frames, Outputs { stdout, stderr }, words, Arc::default()).await;
            assert_eq!(ended.is_ok(), is_whole, "{len}");
        }
    }

    #[tokio::test]
    async fn frames_are_told_apart() {
        let bytes =
            [&[1, 0, 0, 0, 0, 0, 0, 2][..], b"ab", &[2, 0, 0, 0, 0, 0, 0, 1], b"c"].concat();
        let mut frames = Frames(bytes.as_slice());
        assert_eq!(frames.next().await.unwrap(), Some((false, b"ab".to_vec())));
        assert_eq!(frames.next().await.unwrap(), Some((true, b"c".to_vec())));
        assert_eq!(frames.next().await.unwrap(), None);
        let mut broken = Frames(&bytes[..9]);
        assert!(broken.next().await.is_err());
        let mut failed = Frames(&[3, 0, 0, 0, 0, 0, 0, 2, b'n', b'o'][..]);
        let error = failed.next().await.unwrap_err();
        assert_eq!(error.to_string(), "the engine says: no");
    }
}
