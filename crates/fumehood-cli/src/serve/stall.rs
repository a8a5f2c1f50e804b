//! Connections whose clients take little or nothing.
//!
//! An answer that nobody takes would stay in memory for as long as its client likes. So a client that
//! keeps us waiting must take something, and more than a trickle: else the connection ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes a second that a client must take if there is more for it: half of what a poor mobile
/// connection does.
const LEAST_RATE: u64 = 16 << 10;

/// A connection whose writes must make progress.
#[derive(Debug)]
pub(crate) struct Progressing<S> {
    inner: S,
    patience: Duration,
    /// Set while a write waits: when it is looked at what was taken since.
    deadline: Option<Pin<Box<Sleep>>>,
    taken: u64,
}

impl<S> Progressing<S> {
    pub(crate) const fn new(inner: S, patience: Duration) -> Self {
        Self { inner, patience, deadline: None, taken: 0 }
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Progressing<S> {
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
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_nobody_takes_fails() {
        let (ours, _theirs) = duplex(4);
        let mut ours = Progressing::new(ours, Duration::from_millis(10));
        let error = ours.write_all(b"12345678").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_is_taken_does_not() {
        let (ours, mut theirs) = duplex(4);
        let mut ours = Progressing::new(ours, Duration::from_secs(3600));
        let mut taken = [0; 8];
        let (written, read) =
            tokio::join!(ours.write_all(b"12345678"), theirs.read_exact(&mut taken));
        written.unwrap();
        read.unwrap();
        assert_eq!(&taken, b"12345678");
    }
}
