//! Connections whose clients take little or nothing, and those whose clients still send at the end.
//!
//! An answer that nobody takes would stay in memory for as long as its client likes. So a client that
//! keeps us waiting must take something, and more than a trickle: else the connection ends.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::sending::Unsent;
use super::unread::Unread;

/// Bytes a second that a client must take if there is more for it: half of what a poor mobile
/// connection does.
const LEAST_RATE: u64 = 16 << 10;

/// How long a client may go on sending what nobody wants, so that it comes to our answer, and how long
/// it may be silent meanwhile.
const LINGER: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(2);

/// A connection whose writes must make progress.
#[derive(Debug)]
pub(crate) struct Progressing<S> {
    inner: S,
    patience: Duration,
    /// Set while a write waits: when it is looked at what was taken since.
    deadline: Option<Pin<Box<Sleep>>>,
    taken: u64,
    unread: Unread,
    unsent: Unsent,
    /// How long [`LINGER`] and [`SILENCE`] are here.
    times: [Duration; 2],
    /// Set when our side is closed: when the other side's is, too, whether it likes to or not.
    end: Option<End>,
}

#[derive(Debug)]
struct End {
    latest: Instant,
    silence: Duration,
    silent: Pin<Box<Sleep>>,
}

impl End {
    fn new([linger, silence]: [Duration; 2]) -> Self {
        let latest = Instant::now() + linger;
        Self { latest, silence, silent: Box::pin(sleep(silence.min(linger))) }
    }

    /// Something came.
    fn extend(&mut self) {
        self.silent.as_mut().reset(self.latest.min(Instant::now() + self.silence));
    }
}

impl<S> Progressing<S> {
    pub(crate) const fn new(inner: S, patience: Duration, unread: Unread, unsent: Unsent) -> Self {
        Self {
            inner,
            patience,
            deadline: None,
            taken: 0,
            unread,
            unsent,
            times: [LINGER, SILENCE],
            end: None,
        }
    }

    /// Counts what was taken, and looks at the clock while something waits.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(taken)) = &done {
            self.taken += *taken as u64;
        }
        if done.is_ready() {
            return done;
        }
        self.unsent.set(true);
        let patience = self.patience;
        loop {
            let clock = self.deadline.get_or_insert_with(|| {
                self.taken = 0;
                Box::pin(sleep_until(Instant::now() + patience))
            });
            ready!(clock.as_mut().poll(cx));
            if self.taken < LEAST_RATE * patience.as_secs().max(1) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.deadline = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Progressing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Progressing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.watch(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        // Nothing waits any more.
        self.deadline = None;
        self.unsent.set(false);
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            if !self.unread.is_set() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_discard(cx)
    }
}

impl<S: AsyncRead + Unpin> Progressing<S> {
    /// Reads for nothing until the other side is done, or has had its time.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let times = self.times;
        let end = self.end.get_or_insert_with(|| End::new(times));
        let mut space = [MaybeUninit::uninit(); 16 << 10];
        let mut came = false;
        loop {
            let mut buffer = ReadBuf::uninit(&mut space);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => came = true,
                // A client that has closed or reset the connection has nothing more to hear.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        if came {
            end.extend();
        }
        end.silent.as_mut().poll(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_nobody_takes_fails() {
        let (ours, _theirs) = duplex(4);
        let mut ours =
            Progressing::new(ours, Duration::from_millis(10), Unread::default(), Unsent::default());
        let error = ours.write_all(b"12345678").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// A connection that was answered before its request was read, with these times.
    fn unread<S>(stream: S, linger: Duration, silence: Duration) -> Progressing<S> {
        let left = Unread::default();
        left.set(true);
        let mut one = Progressing::new(stream, LONG, left, Unsent::default());
        one.times = [linger, silence];
        one
    }

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(10);

    #[tokio::test]
    async fn what_is_sent_at_the_end_is_taken() {
        let (ours, mut theirs) = duplex(4);
        let mut ours = unread(ours, LONG, LONG);
        let client = async {
            theirs.write_all(b"much more than fits").await.unwrap();
            drop(theirs);
        };
        let (ended, ()) = tokio::join!(ours.shutdown(), client);
        ended.unwrap();
    }

    #[tokio::test]
    async fn neither_silence_nor_chatter_goes_on_for_ever() {
        let (ours, _silent) = duplex(4);
        unread(ours, LONG, SHORT).shutdown().await.unwrap();
        let (ours, mut theirs) = duplex(4);
        let mut ours = unread(ours, SHORT, LONG);
        let chatter = async { while theirs.write_all(b"more").await.is_ok() {} };
        let end = async {
            ours.shutdown().await.unwrap();
            drop(ours);
        };
        tokio::join!(chatter, end);
    }

    #[tokio::test]
    async fn nobody_lingers_for_a_client_whose_request_was_read() {
        let (ours, _theirs) = duplex(4);
        let mut ours = unread(ours, LONG, LONG);
        ours.unread.set(false);
        ours.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn what_waits_is_unsent_until_it_is_taken() {
        let (ours, mut theirs) = duplex(4);
        let unsent = Unsent::default();
        let mut ours = Progressing::new(ours, LONG, Unread::default(), unsent.clone());
        ours.write_all(b"1234").await.unwrap();
        assert!(!unsent.is_set());
        tokio::select! {
            biased;
            _ = ours.write_all(b"5678") => panic!("it does not fit"),
            () = std::future::ready(()) => {}
        }
        assert!(unsent.is_set());
        theirs.read_exact(&mut [0; 4]).await.unwrap();
        ours.flush().await.unwrap();
        assert!(!unsent.is_set());
    }

    #[tokio::test]
    async fn what_is_taken_does_not() {
        let (ours, mut theirs) = duplex(4);
        let mut ours =
            Progressing::new(ours, Duration::from_secs(3600), Unread::default(), Unsent::default());
        let mut taken = [0; 8];
        let (written, read) =
            tokio::join!(ours.write_all(b"12345678"), theirs.read_exact(&mut taken));
        written.unwrap();
        read.unwrap();
        assert_eq!(&taken, b"12345678");
    }
}
